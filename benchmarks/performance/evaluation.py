"""Time of an evaluation with its intervals, and time and memory of the pixel metrics.

112,000 images of 30,805 patients with 14 categories, positives as rare as in ChestX-ray14, 1,000
resamples of every metric: median of five runs. Then the maps of 10,000 images of 240 x 240 pixels
through the pixel metrics.
"""

from __future__ import annotations

import resource
import time
from pathlib import Path

import numpy as np
from scipy import ndimage

from benchmarks.performance.common import RUNS, Figures, spread
from sdmad.evaluation.checks import BoolArray, FloatArray
from sdmad.evaluation.labelled_scores import LabelledScores, labelled_scores
from sdmad.evaluation.pixels import PixelScores
from sdmad.evaluation.protocols import evaluate_scored

IMAGES, PATIENTS, RESAMPLES = 112_000, 30_805, 1000
# Positives a thousand images in ChestX-ray14 (Wang et al., CVPR 2017), by name from atelectasis to
# pneumothorax.
PREVALENCE = np.array([103, 25, 42, 21, 119, 22, 15, 2, 177, 52, 56, 30, 13, 47]) / 1000
MAPS, SIDE = 10_000, 240


def chest_like(rng: np.random.Generator) -> LabelledScores:
    """Draw labels and scores; some patients have many images, most have few."""
    labels = (rng.random((IMAGES, PREVALENCE.size)) < PREVALENCE).astype(float)
    scores = rng.normal(labels).astype(np.float32)
    share = rng.exponential(size=PATIENTS)
    patients = rng.choice(PATIENTS, IMAGES, p=share / share.sum())
    normal = ~labels.any(axis=1)
    return labelled_scores(
        labels, scores, scores > 1, scores.max(axis=1), normal, patients.tolist()
    )


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


def pixel_metrics(rng: np.random.Generator) -> Figures:
    """Time and peak memory of AUROC, AUPRO and the best Dice."""
    pool = [draw_map(rng) for _ in range(50)]
    pixels, before, spent = PixelScores(), peak_memory(), 0.0
    for number in range(MAPS):
        noise, mask = pool[number % len(pool)]
        anomaly_map = (noise + 0.3 * rng.normal()).astype(np.float32)
        start = time.perf_counter()
        pixels.add(anomaly_map, mask)
        spent += time.perf_counter() - start
    start = time.perf_counter()
    figures = {"auroc": pixels.auroc(), "aupro": pixels.aupro(), "dice": pixels.best_dice()[1]}
    read = time.perf_counter() - start
    return {
        **figures,
        "error": pixels.error(),
        "adding": spent,
        "reading": read,
        "mib": peak_memory(),
        "mib_before": before,
    }


def measure(work: Path) -> Figures:
    """Seconds of an evaluation, and of the pixel metrics."""
    del work
    rng = np.random.default_rng(0)
    pixels = pixel_metrics(rng)
    scored = chest_like(rng)
    names, times = tuple(f"category {k}" for k in range(PREVALENCE.size)), []
    for _ in range(RUNS):
        start = time.perf_counter()
        evaluate_scored(scored, names, RESAMPLES)
        times.append(time.perf_counter() - start)
        print(f"evaluation: {times[-1]:.1f} s", flush=True)
    return {"resampling": spread(times), "pixels": pixels}
