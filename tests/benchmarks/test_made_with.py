"""No page describes another program than the one that lies beside it, unless it says so."""

import re

import pytest

from benchmarks import made_with
from benchmarks.made_with import DOCS, OLDER, PAGES, changed, line, made, overview, present

NAMED = re.compile(r"\*\*Older\b|^Written with ", re.MULTILINE)


@pytest.mark.parametrize("page", PAGES)
def test_a_page_was_made_with_what_the_code_has_or_is_named_older(page):
    texts = present()
    if page not in texts:
        pytest.skip(f"docs/{page} is not there yet")
    stale = changed(page, texts[page])
    if page in OLDER:
        assert stale, f"docs/{page} is as the code is: take it out of OLDER in made_with.py"
        assert NAMED.search("\n".join(texts[page].splitlines()[:8])), f"docs/{page} must say so"
    else:
        assert not stale, (
            f"docs/{page} was made with another {' and another '.join(stale)}: make it again "
            "(make help says how), or name it in OLDER in benchmarks/made_with.py, with the reason"
        )


def test_every_page_that_a_command_writes_is_known():
    texts = {path.relative_to(DOCS).as_posix(): path for path in DOCS.rglob("*.md")}
    written = {
        name
        for name, path in texts.items()
        if re.search(r"^Written (by|with) ", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert written - {"measured.md"} <= set(PAGES)
    assert set(OLDER) <= set(PAGES)


def test_the_list_of_pages_is_up_to_date():
    assert (DOCS / "measured.md").read_text(encoding="utf-8") == overview(present())


def test_a_change_turns_its_pages_red_and_no_others(monkeypatch):
    texts = {page: f"# Page\n\n{line(page)}\n" for page in ("coverage.md", "shots.md")}
    assert not any(changed(page, text) for page, text in texts.items())
    other = {**made_with.INGREDIENTS, "settings": lambda: {"margin": 0.3}}
    monkeypatch.setattr(made_with, "INGREDIENTS", other)
    assert changed("shots.md", texts["shots.md"]) == ["settings"]
    assert changed("coverage.md", texts["coverage.md"]) == []


def test_only_the_systems_that_a_page_shows_turn_it_red(monkeypatch):
    text = f"# Page\n\n{line('realdata.md', ['clip-names', 'coop'])}\n"
    assert text.endswith(" Systems: clip-names, coop.*\n")
    assert made_with.systems_of(text) == ["clip-names", "coop"]
    assert changed("realdata.md", text) == []
    monkeypatch.delitem(made_with.SYSTEMS, "aa-clip")
    assert changed("realdata.md", text) == []
    monkeypatch.delitem(made_with.SYSTEMS, "coop")
    assert changed("realdata.md", text) == ["systems"]


def test_a_page_that_does_not_say_was_made_with_nothing_known():
    assert made("# Page\n") == {}
    assert changed("maps.md", "# Page\n") == list(PAGES["maps.md"])


def test_a_written_page_ends_with_its_line(tmp_path):
    made_with.write_page(tmp_path / "maps.md", "# Maps\n\n")
    text = (tmp_path / "maps.md").read_text(encoding="utf-8")
    assert text == f"# Maps\n\n{line('maps.md')}\n"
    assert made(text) == made_with.now("maps.md")
    made_with.write_page(tmp_path / "other.md", "# Other")
    assert (tmp_path / "other.md").read_text(encoding="utf-8") == "# Other\n"


def test_pages_of_stored_figures_end_with_what_these_were_made_with(tmp_path):
    folder = tmp_path / "comparison"
    folder.mkdir()
    assert made_with.recorded(folder) == ""
    made_with.record(folder)
    assert made_with.recorded(folder) == f"\n{line('comparison.md')}\n"
    assert made_with.recorded(folder, "brain") == ""
    made_with.record(folder, "brain", ["clip-names", "coop"])
    assert made_with.is_current(folder, "brain")
    assert "Systems: clip-names, coop." in made_with.recorded(folder, "brain")
    assert not made_with.is_current(folder, "chest")
    (folder / "made-with-brain.txt").write_text("*Made with sdmad 0.1: systems 00000000.*\n")
    assert not made_with.is_current(folder, "brain")
