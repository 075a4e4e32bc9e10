"""What bfloat16, int8 and fewer pixels cost: AUROC of lite's exports on phantoms."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.performance.common import Figures
from benchmarks.performance.exports import NAMES
from sdmad import SDMAD, SignBank, load_backbone
from sdmad.evaluation.metrics import mean_auroc
from sdmad.export import openvino as exports
from sdmad.export.exporting import describe
from sdmad.export.runtime import ExportedModel, compiled
from sdmad.phantoms.cases import STUDIED, draw_cases, load_modality

SUPPORT, TEST, TESTS = 48, 400, 2
SIZES = (240, 192, 144)  # 10 x 10, 8 x 8 and 6 x 6 tokens


def phantom_auroc(modality: str) -> dict[str, list[float]]:
    """Mean AUROC of lite's exports on test phantoms, by size and precision, a value a draw."""
    words, kind = SignBank.load(modality), load_modality(modality)
    found: dict[str, list[float]] = {}
    for draw in range(TESTS):
        support = list(draw_cases(kind, SUPPORT, 11 + 10 * draw))
        test = list(draw_cases(kind, TEST, 12 + 10 * draw))
        truth = [
            np.array([[float(n in case.categories) for n in words.names] for case in cases])
            for cases in (support, test)
        ]
        for size in SIZES:
            backbone = load_backbone("lite", size)
            detector = SDMAD(words, backbone, seed=draw)
            detector.fit([case.image for case in support], truth[0])
            planes = [
                np.stack([backbone.preprocessing.square(case.image)] * 3).astype(np.float32)
                for case in support
            ]
            for word, precision in NAMES.items():
                about = describe(detector, "openvino", precision)
                run = compiled(exports.build(detector, precision, planes, about.weight_bits))
                model = ExportedModel(about, run)
                scores = model.score_images([case.image for case in test]).scores
                name = f"{size} px, {word}"
                found.setdefault(name, []).append(100 * mean_auroc(truth[1], scores))
    print("price", modality, {k: float(np.mean(v)) for k, v in found.items()}, flush=True)
    return found


def measure(work: Path) -> Figures:
    """By modality."""
    del work
    return {modality: phantom_auroc(modality) for modality in STUDIED}
