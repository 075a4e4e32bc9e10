from types import SimpleNamespace

import numpy as np

from sdmad.evaluation.protocols import evaluate
from sdmad.reporting.next_steps import next_steps

FEW, WEAK_ONE = 3, 20


def judged(decisions):
    """40 images: 3 show "rare", ranked rightly; 20 show "weak", ranked by a coin."""
    labels, scores = np.zeros((40, 2)), np.zeros((40, 2))
    labels[:FEW, 0], scores[:FEW, 0] = 1, 1
    labels[:WEAK_ONE, 1], scores[:, 1] = 1, np.tile([0.2, 0.8], 20)
    normal = ~labels.any(axis=1)
    return evaluate(
        labels, scores, decisions, scores.max(axis=1), normal, ("rare", "weak"), None, 0
    )


def test_rare_and_weak_categories_and_one_sided_decisions_are_told():
    text = "\n".join(next_steps(judged(np.zeros((40, 2), bool)), None))
    assert "Label more images with rare: below 15 positives" in text
    assert "Weak (AUROC below 70.0): weak." in text
    assert "misses more than it calls wrongly (100.0% of what is present missed, 0.0%" in text
    assert "worst images below" in text


def test_decisions_that_err_as_often_either_way_are_not_called_one_sided():
    decisions = np.zeros((40, 2), bool)
    decisions[:, 1] = np.tile([False, True], 20)  # half of either side is wrong
    decisions[:2, 0] = True  # a third missed
    decisions[30:36, 0] = True
    text = "\n".join(next_steps(judged(decisions), None))
    assert "misses more" not in text
    assert "calls more" not in text


def test_a_system_that_ranks_better_is_named():
    def gap(high):
        return {"mean_auroc": SimpleNamespace(high=high)}

    beside = SimpleNamespace(differences={"linear probe": gap(-0.01), "zero-shot signs": gap(0.02)})
    text = "\n".join(next_steps(judged(np.zeros((40, 2), bool)), beside))
    assert "linear probe ranks better" in text
    assert "zero-shot signs ranks better" not in text
