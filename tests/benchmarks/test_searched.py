"""The rule of the search, on figures made up."""

import pytest

from benchmarks import made_with
from benchmarks.made_with import DOCS, write_page
from benchmarks.searched import GRIDS, candidates, kept, page_of, table_of
from sdmad.baselines.registry import load_system


@pytest.mark.parametrize("name", GRIDS)
def test_eight_settings_of_which_the_first_is_published(name):
    published, tried = load_system(name).published, candidates(name)
    assert len(tried) == len({tuple(t.values()) for t in tried}) == 8
    assert all(getattr(published, key) == value for key, value in tried[0].items())


def test_a_table_has_mean_ranks_over_cells_and_metrics_and_marks_the_first_near_the_best():
    names = [str(one) for one in candidates("coop")]
    # By AUROC the third is first in one cell and second in the other, by subset and F1 all tie.
    cells = {
        "brain-validation-1-100": {n: [0.5, 0.3, 0.3] for n in names} | {names[2]: [0.9, 0.3, 0.3]},
        "brain-distant-1-100": {n: [0.5, 0.3, 0.3] for n in names}
        | {names[2]: [0.6, 0.3, 0.3], names[4]: [0.7, 0.3, 0.3]},
    }
    rows = table_of("coop", cells).rows
    assert [row[0] for row in rows] == ["", "", "chosen", "", "", "", "", ""]
    # Ties of eight rank 4.5 each; (1 + 2 + 4 x 4.5) / 6 = 3.5.
    assert rows[2][4:] == ("3.50", "75.0", "30.0", "30.0")


def test_what_the_page_tells_of_other_systems_stays_when_one_is_searched(tmp_path, monkeypatch):
    page, names = tmp_path / "searched.md", [str(one) for one in candidates("coop")]
    mine = table_of("coop", {"brain-validation-1-100": {n: [0.5, 0.3, 0.3] for n in names}})
    assert kept(page) == {}
    write_page(page, page_of({"mvfa": "### MVFA\n\n| a |\n", "coop": mine.markdown()}))
    assert kept(page) == {"mvfa": "### MVFA\n\n| a |\n", "coop": mine.markdown()}
    assert "BGAD" in page.read_text("utf-8").partition("###")[0]
    assert "MVFA," not in page.read_text("utf-8").partition("###")[0]
    other = {**made_with.INGREDIENTS, "searches": lambda: "other grids"}
    monkeypatch.setattr(made_with, "INGREDIENTS", other)
    assert kept(page) == {}


def test_the_page_is_what_its_own_tables_make():
    text = (DOCS / "searched.md").read_text("utf-8")
    assert (
        text
        == page_of(kept(DOCS / "searched.md")).rstrip("\n")
        + "\n\n"
        + made_with.line("searched.md")
        + "\n"
    )


@pytest.mark.parametrize("name", GRIDS)
def test_a_system_is_used_with_what_the_page_says_was_chosen(name):
    told = kept(DOCS / "searched.md").get(name)
    if told is None:
        pytest.skip("not searched on the embedded backbone so far")
    (row,) = (line for line in told.splitlines() if line.startswith("| chosen |"))
    cells = [cell.strip() for cell in row.strip("|").split("|")][1 : len(GRIDS[name]) + 1]
    system = load_system(name)
    used = system.searched if system.searched is not None else system.published
    assert cells == [f"{getattr(used, key):g}" for key in GRIDS[name]]
