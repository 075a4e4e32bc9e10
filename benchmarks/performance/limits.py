"""What the machine could do at best, and where the time of a step and of a score goes."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.performance.common import (
    BATCH,
    CATEGORIES,
    SIZE,
    Figures,
    by_turns,
    made_up_bank,
    precisions,
)
from benchmarks.performance.steps import one_step
from benchmarks.random_clip import write_random_checkpoint
from sdmad import SDMAD, SDMADConfig, load_backbone
from sdmad.detector.precision import placed

WIDTH, HIDDEN, DEPTH, IMAGES, ROUNDS = 1024, 4096, 24, 4, 9
TOKENS = (SIZE // 14) ** 2 + 1
KINDS = {
    "matrix products": ("mm", "addmm", "bmm", "linear", "mkldnn"),
    "attention": ("attention",),
    "activations": ("sigmoid", "gelu", "leaky_relu"),
    "layer norms": ("layer_norm",),
    "patches": ("conv",),
    "optimiser": ("adam",),
}


def products(dtype: torch.dtype) -> Callable[[], object]:
    """The feed-forward products of every block of the tower, and nothing beside them."""
    tokens = torch.randn(IMAGES * TOKENS, WIDTH).to(dtype)
    up, down = (torch.randn(shape).to(dtype) for shape in ((WIDTH, HIDDEN), (HIDDEN, WIDTH)))

    def run() -> None:
        for _ in range(DEPTH):
            _ = (tokens @ up) @ down

    return run


PRODUCT_OPERATIONS = 2 * DEPTH * 2 * IMAGES * TOKENS * WIDTH * HIDDEN


def tower_operations() -> float:
    """Operations of ViT-L/14 on one image: two for each multiplication."""
    block = 12 * WIDTH**2 * TOKENS + 2 * TOKENS**2 * WIDTH
    return 2 * (DEPTH * block + 3 * 14**2 * WIDTH * (TOKENS - 1))


def shares(run: Callable[[], object]) -> dict[str, float]:
    """Share of the processor's time that each kind of operation takes, in percent."""
    run()
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        run()
    found = dict.fromkeys([*KINDS, "everything else"], 0.0)
    for event in seen.key_averages():
        name = event.key.lower()
        kind = next(
            (k for k, words in KINDS.items() if any(word in name for word in words)),
            "everything else",
        )
        found[kind] += event.self_cpu_time_total
    total = sum(found.values())
    return {kind: 100 * value / total for kind, value in found.items()}


def measure(work: Path) -> Figures:
    """Times of the products alone and of scoring, by turns; operations and profiles."""
    del work
    profiles, runs = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        write_random_checkpoint(Path(folder))
        backbone, bank = load_backbone(folder, SIZE), made_up_bank()
    pixels, labels = torch.randn(BATCH, 3, SIZE, SIZE), torch.eye(BATCH, CATEGORIES)
    squares = [np.zeros((SIZE, SIZE), np.uint8)] * (CATEGORIES + 1)
    for name, dtype in precisions().items():
        tower = placed(backbone, backbone.device, dtype)
        detector = SDMAD(bank, tower, SDMADConfig(epochs=0), precision=name)
        detector.fit(squares, np.eye(CATEGORIES + 1, CATEGORIES))
        score = partial(detector.score_pixels, pixels[:IMAGES])
        profiles[f"scoring, {name}"] = shares(score)
        profiles[f"a training step, {name}"] = shares(one_step(tower, bank, pixels, labels))
        runs[f"products, {name}"], runs[f"scoring, {name}"] = products(dtype), score
        print("profile", name, flush=True)
    return {
        "times": by_turns(runs, ROUNDS),
        "product_operations": PRODUCT_OPERATIONS,
        "operations": tower_operations(),
        "images": IMAGES,
        "profiles": profiles,
    }
