"""A training step of ViT-L/14 against the plain reference."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.performance.common import (
    BATCH,
    CATEGORIES,
    SIZE,
    Figures,
    by_turns,
    made_up_bank,
    precisions,
    seconds,
)
from benchmarks.random_clip import write_random_checkpoint
from benchmarks.reference import Reference
from sdmad import SDMADConfig, load_backbone
from sdmad.backbones import Backbone
from sdmad.detector.precision import placed
from sdmad.detector.training import SignTexts, SupportImages, build_adapters, train_adapters
from sdmad.signs import SignBank


def operations(images: int, sentences: int, tokens: int) -> dict[str, float]:
    """Multiplications of a step by count: the reference's and ours.

    A block of width W has 12 W^2 weights. A product counts once forward and, behind the first
    adapter, once more for the gradient of its input; weights are frozen and need none. Attention's
    own products, the adapters and the one trained text block's tail are left out, which favours
    neither.
    """
    image_tokens = images * ((SIZE // 14) ** 2 + 1)
    block = 12 * 1024**2 * image_tokens
    text = 12 * 768**2 * 12 * sentences * tokens
    return {"reference": (24 + 18) * block + text, "ours": (18 + 18) * block}


def one_step(
    backbone: Backbone, bank: SignBank, pixels: Tensor, labels: Tensor
) -> Callable[[], float]:
    """An optimiser step on a batch; what never changes is computed beforehand."""
    config = SDMADConfig.paper(epochs=1)
    image, text = build_adapters(backbone, config, 0)
    texts, images = SignTexts(bank, backbone, text), SupportImages(pixels, backbone, image)
    category = torch.tensor(bank.category_index)
    with torch.no_grad():
        texts()
    return lambda: train_adapters(images, texts, labels, category, config, 0)[0].loss


def preparation(backbone: Backbone, bank: SignBank, pixels: Tensor) -> dict[str, float]:
    """Seconds until a fit can start: the first on these images and signs, and another one."""
    image, text = build_adapters(backbone, SDMADConfig.paper(lam=0.7), 1)
    fresh = pixels + 1  # no other fit has seen these

    def prepare() -> None:
        SupportImages(fresh, backbone, image)
        assert SignTexts(bank, backbone, text).frozen is not None

    return {"first": seconds(prepare), "another": seconds(prepare)}


def training_step(folder: Path) -> Figures:
    """The reference, ours in float32 and in bfloat16, by turns; first losses beside them."""
    torch.manual_seed(0)
    backbone, bank = load_backbone(folder, SIZE), made_up_bank()
    pixels, labels = torch.randn(BATCH, 3, SIZE, SIZE), torch.eye(BATCH, CATEGORIES)
    plain = Reference(str(folder), (6, 8, 18, 24), list(bank.categories.values()), bank.normal)
    runs: dict[str, Callable[[], object]] = {
        "reference": lambda: plain.fit(pixels, labels, 1)[0],
    }
    for name, dtype in precisions().items():
        runs[name] = one_step(placed(backbone, backbone.device, dtype), bank, pixels, labels)
    prepared = preparation(backbone, bank, pixels)
    losses = {name: run() for name, run in runs.items()}
    count = operations(BATCH, *plain.tokens.shape)
    return {
        "times": by_turns(runs, warm=False),
        "losses": losses,
        "count": count,
        "prepared": prepared,
    }


def measure(work: Path) -> Figures:
    """Seconds, first losses and counts."""
    del work
    with tempfile.TemporaryDirectory() as folder:
        write_random_checkpoint(Path(folder))
        return training_step(Path(folder))
