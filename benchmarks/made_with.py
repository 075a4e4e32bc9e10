def write_page(path, text):
    path.write_text(text)
