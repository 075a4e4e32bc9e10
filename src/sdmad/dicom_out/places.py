"""Where the findings of an image are seen: their maps, and what is cut out of them.

A map is squashed and spread as the image is (`sdmad.data.preprocessing` crops nothing), so it lies
on the source's own grid of pixels: row and column of a map are those of the frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sdmad.detector.base import resize_map
from sdmad.detector.findings import CategoryFinding
from sdmad.dicom_out.identity import Judge
from sdmad.export.runtime import ExportedModel
from sdmad.reporting.map_plot import OUTLINED
from sdmad.reporting.predictions import Prediction

MOST_POINTS = 256
"""Points of an outline at most."""


@dataclass(frozen=True, eq=False)
class Place:
    """Where one finding is seen.

    Attributes:
        finding: what was found.
        values: its category's map, ``(H, W)``.
        level: the percentile `OUTLINED` of the map.
        mask: the pixels at the level or above, ``(H, W)``.
        outline: of the part of the mask that holds the map's highest value: closed, ``(n, 2)``,
            columns and rows, where (0, 0) is the corner of the first pixel (PS3.3 C.18.6.1.2).
    """

    finding: CategoryFinding
    values: NDArray[np.float32]
    level: float
    mask: NDArray[np.bool_]
    outline: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Maps:
    """An image's maps.

    Attributes:
        anomaly: the best category above the anchor, ``(H, W)``.
        places: of each finding whose map is not flat.
    """

    anomaly: NDArray[np.float32]
    places: tuple[Place, ...]


def maps_of(judge: Judge, row: Prediction) -> Maps | None:
    """The maps of an image that was judged; None of a model that gives none.

    Raises:
        ImageError: if the image can no longer be read.
    """
    if isinstance(judge, ExportedModel) or not judge.has_maps:
        return None
    small, shape = judge.image_maps(row.file)
    places = [
        place_of(entry, resize_map(small.categories[0, k], shape))
        for k, entry in enumerate(row.explanation.categories)
        if entry.found
    ]
    kept = tuple(place for place in places if place is not None)
    return Maps(resize_map(small.anomaly[0], shape), kept)


def place_of(finding: CategoryFinding, values: NDArray[np.float32]) -> Place | None:
    """What is cut out of a finding's map ``(H, W)``; None of a flat one, which has no place."""
    level = float(np.percentile(values, OUTLINED))
    if not float(values.min()) < level:
        return None
    mask: NDArray[np.bool_] = values >= level
    return Place(finding, values, level, mask, outline_of(mask, values))


def outline_of(mask: NDArray[np.bool_], values: NDArray[np.float32]) -> NDArray[np.float64]:
    """The outer line of the part of a mask that holds the highest value, ``(n, 2)``, closed.

    >>> mask = np.zeros((4, 6), bool)
    >>> mask[1:3, 2:5] = True
    >>> line = outline_of(mask, mask.astype(np.float32))
    >>> line.min(axis=0).tolist(), line.max(axis=0).tolist(), bool((line[0] == line[-1]).all())
    ([2.0, 1.0], [5.0, 3.0], True)
    """
    from contourpy import contour_generator
    from scipy.ndimage import find_objects, label

    parts, _ = label(mask, np.ones((3, 3)))
    number = int(parts.flat[int(np.argmax(np.where(mask, values, -np.inf)))])
    box: Any = find_objects(parts, number)[number - 1]
    part = np.pad(parts[box] == number, 1).astype(np.float64)
    lines: Any = contour_generator(z=part).lines(0.5)
    longest = max(lines, key=len)  # the outer line; holes are shorter
    step = -(-len(longest) // MOST_POINTS)
    line = np.concatenate([longest[:-1:step], longest[:1]])
    # A pixel's centre is half a pixel from its corner; padding moved it by one.
    return np.asarray(line - 0.5 + (box[1].start, box[0].start), np.float64)
