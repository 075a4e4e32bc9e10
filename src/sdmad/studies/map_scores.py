"""How well a detector's maps find what the masks show, image by image and by patient."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from sdmad.detector.base import BATCH_SIZE, Detector, resize_map
from sdmad.evaluation.pixel_intervals import PIXEL_METRICS, PatientPixels, patient_capacity
from sdmad.evaluation.pixels import PixelScores
from sdmad.studies.draw import Draw

VALIDATION, OF_EACH = 60, 10
"""Images of the pool, outside the support set, on which a Dice threshold is chosen; of them at
least so many normal and so many abnormal ones, as far as there are."""


def score_maps(detector: Detector, draw: Draw) -> tuple[dict[str, float], PatientPixels | None]:
    """Pixel AUROC and AUPRO on the judged images; Dice at a threshold chosen on the pool.

    Args:
        detector: fitted on the draw.
        draw: whose images are judged.

    Returns:
        The figures, and the pixels of each patient; nothing of either without maps or masks.

    Raises:
        ImageError: if an image cannot be read.
        InputError: if a mask cannot.
    """
    if not detector.has_maps or not draw.material.data.has_masks:
        return {}, None
    chosen = PixelScores()
    for _, mask, values in _maps(detector, draw, validation_rows(draw)):
        chosen.add(values, mask)
    threshold = chosen.best_dice()[0] if chosen.images and min(chosen.pixels) > 0 else None
    found, people = PixelScores(threshold), draw.material.table.patient_keys()
    capacity = patient_capacity(len({people[row] for row in draw.rows}))
    parts: dict[str, PixelScores] = {}
    for row, mask, values in _maps(detector, draw, draw.rows.tolist()):
        found.add(values, mask)
        parts.setdefault(people[row], PixelScores(threshold, capacity)).add(values, mask)
    if found.images == 0 or min(found.pixels) == 0:
        return {}, None
    dice = float("nan") if threshold is None else found.dice_at(threshold)
    figures = zip(PIXEL_METRICS, (found.auroc(), found.aupro(), dice), strict=True)
    return dict(figures), PatientPixels.of(parts)


def validation_rows(draw: Draw) -> list[int]:
    """Images on which a Dice threshold is chosen: in the pool, of patients not drawn nor judged.

    The first of the table, however it is ordered some of either kind; see :data:`VALIDATION`.

    Args:
        draw: says who was drawn and who is judged.
    """
    table = draw.material.table
    keys, (pool, _, _) = table.patient_keys(), table.pools()
    taken = {keys[i] for i in (*draw.support.indices, *draw.rows.tolist())}
    free = [i for i in np.flatnonzero(pool).tolist() if keys[i] not in taken]
    abnormal = (table.labels == 1).any(axis=1)
    kinds = ([i for i in free if abnormal[i] == kind] for kind in (True, False))
    kept = [i for kind in kinds for i in kind[:OF_EACH]]
    rest = [i for i in free if i not in kept]
    return sorted(kept + rest[: VALIDATION - len(kept)])


def _maps(
    detector: Detector, draw: Draw, rows: list[int]
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Row, mask, and map at the mask's size, of each image that has a mask."""
    data, files = draw.material.data, draw.material.table.files
    for start in range(0, len(rows), BATCH_SIZE):
        batch = rows[start : start + BATCH_SIZE]
        masks = [data.mask(row) for row in batch]
        maps = detector.map_pixels(detector.preprocessing([files[row] for row in batch]))
        for row, mask, small in zip(batch, masks, maps, strict=True):
            if mask is not None:
                yield row, mask, resize_map(small, mask.shape)
