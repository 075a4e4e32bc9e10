"""Differences of systems of which one has fewer draws."""

from dataclasses import replace

import numpy as np
import pytest

from sdmad.baselines.registry import load_system
from sdmad.evaluation.labelled_scores import labelled_scores
from sdmad.evaluation.metrics import mean_auroc
from sdmad.studies.comparison.tables import Compared, all_summaries, best_peer_gaps
from sdmad.studies.outcome import Cost, Outcome

LABELS = (np.arange(24)[:, None] % 3 == np.arange(2)).astype(float)
NOBODY = ~LABELS.any(axis=1)


def compared(name, shift, draws):
    """A system whose scores, made up, tell the categories apart the better the shift."""
    outcomes = []
    for draw in range(draws):
        scores = np.random.default_rng(draw).normal(size=LABELS.shape) + shift * LABELS
        said = (scores, scores > 0.5, scores.max(axis=1), NOBODY)
        scored = labelled_scores(LABELS, *said, [str(i) for i in range(24)])
        outcomes.append(Outcome(scored, Cost(0.0, 0.0, 0, 0.0), (), False, (), {}, None, None))
    return Compared(load_system(name), tuple(outcomes))


def test_they_are_over_the_draws_that_both_have():
    own, peer = compared("sd-mad", 2.0, 4), compared("mvfa", 1.0, 2)
    found = best_peer_gaps([own, peer], all_summaries([own, peer], 20), 20)
    short = replace(own, outcomes=own.outcomes[:2])
    expected = best_peer_gaps([short, peer], all_summaries([short, peer], 20), 20)
    assert [gap.difference for gap in found] == [gap.difference for gap in expected]
    (ranked,) = (gap for gap in found if gap.metric == "mean_auroc")
    gaps = [
        mean_auroc(a.scored.labels, a.scored.scores) - mean_auroc(b.scored.labels, b.scored.scores)
        for a, b in zip(own.outcomes[:2], peer.outcomes, strict=True)
    ]
    assert ranked.difference.difference == pytest.approx(np.mean(gaps))
