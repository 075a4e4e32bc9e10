"""Ready-made textures and vessel trees of chest radiographs, computed once a size."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy import ndimage, spatial

from sdmad.phantoms.base import Image, smooth_noise


@lru_cache(maxsize=4)
def texture_pool(size: int) -> dict[str, Image]:
    """Ready-made textures of shape ``(12, 2 * size, 2 * size)``, from which crops are taken.

    ``cloud``: coarse smooth noise; ``grain``: fine smooth noise, both of zero mean and unit
    deviation; ``net``: thin crossing lines and ``comb``: walls between small round cells, 0 to
    1; ``film``: a factor near 1 that mottles a whole picture.
    """
    rng = np.random.default_rng(20)
    wide, px = 2 * size, size / 128
    pool: dict[str, list[Image]] = {"cloud": [], "grain": [], "net": [], "comb": []}
    rows, cols = np.meshgrid(np.arange(wide), np.arange(wide), indexing="ij")
    points = np.stack([rows.ravel(), cols.ravel()], 1)
    for _ in range(12):
        coarse = smooth_noise(rng, wide, 14) + 0.5 * smooth_noise(rng, wide, 30)
        fine = smooth_noise(rng, wide, 60) + 0.7 * smooth_noise(rng, wide, 110)
        lines = [smooth_noise(rng, wide, cells) for cells in (46, 62)]
        net = np.maximum(np.exp(-((lines[0] / 0.2) ** 2)), 0.8 * np.exp(-((lines[1] / 0.25) ** 2)))
        pitch = rng.uniform(4.8, 7.4) * px
        axis = np.arange(-pitch, wide + pitch, pitch)
        seeds = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
        seeds = seeds + rng.uniform(-0.35, 0.35, seeds.shape) * pitch
        near, _ = spatial.cKDTree(seeds).query(points, k=2)
        comb = np.exp(-(((near[:, 1] - near[:, 0]) / (1.5 * px)) ** 2)).reshape(wide, wide)
        for name, one in (("cloud", coarse), ("grain", fine), ("net", net), ("comb", comb)):
            pool[name].append(one.astype(np.float32))
    for name in ("cloud", "grain"):
        pool[name] = [one / one.std() for one in pool[name]]
    pool["film"] = [
        (1 + rng.uniform(0.01, 0.03) * grain + rng.uniform(0.02, 0.05) * cloud).astype(np.float32)
        for grain, cloud in zip(pool["grain"], pool["cloud"], strict=True)
    ]
    return {name: np.stack(images) for name, images in pool.items()}


def texture(rng: np.random.Generator, name: str, size: int, rows: int, cols: int) -> Image:
    """Return a random crop, shape ``(rows, cols)``, of a ready-made texture."""
    pool = texture_pool(size)[name]
    index, top, left, flip = (int(n) for n in rng.integers(0, (len(pool), size, size, 4)))
    crop = pool[index, top : top + rows, left : left + cols]
    return crop[:: 1 - 2 * (flip & 1), :: 1 - (flip & 2)]


@lru_cache(maxsize=4)
def vessel_pool(size: int) -> Image:
    """Vessel trees that branch from the middle of the left edge, shape ``(24, size, size)``."""
    rng = np.random.default_rng(21)
    trees = np.zeros((24, size, size), np.float32)
    for tree in trees:
        for angle in np.linspace(-1.35, 1.35, 8) + rng.uniform(-0.15, 0.15, 8):
            _grow(tree, rng, angle)
        tree[:] = ndimage.gaussian_filter(tree, 0.55 * size / 128) * 1.3
    return trees


def _grow(tree: Image, rng: np.random.Generator, angle: float) -> None:
    """Draw one branching vessel that leaves the middle of the left edge at an angle."""
    size = tree.shape[0]
    stack = [(size / 2, 0.0, angle, rng.uniform(1.3, 1.9), 0)]
    while stack:
        row, col, angle, width, depth = stack.pop()
        steps = int(rng.uniform(9, 17) * size / 128)
        angles = np.cumsum(np.append(angle, rng.normal(0, 0.06, steps)))
        rows = np.cumsum(np.append(row, np.sin(angles[1:]) * 1.25))
        cols = np.cumsum(np.append(col, np.cos(angles[1:])))
        widths = np.cumprod(np.append(width, np.full(steps, 0.985)))
        _stamp(tree, rows[1:], cols[1:], widths[1:])
        if depth < 4:
            row, col, angle, width = rows[-1], cols[-1], angles[-1], widths[-1]
            spread = rng.uniform(0.2, 0.5)
            stack += [(row, col, angle + spread, width * 0.75, depth + 1)]
            stack += [(row, col, angle - spread * 0.8, width * 0.8, depth + 1)]


def _stamp(tree: Image, rows: Image, cols: Image, widths: Image) -> None:
    """Raise the four pixels around each point to its width, weighted by how near they are."""
    size = tree.shape[0]
    r, c = rows.astype(np.intp), cols.astype(np.intp)
    good = (r >= 1) & (r < size - 2) & (c >= 0) & (c < size - 2)
    r, c, widths, fr, fc = r[good], c[good], widths[good], (rows - r)[good], (cols - c)[good]
    for down, tall in ((0, 1 - fr), (1, fr)):
        for right, wide in ((0, 1 - fc), (1, fc)):
            weight = (tall * wide * widths).astype(np.float32)
            np.maximum.at(tree, (r + down, c + right), weight)


def add_vessels(
    total: Image, air: Image, tree: Image, row: int, col: int, side: int, strength: float
) -> None:
    """Add a vessel tree that branches from a hilum toward ``side``, where there is air."""
    size = total.shape[0]
    r0, r1 = max(row - size // 2, 0), min(row + size // 2, size)
    s0 = r0 - (row - size // 2)
    if side > 0:
        c0, c1 = max(col, 0), size
        part = tree[s0 : s0 + r1 - r0, : c1 - c0]
    else:
        c0, c1 = 0, min(max(col, 0), size)
        part = tree[s0 : s0 + r1 - r0, : c1 - c0][:, ::-1]
    total[r0:r1, c0:c1] += part * air[r0:r1, c0:c1] * (strength * 1.4)
