"""The rule of the search, on figures made up."""

import pytest

from benchmarks.searched import GRIDS, candidates, choose
from sdmad.baselines.registry import load_system


@pytest.mark.parametrize("name", GRIDS)
def test_eight_settings_of_which_the_first_is_published(name):
    published, tried = load_system(name).published, candidates(name)
    assert len(tried) == len({tuple(t.values()) for t in tried}) == 8
    assert all(getattr(published, key) == value for key, value in tried[0].items())


def test_the_best_mean_is_chosen_unless_the_published_is_near():
    rows = [{"a": 70.0, "b": 80.0}, {"a": 71.0, "b": 80.0}, {"a": 60.0, "b": 80.0}]
    assert choose(rows) == 0  # 75 against 75.5
    rows[1]["b"] = 80.5
    assert choose(rows) == 1
