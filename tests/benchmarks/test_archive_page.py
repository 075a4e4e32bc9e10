"""The page of archives is its template with the figures of the benchmark."""

from pathlib import Path

import pytest

from benchmarks.archive import PAGE, cluster, measured, told

DOCS = Path(__file__).parents[2] / "docs"
FOUND = {
    "machine": {"cores": 2},
    "rates": {
        "plain": {"rate": 50.0, "start": 5.0, "memory": 900.0},
        "ray, 1 tower": {"rate": 48.0, "start": 20.0, "memory": 1500.0},
    },
    "decoding": {"rate": 200.0},
    "memory": {"10000": {"seconds": 210.0, "memory": 1500.0, "again": 9.0}},
    "bucket": {"seconds": 40.0, "memory": 0.0, "images": 1000},
    "judging": {"112120": {"seconds": 30.0, "memory": 800.0}},
}


def test_the_page_is_the_template():
    before, after = PAGE.read_text(encoding="utf-8").split("{measured}")
    page = (DOCS / "archives.md").read_text(encoding="utf-8")
    assert page.startswith(before)
    assert page.rstrip().endswith(after.rstrip())


def test_figures_stand_beside_the_plain_engines():
    text = measured(FOUND)
    assert "| ray, 1 tower | 48.0 | 0.96 | 20 | 1,500 |" in text


def test_a_cluster_by_hand():
    """48 images a second on 2 cores: 24 a core; a node of 16 takes 112,120 / 384 = 292 s."""
    assert "| 1 of 16 cores | 112,120 | 5 min | 1 min |" in cluster(FOUND)
    assert told(10_000_000 / (24 * 16)) == "7.2 h"


@pytest.mark.parametrize(("seconds", "said"), [(60, "1 min"), (5400, "90 min"), (7200, "2.0 h")])
def test_times(seconds, said):
    assert told(seconds) == said
