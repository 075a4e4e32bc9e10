"""``sdmad suggest --scores``: which images of an archive to label next, by their scores alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sdmad.archive.scores import Scores, quoted
from sdmad.detector.checkpoint import verify
from sdmad.detector.manifest import read_json
from sdmad.detector.stored import StoredConfig, StoredSupport
from sdmad.detector.suggesting import Suggestion, check_odds, doubt, spread
from sdmad.errors import InputError

CANDIDATES = 50
"""Images that are looked at for each that is suggested: the most doubtful of the archive."""

LEAST_CANDIDATES = 1000


def suggest_from_scores(scores: Scores, model: Path, budget: int) -> list[Suggestion]:
    """Rank the images that are most worth a label.

    As `sdmad.detector.suggesting.suggest`, but alike are images whose log odds point the same way:
    what the tower knows of them is not kept.

    Args:
        scores: opened.
        model: the directory that ``sdmad fit`` wrote, whose own images are passed over.
        budget: how many to suggest.

    Raises:
        InputError: if the scores are no log odds, the budget is below 1, or no image is left.
        ModelError: if the model is incomplete or altered.
    """
    import torch

    verify(model)
    check_odds(StoredConfig.of(read_json(model / "config.json")).settings, budget)
    support = StoredSupport.of(read_json(model / "support.json"))
    columns = [quoted(f"score:{name}") for name in scores.categories]
    nearest = f"least({', '.join(f'abs({column})' for column in columns)})"
    found = scores.list(
        f"SELECT file, unfamiliar, {', '.join(columns)} FROM scores "  # noqa: S608
        f"WHERE NOT list_contains(?, hash) ORDER BY {nearest}, file LIMIT ?",
        [[*support.images, *support.thresholds], max(LEAST_CANDIDATES, CANDIDATES * budget)],
    )
    if not found:
        raise InputError("every image is one that the model was fitted on, or could not be read")
    odds = np.array([row[2:] for row in found], dtype=np.float64)
    doubts = doubt(odds)
    return [
        Suggestion(
            found[row][0],
            float(doubts[row].max()),
            scores.categories[int(doubts[row].argmax())],
            bool(found[row][1]),
        )
        for row in spread(doubts.max(axis=1), torch.from_numpy(odds), budget)
    ]
