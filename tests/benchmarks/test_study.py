import numpy as np

from benchmarks.study import cell, trivial_draws
from sdmad.evaluation.intervals import DrawSummary
from sdmad.evaluation.scored import scored_images


def test_a_cell_shows_mean_deviation_and_interval_in_percent():
    assert cell(DrawSummary(0.5, 0.01, 0.4, 0.6)) == "50.0 ± 1.0 [40.0, 60.0]"
    assert cell(DrawSummary(float("nan"), 0.0, 0.0, 0.0)) == "-"


def test_predicting_nothing_stands_beside_the_systems():
    labels = np.array([[1.0, 0.0], [0.0, 0.0]])
    one = scored_images(labels, labels, labels, labels[:, 0], labels.sum(1) == 0, ["a", "b"])
    nothing = trivial_draws([one], "none")[0]
    assert not nothing.decisions.any()
    assert nothing.patients == one.patients
