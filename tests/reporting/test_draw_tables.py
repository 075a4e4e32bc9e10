import numpy as np
import pytest

from benchmarks.draw_tables import differences, summary
from sdmad.evaluation.intervals import DrawSummary, PairedDifference
from sdmad.evaluation.labelled_scores import labelled_scores
from sdmad.reporting.draw_tables import TOLD, category_table, cell, standing, trivial_draws


@pytest.fixture
def draws():
    """One draw of four images, seen rightly by one system and wrongly by the other."""
    labels = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0], [0.0, 0.0]])
    normal = labels.sum(1) == 0
    people = ["a", "b", "c", "d"]

    def said(scores):
        return [labelled_scores(labels, scores, scores > 0.5, scores.max(1), normal, people)]

    return {"clip-names": said(1 - labels), "sd-mad": said(labels)}


def test_a_cell_shows_mean_deviation_and_interval_in_percent():
    assert cell(DrawSummary(0.5, 0.01, 0.4, 0.6)) == "50.0 ± 1.0 [40.0, 60.0]"
    assert cell(DrawSummary(float("nan"), 0.0, 0.0, 0.0)) == "n/a"


def test_predicting_nothing_stands_beside_the_systems(draws):
    (one,) = draws["sd-mad"]
    nothing = trivial_draws([one], "none")[0]
    assert not nothing.decisions.any()
    assert nothing.patients == one.patients


def test_systems_stand_under_their_titles_and_metrics_under_theirs(draws):
    table = summary("S", draws, "", resamples=0)
    assert table.header == (
        *("System", "Mean AUROC", "Image AUROC", "Hamming score", "Subset accuracy", "Macro F1"),
    )
    assert [row[0] for row in table.rows] == [
        *("predict nothing", "predict everything", "prevalence"),
        "zero-shot CLIP, category names (names not seen in pretraining)",
        "SD-MAD recommended",
    ]
    assert table.rows[-1][3].startswith("100.0")
    (row,) = differences("D", draws, "sd-mad", resamples=10).rows
    assert row[0] == "minus zero-shot CLIP, category names"
    assert row[3].startswith("+100.0")


def test_marked_categories_carry_a_star(draws):
    table = category_table("C", draws, ("Ring", "Bar"), marked=("Bar",))
    assert [row[:2] for row in table.rows] == [("Ring", "1"), ("Bar *", "1")]
    assert table.header[2:] == ("zero-shot CLIP, category names", "SD-MAD recommended")


def test_a_sentence_says_who_is_ahead_and_who_cannot_be_told_apart():
    ahead, even, behind = (
        PairedDifference(0.0, low, high) for low, high in ((0.1, 0.2), (-0.1, 0.1), (-0.2, -0.1))
    )
    both = {"a": dict.fromkeys(TOLD, ahead), "b": dict.fromkeys(TOLD, even)}
    assert standing("ours", both).startswith(
        "ours is not told apart from b and ahead of the others by mean AUROC, subset accuracy and"
    )
    mixed = {"a": {**dict.fromkeys(TOLD, ahead), TOLD[2]: behind}}
    assert standing("ours", mixed) == (
        "ours is, paired and at 95%: by mean AUROC ahead of every other row; by subset accuracy "
        "ahead of every other row; by macro F1 BEHIND a"
    )
