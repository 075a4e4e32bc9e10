"""Scoring with ViT-L/14 in PyTorch against its bare image tower and that of transformers."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from transformers import CLIPVisionModelWithProjection

from benchmarks.performance.common import (
    CATEGORIES,
    RUNS,
    SIZE,
    Figures,
    by_turns,
    made_up_bank,
    precisions,
)
from benchmarks.random_clip import write_random_checkpoint
from sdmad import SDMAD, SDMADConfig, load_backbone
from sdmad.detector.precision import placed

IMAGES = 4


def runs_of(folder: Path, model: Path) -> dict[str, Callable[[], object]]:
    """What is timed, by name: bare towers first."""
    backbone, pixels = load_backbone(folder, SIZE), torch.randn(IMAGES, 3, SIZE, SIZE)
    support = [
        np.random.default_rng(i).integers(0, 256, (SIZE, SIZE), np.uint8)
        for i in range(CATEGORIES + 1)
    ]
    fitted = SDMAD(made_up_bank(), backbone, SDMADConfig(epochs=0))
    fitted.fit(support, np.eye(CATEGORIES + 1, CATEGORIES)).save(model)
    runs: dict[str, Callable[[], object]] = {}
    for name, dtype in precisions().items():
        bare = placed(backbone, backbone.device, dtype)
        loaded = SDMAD.load(model, backbone, precision=name)
        theirs = CLIPVisionModelWithProjection.from_pretrained(folder, dtype=dtype).eval()
        values = pixels.to(dtype)
        runs[f"bare tower, {name}"] = lambda bare=bare: bare.encode_image(pixels)
        runs[f"transformers, {name}"] = torch.no_grad()(
            lambda theirs=theirs, values=values: theirs(values, interpolate_pos_encoding=True)
        )
        runs[f"sdmad, {name}"] = lambda loaded=loaded: loaded.score_pixels(pixels)
    if "bfloat16" in precisions():

        def autocast() -> object:
            with torch.autocast("cpu", torch.bfloat16):
                return backbone.encode_image(pixels)

        runs["bare tower, float32 weights under autocast"] = autocast
    return runs


def measure(work: Path) -> Figures:
    """Seconds for four images."""
    del work
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "clip").mkdir()
        write_random_checkpoint(folder / "clip")
        times = by_turns(runs_of(folder / "clip", folder / "model"), 2 * RUNS)
    return {"times": times, "images": IMAGES}
