"""The rule of the search, on figures made up."""

import pytest

from benchmarks.searched import GRIDS, candidates, table_of
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
