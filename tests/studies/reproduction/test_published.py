import numpy as np
import pytest

from sdmad.baselines.registry import SYSTEMS
from sdmad.data.sets.chestxray8 import CATEGORIES as CHEST
from sdmad.data.sets.fastmri_plus import CATEGORIES as BRAIN
from sdmad.studies.reproduction.published import COLUMNS, TABLE5, published

SIGNS, MEDCLIP, PRINTED, PRINTED_SELECTED = COLUMNS


def test_the_columns_are_systems_of_the_registry():
    assert {*COLUMNS, *TABLE5} <= set(SYSTEMS)


def test_figures_stand_under_the_system_that_the_paper_gives_them():
    row = [published("table3", "slice 0", "subset_accuracy", s) for s in COLUMNS]
    assert row == [0.4, 18.5, 34.6, 60.8]
    assert published("table6", "", "Pleural_Thickening", PRINTED_SELECTED) == 60.6
    assert published("table2", "", "DRUSEN", SIGNS) == 32.4


def test_what_the_paper_does_not_print_is_none():
    assert published("table1", "", "mean_auroc", "sd-mad") is None
    assert published("table7", "slice 5", BRAIN[-1], SIGNS) is None
    assert published("figure4", "", "hamming_score", SIGNS) is None


@pytest.mark.parametrize("system", [SIGNS, MEDCLIP, PRINTED, PRINTED_SELECTED])
@pytest.mark.parametrize(
    ("table", "part", "names"),
    [
        ("table2", "", ("CNV", "DME", "DRUSEN")),
        ("table6", "", CHEST),
        ("table7", "slice 0", BRAIN),
        ("table7", "slice 5", BRAIN[:5]),
        ("table7", "slice 10", BRAIN[:5]),
    ],
)
def test_the_printed_averages_are_the_means_of_the_printed_figures(system, table, part, names):
    """A slip of the pen in either would show here."""
    mean = np.mean([published(table, part, name, system) for name in names])
    assert published(table, part, "mean_auroc", system) == pytest.approx(mean, abs=0.051)


def test_tables_that_repeat_a_figure_agree():
    for system in COLUMNS:
        assert published("table1", "", "mean_auroc", system) == published(
            "table6", "", "mean_auroc", system
        )
        for part in ("slice 0", "slice 5", "slice 10"):
            assert published("table4", part, "mean_auroc", system) == published(
                "table7", part, "mean_auroc", system
            )
