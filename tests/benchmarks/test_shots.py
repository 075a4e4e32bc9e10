"""The study of shots: its parts, what it says in words, and what the README repeats of it."""

import re
from pathlib import Path

import numpy as np
import pytest

from benchmarks import made_with, shots
from benchmarks.results_tables import SHOT_FIGURES, SHOT_GAPS, SHOT_PARTS, load
from benchmarks.shots_page import METRICS, page, part_table, verdict
from sdmad.evaluation.labelled_scores import labelled_scores
from sdmad.table import Table

ROOT = Path(__file__).parents[2]
DEFAULT, SIGNS = "SD-MAD recommended", "zero-shot CLIP, signs"


def gaps(**cells):
    rows = tuple((name, *three) for name, three in cells.items())
    return Table("", ("The default less", *METRICS), rows)


def test_comparisons_are_counted_by_their_intervals():
    ahead, behind, even = "+15.0 [+10.0, +20.0]", "-20.0 [-30.0, -10.0]", "+0.1 [+0.0, +0.2]"
    first = gaps(probe=[ahead] * 3, signs=[even, even, "+1.0"])
    second = gaps(probe=[even, behind, "n/a"])
    lines = verdict({"A": first, "B": second}).splitlines()
    assert lines[0].endswith(
        "ahead of the rival in 1 comparisons, behind in 0, not told apart in 2."
    )
    assert "behind in 1, not told apart in 1; behind probe on B (-20.0 [-30.0, -10.0])" in lines[1]
    assert lines[2].endswith("in 1 comparisons, behind in 0, not told apart in 2.")


def test_parts_are_averaged_over_the_images_on_which_all_were_run():
    header = ("Default", *shots.COUNTED)
    brain = Table("", header, (("as it is", "5", "80.0", "40.0", "60.0"), ("less", "5", *"123")))
    retina = Table("", header, (("as it is", "4", "91.0", "50.0", "61.0"),))
    table = part_table({"brain-clean": brain, "oct-clean": retina})
    assert table.rows == (
        ("as it is", "85.5 / 45.0 / 60.5", "80.0 / 40.0 / 60.0", "91.0 / 50.0 / 61.0"),
    )
    assert table.title == "The default with one thing changed, 4 shots, 4 to 5 draws"


def scores(seed):
    labels = (np.random.default_rng(0).random((40, 2)) < 0.4).astype(float)
    found = labels + np.random.default_rng(seed).normal(size=labels.shape)
    arrays = (found, found > 0.5, found.max(axis=1), ~labels.any(axis=1))
    return labelled_scores(labels, *arrays, list(range(40)))


class Whole(shots.Study):
    """A study whose draws are there."""

    @property
    def compared(self):
        return {n: {SIGNS: [scores(n), scores(n + 1)], DEFAULT: [scores(n + 2)]} for n in (1, 4, 8)}

    def outcomes(self, variant, shots, draws):
        return [] if variant.title == "without sentences" else [scores(9)] * 2


class Nothing(Whole):
    """A study none of whose draws is whole."""

    compared = None


@pytest.fixture
def whole(tmp_path, monkeypatch):
    monkeypatch.setattr(shots, "RESAMPLES", 20)
    return lambda key: Whole(shots.Group(key, None, 2), tmp_path)


def test_images_that_were_not_run_again_keep_their_figures_while_they_are_as_new(
    whole, tmp_path, monkeypatch
):
    folder = tmp_path / "shots"
    shots.write_tables(folder, [whole("oct-noisy")])
    assert not (folder / "parts.csv").exists()  # noisy banks are not taken apart
    shots.write_tables(folder, [whole("brain-clean")])
    figures = load(folder, SHOT_FIGURES)
    assert list(figures) == [(k, n) for k in ("brain-clean", "oct-noisy") for n in "148"]
    assert [row[:2] for row in figures["oct-noisy", "8"].rows] == [(SIGNS, "2"), (DEFAULT, "1")]
    assert [keys[1] for keys in load(folder, SHOT_GAPS)] == ["1", "4"] * 2
    (parts,) = load(folder, SHOT_PARTS).values()
    assert len(parts.rows) == len(shots.PARTS) + len(shots.PAPER)  # less one, and as it is
    text = page(folder)
    assert text.index("### Brain phantoms, clean bank") < text.index("### OCT phantoms, noisy bank")
    assert "| 1 shot (2 draws) | 4 shots (2 draws) | 8 shots (2 draws) |" in text
    assert re.search(rf"{DEFAULT} \| \S+ / \S+ / \S+ \(1 draw\)", text)
    other = {**made_with.INGREDIENTS, "settings": lambda: "others"}
    monkeypatch.setattr(made_with, "INGREDIENTS", other)
    shots.write_tables(folder, [whole("oct-noisy")])
    assert {images for images, _ in load(folder, SHOT_FIGURES)} == {"oct-noisy"}


def test_images_without_a_whole_draw_are_left_out(whole, tmp_path):
    nothing = Nothing(shots.Group("oct-clean", None, 2), tmp_path)
    shots.write_tables(tmp_path / "shots", [nothing, whole("brain-noisy")])
    assert {images for images, _ in load(tmp_path / "shots", SHOT_FIGURES)} == {"brain-noisy"}
    assert not made_with.recorded(tmp_path / "shots", "oct-clean")


def test_the_page_is_what_the_files_make():
    text = (ROOT / "docs" / "shots.md").read_text(encoding="utf-8")
    assert text.partition("\n*Made with")[0].rstrip("\n") == page(ROOT / "docs/shots").rstrip("\n")
    for key in {images for images, _ in load(ROOT / "docs/shots", SHOT_FIGURES)}:
        assert made_with.is_current(ROOT / "docs/shots", key), f"make shots: {key} is older"


def test_the_readmes_first_table_has_the_pages_figures():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    page = (ROOT / "docs" / "shots.md").read_text(encoding="utf-8").replace("\\[", "[")
    page = page.replace("\\]", "]")
    table = readme[readme.index("| images | SD-MAD") : readme.index("Plainly:")]
    told = re.findall(r"[+-][\d.]+ \[[^]]+\]", table)
    assert len(told) == 24
    for figure in (*told, *re.findall(r"\d+\.\d / \d+\.\d / \d+\.\d", table)):
        assert figure in page, figure
