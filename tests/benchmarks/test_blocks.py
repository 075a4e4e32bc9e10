from benchmarks.blocks import block_of, put_block


def test_a_part_is_added_then_replaced_and_the_rest_stays(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# Title\nwords\n", encoding="utf-8")
    put_block(page, "one", "first")
    put_block(page, "two", "other\n\n")
    put_block(page, "one", "second")
    assert page.read_text(encoding="utf-8") == (
        "# Title\nwords\n\n<!-- one -->\nsecond\n<!-- end of one -->\n\n"
        "<!-- two -->\nother\n<!-- end of two -->\n"
    )
    assert block_of(page, "two") == "<!-- two -->\nother\n<!-- end of two -->\n"
    assert block_of(page, "three") == block_of(tmp_path / "none.md", "one") == ""
