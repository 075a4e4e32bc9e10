"""The pictures of pretraining as the frozen trunk sees them, drawn once and kept on disk.

The trunk never changes, so its maps are all that training needs of a picture. A chunk that was
written is not drawn again: an interrupted run goes on where it was.
"""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from threadpoolctl import threadpool_limits
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

from pretraining.corpus import draw_seen_signs
from sdmad.backbones.lite import (
    COARSE_CHANNELS,
    FINE_CHANNELS,
    POOLED,
    STRIDE,
    TRUNK,
    TrunkTransformer,
    joined_maps,
)
from sdmad.backbones.transformer import Shape
from sdmad.data.preprocessing import Preprocessing
from sdmad.phantoms.base import Mask, Modality
from sdmad.phantoms.cases import load_modality, render_case

SIZE = 240
GRID = SIZE // STRIDE
MEAN, STD = 127 / 255, 128 / 255
DRAWN = (128, 160, 192, 240)
"""Sides at which pictures are drawn before they are resized, as files differ in theirs."""
FLIPPED = ("brain", "oct", "breast", "thyroid", "skin", "fundus")
"""Modalities in which left and right may change places."""
OTHER_VIEWS = 0.2
PATCH_SHARE = 0.04
CHUNK = 250
TRUNK_BATCH = 25


