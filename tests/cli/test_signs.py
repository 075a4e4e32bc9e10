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


@pytest.mark.parametrize("name", ["brain", "chest", "oct"])
def test_a_packaged_bank_is_shown_sign_by_sign(sdmad, name):
    done = sdmad("signs", "show", name)
    assert done.status == 0, done.err
    flat = " ".join(done.out.split())
    content = SignBank.load(name)
    for text in (*content.names, *content.sentences, *content.normal):
        assert text in flat


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
