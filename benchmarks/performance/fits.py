"""Whole fits of the embedded backbone: as exact as the reference, as good in bfloat16."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import torch

from benchmarks.performance.common import Figures, precisions
from benchmarks.random_clip import write_random_checkpoint
from benchmarks.reference import Reference
from sdmad import SDMAD, SDMADConfig, load_backbone
from sdmad.data.fewshot import draw_support
from sdmad.data.table import LabelTable, read_label_table
from sdmad.evaluation.metrics import mean_auroc
from sdmad.phantoms.cases import STUDIED, load_modality
from sdmad.phantoms.files import write_phantoms
from sdmad.signs import SignBank

PHANTOMS, PHANTOM_SEED, SHOTS, DRAWS = 240, 5000, 4, 3


def phantom_table(folder: Path, modality: str) -> tuple[SignBank, LabelTable]:
    """A modality's phantoms, and its bank."""
    bank = SignBank.load(modality)
    labels = write_phantoms(load_modality(modality), folder / modality, PHANTOMS, PHANTOM_SEED)
    return bank, read_label_table(labels, bank.names)


def whole_fits(folder: Path) -> Figures:
    """Mean AUROC of lite on phantoms in both precisions, and how far both agree."""
    backbone, found = load_backbone("lite"), {}
    for modality in STUDIED:
        bank, table = phantom_table(folder, modality)
        for seed in range(DRAWS):
            support = draw_support(table, SHOTS, seed)
            drawn = table.subset(support.indices)
            rest = table.subset(support.evaluation(table))
            for name in precisions():
                fitted = SDMAD(bank, backbone, seed=seed, precision=name)
                fitted.fit(drawn.files, drawn.labels)
                auroc = mean_auroc(rest.labels, fitted.decision_function(list(rest.files)))
                found.setdefault(modality, {}).setdefault(name, []).append(100 * auroc)
        print("whole fits", modality, found[modality], flush=True)
    return found


def agreement(folder: Path) -> dict[str, float]:
    """Largest difference from the reference over a fit of a small random CLIP: loss, score.

    The reference reads the towers of ``transformers``, so lite is not for it.
    """
    bank, table = phantom_table(folder / "agreement", "oct")
    write_random_checkpoint(folder / "clip", "small")
    backbone = load_backbone(folder / "clip")
    drawn = table.subset(draw_support(table, 1, 0).indices)
    pixels, labels = backbone.preprocessing(drawn.files), torch.tensor(drawn.labels).float()
    ours = SDMAD(bank, backbone, SDMADConfig.paper(epochs=10)).fit(drawn.files, drawn.labels)
    blocks = [int(block) for block in ours.image_adapters_]
    plain = Reference(str(folder / "clip"), blocks, list(bank.categories.values()), bank.normal)
    losses = plain.fit(pixels, labels, 10)
    scores, _ = plain.score(pixels)
    mine = ours.score_pixels(pixels).scores
    return {
        "loss": max(abs(a.loss / b - 1) for a, b in zip(ours.log_, losses, strict=True)),
        "score": float(np.abs(mine - scores.numpy()).max()),
    }


def measure(work: Path) -> Figures:
    """All of it."""
    del work
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        return {
            "agreement": agreement(folder),
            "whole_fits": whole_fits(folder),
        }