@dataclass(frozen=True)
class Pictures:
    """Pretraining images of one modality.

    Attributes:
        modality: what they show.
        maps: the trunk's, channels last, float16, one array ``(250, 15, 15, 272)`` a chunk: two by
            two places of the finer map, and one of the coarser.
        pooled: the trunk's pooled features, float16, ``(n, 320)``.
        signs: which signs each shows, boolean, ``(n, P)`` in the order of ``modality.signs``.
        patches: which signs each patch shows, boolean, ``(n, 10, 10, P)``.
    """

    modality: Modality
    maps: list[NDArray[np.float16]]
    pooled: NDArray[np.float16]
    signs: NDArray[np.bool_]
    patches: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.signs)

    def maps_of(self, rows: NDArray[np.int64]) -> torch.Tensor:
        """Both maps of some of the images at stride 8, ``(m, 152, 30, 30)``, float32."""
        found = np.stack([self.maps[row // CHUNK][row % CHUNK] for row in rows])
        folded = torch.from_numpy(found).float().permute(0, 3, 1, 2)
        fine, coarse = folded.split([4 * FINE_CHANNELS, COARSE_CHANNELS], dim=1)
        return joined_maps(pixel_shuffle(fine, 2), coarse)


@lru_cache(maxsize=8)
def _overlap(size: int) -> NDArray[np.float32]:
    """Share of each of the grid's cells that each pixel covers along one axis, ``(10, size)``."""
    edges = np.arange(GRID + 1) * size / GRID
    pixel = np.arange(size)
    first = np.maximum(edges[:-1, None], pixel)
    last = np.minimum(edges[1:, None], pixel + 1)
    return (np.clip(last - first, 0, None) / (size / GRID)).astype(np.float32)


def patch_shares(mask: Mask) -> NDArray[np.float32]:
    """How much of each patch a mask ``(size, size)`` covers, ``(10, 10)``, from 0 to 1."""
    axis = _overlap(mask.shape[0])
    return axis @ mask.astype(np.float32) @ axis.T


@lru_cache(maxsize=1)
def _trunk(folder: Path) -> TrunkTransformer:
    tower = TrunkTransformer(Shape(4, 1, 1, 4, 4, 1e-5, "gelu"), GRID)
    weights = {name: value.float() for name, value in load_file(folder / TRUNK).items()}
    tower.trunk.load_state_dict(weights)
    return tower.eval().requires_grad_(False)


def _draw_one(
    modality: Modality, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], dict[str, Mask]]:
    """One picture with the masks of its signs."""
    names = list(modality.views)
    other = len(names) > 1 and rng.random() < OTHER_VIEWS
    view = names[int(rng.integers(1, len(names))) if other else 0]
    drawn = draw_seen_signs(modality, view, rng)
    seeds = (int(rng.integers(2**31)), int(rng.integers(2**31)))
    size = DRAWN[int(rng.integers(len(DRAWN)))]
    image, masks = render_case(modality, drawn, "pretraining", size, seeds, view)
    if modality.name in FLIPPED and rng.random() < 0.5:
        image, masks = image[:, ::-1].copy(), {name: mask[:, ::-1] for name, mask in masks.items()}
    return image, masks


def _draw_chunk(name: str, seed: int, trunk: Path, path: Path) -> None:
    """Draw, look and write; the file appears whole or not at all."""
    threadpool_limits(1)
    torch.set_num_threads(1)
    modality, tower = load_modality(name), _trunk(trunk)
    columns = {sign: i for i, sign in enumerate(modality.signs)}
    look = Preprocessing(SIZE, (MEAN,) * 3, (STD,) * 3)
    coarse = SIZE // 16
    maps = np.zeros((CHUNK, coarse, coarse, 4 * FINE_CHANNELS + COARSE_CHANNELS), np.float16)
    pooled = np.zeros((CHUNK, POOLED), np.float16)
    signs = np.zeros((CHUNK, len(columns)), bool)
    patches = np.zeros((CHUNK, GRID, GRID, len(columns)), bool)
    images = []
    for i in range(CHUNK):
        image, masks = _draw_one(modality, np.random.default_rng([seed, i]))
        images.append(image)
        for sign, mask in masks.items():
            share = patch_shares(mask)
            patches[i, :, :, columns[sign]] = share > min(PATCH_SHARE, share.max() * 0.5)
            signs[i, columns[sign]] = mask.any()
        if len(images) == TRUNK_BATCH:
            rows = slice(i + 1 - TRUNK_BATCH, i + 1)
            with torch.inference_mode():
                found = tower.trunk(look(images))
            folded = torch.cat([pixel_unshuffle(found.fine, 2), found.coarse], dim=1)
            maps[rows] = folded.permute(0, 2, 3, 1).numpy()
            pooled[rows] = found.last.mean(dim=(2, 3)).numpy()
            images.clear()
    np.save(path.with_suffix(".maps.npy"), maps)
    part = path.with_suffix(".part.npz")
    np.savez(part, pooled=pooled, signs=signs, patches=patches)
    part.replace(path)


def draw_pictures(counts: dict[str, int], trunk: Path, work: Path, workers: int = 2) -> None:
    """Draw what is missing of the pretraining pictures, all modalities by turns.

    Args:
        counts: pictures of each modality, multiples of 250.
        trunk: folder with the trunk's weights.
        work: folder for the chunks.
        workers: processes.
    """
    work.mkdir(parents=True, exist_ok=True)
    wanted = [
        (name, index, seed)
        for seed, (name, count) in enumerate(counts.items())
        for index in range(count // CHUNK)
    ]
    missing = [
        (name, seed * 1_000_003 + index, chunk_path(work, name, index))
        for name, index, seed in sorted(wanted, key=lambda one: one[1])
        if not chunk_path(work, name, index).exists()
    ]
    with ProcessPoolExecutor(workers) as pool:
        jobs = [pool.submit(_draw_chunk, name, seed, trunk, path) for name, seed, path in missing]
        for done, job in enumerate(as_completed(jobs), 1):
            job.result()
            print(f"drew chunk {done} of {len(jobs)}", flush=True)


def chunk_path(work: Path, name: str, index: int) -> Path:
    """The file of one chunk, beside which its maps lie."""
    return work / f"{name}-{index:03d}.npz"


def load_pictures(name: str, count: int, work: Path) -> Pictures:
    """Open the chunks of one modality; the maps are mapped into memory.

    Args:
        name: a phantom modality.
        count: pictures, a multiple of 250.
        work: folder of the chunks.
    """
    paths = [chunk_path(work, name, index) for index in range(count // CHUNK)]
    chunks = [np.load(path) for path in paths]
    maps = [np.load(path.with_suffix(".maps.npy"), mmap_mode="r") for path in paths]
    pooled, signs, patches = (
        np.concatenate([chunk[part] for chunk in chunks]) for part in ("pooled", "signs", "patches")
    )
    return Pictures(load_modality(name), maps, pooled, signs, patches)
