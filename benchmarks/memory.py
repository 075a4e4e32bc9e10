"""The paper's claim of 4,000 MiB for training, by count and by measurement.

Run ``make memory``. A ViT-L/14 at 240 px with random weights, 14 categories of ten signs, batch 8,
float32. Counted are the bytes that a GPU would have to hold at the end of a forward pass: weights,
gradients, Adam's two moments, the support set's frozen tokens, and every tensor that the backward
pass saved; what a CUDA context and its allocator take comes on top. Measured is the peak resident
memory of this process on the CPU.
"""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from benchmarks.performance.common import CATEGORIES, made_up_bank
from benchmarks.random_clip import PAPER_SIZE, random_vit_large
from sdmad import SDMAD, SDMADConfig

IMAGES = CATEGORIES + 1
MIB = 1 << 20


class Saved:
    """Bytes of the distinct tensors that autograd saved, the parameters left out."""

    def __init__(self, known: set[int]) -> None:
        self.known = known
        self.sizes: dict[int, int] = {}
        self.peak = 0

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Watch every tensor that is saved for the backward pass."""

        def pack(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in self.known:
                self.sizes[storage.data_ptr()] = storage.nbytes()
            self.peak = max(self.peak, sum(self.sizes.values()))
            return tensor

        def unpack(tensor: Tensor) -> Tensor:
            self.sizes.clear()  # the backward pass has begun: the next step starts anew
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
            yield


def main() -> None:
    """Fit one epoch, count and measure."""
    backbone = random_vit_large()
    detector = SDMAD(made_up_bank(), backbone, SDMADConfig.paper(epochs=1))
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (256, 256), dtype=np.uint8) for _ in range(IMAGES)]
    labels = np.eye(IMAGES, CATEGORIES)
    frozen = [*backbone.image.parameters(), *backbone.text.parameters()]
    weights = sum(p.numel() * p.element_size() for p in frozen)
    saved = Saved({p.untyped_storage().data_ptr() for p in frozen})
    with saved.watch():
        detector.fit(images, labels)
    adapters = [*detector.image_adapters_.values(), *detector.text_adapters_.values()]
    trained = sum(p.numel() * p.element_size() for a in adapters for p in a.parameters())
    tokens = (PAPER_SIZE // 14) ** 2 + 1
    cache = 4 * IMAGES * tokens * 1024
    rows = {
        "weights of both towers": weights,
        "adapters, their gradients and Adam's two moments": 4 * trained,
        "frozen tokens of the support set": cache,
        "saved for the backward pass, batch 8": saved.peak,
    }
    for name, size in rows.items():
        print(f"| {name} | {size / MIB:,.0f} MiB |")
    print(f"| sum, by count | {sum(rows.values()) / MIB:,.0f} MiB |")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"| peak resident memory of the fit on the CPU, measured | {peak:,.0f} MiB |")


if __name__ == "__main__":
    main()
