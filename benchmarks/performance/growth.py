"""How cost grows with images, categories, signs, shots and pixels: measured curves."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import torch

from benchmarks.performance.common import (
    CPU,
    RUNS,
    Figures,
    by_turns,
    made_up_bank,
    precisions,
)
from benchmarks.random_clip import write_random_checkpoint
from sdmad import SDMAD, SDMADConfig, load_backbone
from sdmad.backbones import Backbone
from sdmad.detector.precision import choose_precision, placed
from sdmad.detector.training import SignTexts, SupportImages, build_adapters, train_adapters

EPOCHS, FEW = 5, 4
COUNTS = {
    "images": (64, 128, 256, 512, 1024),
    "categories": (2, 4, 8, 16, 32),
    "signs": (2, 5, 10, 20, 40),
    "shots": (1, 2, 4, 8, 16),
    "pixels": (112, 168, 224, 280, 336),
}


def fit_seconds(backbone: Backbone, categories: int, signs: int, shots: int) -> Figures:
    """Time of a few epochs of the embedded backbone, frozen tokens included once."""
    bank, config = made_up_bank(categories, signs), SDMADConfig(epochs=EPOCHS)
    size, count = backbone.preprocessing.size, shots * (categories + 1)
    labels = torch.eye(categories + 1, categories).repeat(shots, 1)
    image, text = build_adapters(backbone, config, 0)
    texts = SignTexts(bank, backbone, text)
    images = SupportImages(torch.randn(count, 3, size, size), backbone, image)
    category = torch.tensor(bank.category_index)
    name = f"{categories} categories, {signs} signs, {shots} shots"
    return by_turns(
        {name: lambda: train_adapters(images, texts, labels, category, config, 0)}, RUNS
    )[name]


def score_seconds(count: int) -> Figures:
    """Time of scoring so many arrays with the embedded backbone, preprocessing included."""
    bank = made_up_bank()
    detector = SDMAD(bank, "lite", SDMADConfig(epochs=0))
    rng = np.random.default_rng(0)
    support = [rng.integers(0, 256, (128, 128), np.uint8) for _ in range(len(bank.names) + 1)]
    detector.fit(support, np.eye(len(support), len(bank.names)))
    images = [support[i % len(support)] for i in range(count)]
    return by_turns({f"{count} images": lambda: detector.score_images(images)}, RUNS)[
        f"{count} images"
    ]


def pixel_seconds(folder: Path, size: int) -> Figures:
    """Time of the image tower of ViT-L/14 on four images, as quick as it can be here."""
    backbone = placed(load_backbone(folder, size), CPU, choose_precision("auto", CPU))
    pixels = torch.randn(FEW, 3, size, size)
    return by_turns({f"{size} px": lambda: backbone.encode_image(pixels)}, RUNS)[f"{size} px"]


def measure(work: Path) -> Figures:
    """A curve each."""
    del work
    backbone = load_backbone("lite")
    found: Figures = {
        "images": {n: score_seconds(n) for n in COUNTS["images"]},
        "categories": {n: fit_seconds(backbone, n, 10, 1) for n in COUNTS["categories"]},
        "signs": {n: fit_seconds(backbone, 8, n, 1) for n in COUNTS["signs"]},
        "shots": {n: fit_seconds(backbone, 8, 10, n) for n in COUNTS["shots"]},
    }
    with tempfile.TemporaryDirectory() as folder:
        write_random_checkpoint(Path(folder))
        found["pixels"] = {n: pixel_seconds(Path(folder), n) for n in COUNTS["pixels"]}
    return {"curves": found, "precision": list(precisions())[-1], "epochs": EPOCHS, "few": FEW}
