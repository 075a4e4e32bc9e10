"""ViT-L/14 at 240 px with random weights: does it train and predict here, how long, how large?

Run ``make vit-large``. Needs about 6 GB of memory.
"""

from __future__ import annotations

import resource
import time

import numpy as np

from benchmarks.random_clip import random_vit_large
from sdmad import SDMAD, SDMADConfig
from sdmad.phantoms.cases import draw_cases, load_modality
from sdmad.signs import SignBank


def main() -> None:
    """Fit one epoch on one shot a category of OCT phantoms and score eight images."""
    bank = SignBank.load("oct")
    cases = list(draw_cases(load_modality("oct"), 40, 0))
    chosen = [next(i for i, c in enumerate(cases) if name in c.categories) for name in bank.names]
    chosen.append(next(i for i, c in enumerate(cases) if not c.categories))
    labels = np.array([[float(n in cases[i].categories) for n in bank.names] for i in chosen])
    detector = SDMAD(bank, random_vit_large(), SDMADConfig.paper(epochs=1))
    start = time.monotonic()
    detector.fit([cases[i].image for i in chosen], labels)
    fitted = time.monotonic()
    scores = detector.decision_function([c.image for c in cases[:8]])
    done = time.monotonic()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"adapters in blocks {sorted(map(int, detector.image_adapters_))} of 24")
    print(f"fit, {len(chosen)} images, 1 epoch: {fitted - start:.1f} s")
    print(
        f"score: {(done - fitted) / 8:.2f} s an image, scores finite: {np.isfinite(scores).all()}"
    )
    print(f"peak memory: {memory:.0f} MiB")


if __name__ == "__main__":
    main()
