"""Time of an evaluation with its intervals, and time and memory of the pixel metrics.

112,000 images of 30,805 patients with 14 categories, positives as rare as in ChestX-ray14, 1,000
resamples of every metric: median of five runs. Then the maps of 10,000 images of 240 x 240 pixels
through the pixel metrics. Run ``make evaluation-speed``.
"""

from __future__ import annotations

import os
import resource
import statistics
import time

import numpy as np
from scipy import ndimage

from sdmad.evaluation.metrics import BoolArray, FloatArray
from sdmad.evaluation.pixels import PixelScores
from sdmad.evaluation.protocols import evaluate_scored
from sdmad.evaluation.scored import ScoredImages, scored_images

IMAGES, PATIENTS, RESAMPLES, RUNS = 112_000, 30_805, 1000, 5
# Positives a thousand images in ChestX-ray14 (Wang et al., CVPR 2017), by name from atelectasis to
# pneumothorax.
PREVALENCE = np.array([103, 25, 42, 21, 119, 22, 15, 2, 177, 52, 56, 30, 13, 47]) / 1000
MAPS, SIDE = 10_000, 240


def chest_like(rng: np.random.Generator) -> ScoredImages:
    """Draw labels and scores; some patients have many images, most have few."""
    labels = (rng.random((IMAGES, PREVALENCE.size)) < PREVALENCE).astype(float)
    scores = rng.normal(labels).astype(np.float32)
    share = rng.exponential(size=PATIENTS)
    patients = rng.choice(PATIENTS, IMAGES, p=share / share.sum())
    normal = ~labels.any(axis=1)
    return scored_images(labels, scores, scores > 1, scores.max(axis=1), normal, patients.tolist())


def draw_map(rng: np.random.Generator) -> tuple[FloatArray, BoolArray]:
    """A smooth map, and a mask of up to three discs, empty in half of the images."""
    y, x = np.mgrid[:SIDE, :SIDE]
    mask = np.zeros((SIDE, SIDE), dtype=np.bool_)
    for _ in range(rng.integers(1, 4) * rng.integers(0, 2)):
        row, column = rng.integers(0, SIDE, 2)
        mask |= np.hypot(y - row, x - column) < rng.uniform(3, 25)
    noise = 8 * ndimage.gaussian_filter(rng.normal(size=(SIDE, SIDE)), 6)
    return noise + mask, mask


def peak_memory() -> float:
    """Largest resident memory of the process so far, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def pixel_metrics(rng: np.random.Generator) -> None:
    """Time and peak memory of AUROC, AUPRO and the best Dice."""
    pool = [draw_map(rng) for _ in range(50)]
    pixels, before, spent, processor = PixelScores(), peak_memory(), 0.0, 0.0
    for number in range(MAPS):
        noise, mask = pool[number % len(pool)]
        anomaly_map = (noise + 0.3 * rng.normal()).astype(np.float32)
        start, busy = time.perf_counter(), time.process_time()
        pixels.add(anomaly_map, mask)
        spent += time.perf_counter() - start
        processor += time.process_time() - busy
    start = time.perf_counter()
    figures = f"AUROC {pixels.auroc():.4f}, AUPRO {pixels.aupro():.4f}"
    dice = f"best Dice {pixels.best_dice()[1]:.4f}"
    read = time.perf_counter() - start
    print(f"{MAPS} maps of {SIDE} x {SIDE}: {figures}, {dice}, right to {pixels.error():.1e}")
    print(f"adding {spent:.1f} s ({processor:.1f} s of one core), reading {read:.1f} s")
    print(f"peak memory {peak_memory():.0f} MB, of which {before:.0f} MB before the first map")


def main() -> None:
    """Measure and print."""
    rng = np.random.default_rng(0)
    pixel_metrics(rng)
    scored = chest_like(rng)
    times, busy = [], time.process_time()
    for _ in range(RUNS):
        start = time.perf_counter()
        evaluate_scored(scored, tuple(f"category {k}" for k in range(PREVALENCE.size)), RESAMPLES)
        times.append(time.perf_counter() - start)
    cores = (time.process_time() - busy) / RUNS
    print(f"{IMAGES} images, {PREVALENCE.size} categories, {PATIENTS} patients, {RESAMPLES}")
    print(f"resamples of every metric on {os.cpu_count()} cores: {statistics.median(times):.1f} s")
    print(
        f"({min(times):.1f} to {max(times):.1f} s in {RUNS} runs, {cores:.1f} s of one core each)"
    )


if __name__ == "__main__":
    main()
