"""The study of shots: what it says in words, and that the README repeats its figures."""

import re
from pathlib import Path

from benchmarks.shots import verdict
from sdmad.evaluation.intervals import PairedDifference
from sdmad.reporting.draw_tables import TOLD

ROOT = Path(__file__).parents[2]


def gap(low, high):
    return PairedDifference((low + high) / 2, low, high)


def test_comparisons_are_counted_by_their_intervals():
    ahead, behind, even = gap(0.1, 0.2), gap(-0.3, -0.1), gap(-0.1, 0.1)
    first = {"probe": dict.fromkeys(TOLD, ahead), "signs": dict.fromkeys(TOLD, even)}
    second = {"probe": {**dict.fromkeys(TOLD, even), TOLD[1]: behind}}
    lines = verdict({"A": first, "B": second}).splitlines()
    assert lines[0].endswith(
        "ahead of the rival in 1 comparisons, behind in 0, not told apart in 2."
    )
    assert "behind in 1, not told apart in 1; behind probe on B (-20.0 [-30.0, -10.0])" in lines[1]


def test_the_readmes_first_table_has_the_pages_figures():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    page = (ROOT / "docs" / "shots.md").read_text(encoding="utf-8").replace("\\[", "[")
    page = page.replace("\\]", "]")
    table = readme[readme.index("| images | SD-MAD") : readme.index("Plainly:")]
    told = re.findall(r"[+-][\d.]+ \[[^]]+\]", table)
    assert len(told) == 24
    for figure in (*told, *re.findall(r"\d+\.\d / \d+\.\d / \d+\.\d", table)):
        assert figure in page, figure
