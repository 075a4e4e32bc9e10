"""The pictures of pretraining, drawn once on all cores and kept in memory."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from pretraining.corpus import draw_seen_signs
from sdmad.phantoms.base import Modality
from sdmad.phantoms.cases import load_modality, render_case

SIZE = 128
GRID = 8
OTHER_VIEWS = 0.2
PATCH_SHARE = 0.04
CHUNK = 500


@dataclass(frozen=True)
class Pictures:
    """Pretraining images of one modality.

    Attributes:
        modality: what they show.
        images: 8-bit grey, shape ``(n, 128, 128)``.
        signs: which signs each shows, boolean, ``(n, P)`` in the order of ``modality.signs``.
        patches: which signs each patch shows, boolean, ``(n, 8, 8, P)``.
        views: index into ``modality.views``, ``(n,)``.
    """

    modality: Modality
    images: NDArray[np.uint8]
    signs: NDArray[np.bool_]
    patches: NDArray[np.bool_]
    views: NDArray[np.int64]


def _draw_chunk(name: str, seed: int, count: int) -> tuple[NDArray[np.generic], ...]:
    modality = load_modality(name)
    columns = {sign: i for i, sign in enumerate(modality.signs)}
    images = np.zeros((count, SIZE, SIZE), np.uint8)
    signs = np.zeros((count, len(columns)), bool)
    patches = np.zeros((count, GRID, GRID, len(columns)), bool)
    views = np.zeros(count, np.int64)
    cell = SIZE // GRID
    names = list(modality.views)
    threadpool_limits(1)
    for i in range(count):
        rng = np.random.default_rng([seed, i])
        if len(names) > 1 and rng.random() < OTHER_VIEWS:
            views[i] = rng.integers(1, len(names))
        view = names[views[i]]
        drawn = draw_seen_signs(modality, view, rng)
        seeds = (int(rng.integers(2**31)), int(rng.integers(2**31)))
        images[i], masks = render_case(modality, drawn, "pretraining", SIZE, seeds, view)
        for sign, mask in masks.items():
            share = mask.reshape(GRID, cell, GRID, cell).mean(axis=(1, 3))
            patches[i, :, :, columns[sign]] = share > min(PATCH_SHARE, share.max() * 0.5)
            signs[i, columns[sign]] = mask.any()
    return images, signs, patches, views


def draw_pictures(name: str, count: int, seed: int, workers: int = 2) -> Pictures:
    """Draw ``count`` pretraining pictures of one modality.

    Args:
        name: a phantom modality.
        count: how many; a multiple of 500 wastes nothing.
        seed: any integer from 0.
        workers: processes.
    """
    chunks = -(-count // CHUNK)
    with ProcessPoolExecutor(workers) as pool:
        parts = list(
            pool.map(
                _draw_chunk,
                [name] * chunks,
                [seed * 1_000_003 + i for i in range(chunks)],
                [CHUNK] * chunks,
            )
        )
    images, signs, patches, views = (np.concatenate(p)[:count] for p in zip(*parts, strict=True))
    return Pictures(load_modality(name), images, signs, patches, views)
