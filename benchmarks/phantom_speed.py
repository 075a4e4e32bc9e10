"""Phantoms a second on one core, test style, 128 px: median of five runs a modality.

Run ``make phantom-speed``.
"""

from __future__ import annotations

import statistics
import time

from sdmad.phantoms.cases import MODALITIES, draw_cases, load_modality

IMAGES, RUNS = 300, 5


def main() -> None:
    """Draw and print the medians."""
    for name in MODALITIES:
        modality = load_modality(name)
        list(draw_cases(modality, 20, 0))  # fills the texture pools
        rates = []
        for run in range(RUNS):
            start = time.perf_counter()
            list(draw_cases(modality, IMAGES, run))
            rates.append(IMAGES / (time.perf_counter() - start))
        print(f"{name}: {statistics.median(rates):.0f} ({min(rates):.0f} to {max(rates):.0f})")


if __name__ == "__main__":
    main()
