import pytest

from sdmad import SignBank

BANK = """
modality: "picture [bold]of[/bold] things"
normal: [a plain picture]
categories:
  "Ring [/]": {signs: ["[red]a round ring", "an open circle [/red]"]}
  Bar: {signs: [a long bar]}
"""


@pytest.fixture
def bank(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(BANK)
    return path


@pytest.mark.parametrize("name", ["brain", "chest", "oct", "chestxray8", "fastmri_plus"])
def test_a_packaged_bank_is_shown_sign_by_sign(sdmad, name):
    done = sdmad("signs", "show", name)
    assert done.status == 0, done.err
    flat = " ".join(done.out.split())
    content = SignBank.load(name)
    for text in (*content.names, *content.sentences, *content.normal):
        assert text in flat


def test_the_origin_of_each_sentence_is_shown(sdmad, tmp_path):
    path = tmp_path / "mine.yaml"
    page = "https://example.org/" + "x" * 300
    path.write_text(f"""
modality: picture
normal: [a plain picture]
categories:
  Ring:
    signs:
      - {{text: a ring, source: "{page}", shared: true}}
      - {{text: a circle, model: tiny:1b, date: 2026-11-23, edited: true}}
  Bar:
    signs: [a bar, {{text: a line, source: "{page}"}}]
""")
    done = sdmad("signs", "show", path)
    assert done.status == 0, done.err
    rows = {" ".join(line.split()) for line in done.out.splitlines()}
    assert {
        "normal a plain picture author",
        "Ring a ring [1], shared",
        "Ring a circle tiny:1b, 2026-11-23, edited",
        "Bar a bar author",
        "Bar a line [1]",
        f"[1] {page}",
    } <= rows


def test_marks_in_a_users_bank_are_shown_as_they_are(sdmad, bank, tiny_clip):
    done = sdmad("signs", "show", bank)
    assert done.status == 0, done.err
    for text in ("[red]a round ring", "an open circle [/red]", "Ring [/]", "[bold]of[/bold]"):
        assert text in done.out
    done = sdmad("signs", "check", bank, "--backbone", tiny_clip)
    assert done.status == 0, done.err
    assert "a long bar" in done.out
    assert "one sign" in done.out


def test_mistakes_are_one_line(sdmad, tmp_path):
    done = sdmad("signs", "show", "lungs")
    assert done.status == 2
    assert "no sign bank 'lungs'" in done.err
    (tmp_path / "bad.yaml").write_text("modality: x\nnormal: [a]\ncategories: 3\n")
    for command in ("show", "check"):
        done = sdmad("signs", command, tmp_path / "bad.yaml")
        assert done.status == 2
        assert "bad.yaml, line 3" in done.err
