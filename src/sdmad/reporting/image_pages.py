"""The images that a report shows: their findings, maps and pages of their own."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sdmad.data.images import read_image
from sdmad.detector.findings import Explanation
from sdmad.detector.sign_detector import SignDetector
from sdmad.output import write_text
from sdmad.reporting.explanations import explanation_table, found_overlays
from sdmad.reporting.map_files import safe_name
from sdmad.reporting.map_plot import MapPicture, laid_over
from sdmad.reporting.report import Example, ImagePage, LabelledFinding, render_image_page

FOLDER = "images"
MOST_FINDINGS, MOST_MAPS = 6, 3
THUMBNAIL, LARGE = 192, 480
"""Longest sides in pixels of the pictures in the report and on a page."""


def make_example(
    detector: SignDetector,
    path: Path,
    labels: NDArray[np.float64],
    explanation: Explanation,
    number: int,
) -> Example:
    """One image for the report, with its page.

    Args:
        detector: what judged it.
        path: the image.
        labels: of its categories, ``(K,)``.
        explanation: what was said of it.
        number: of the image in the report, from 1.

    Raises:
        ImageError: if the image cannot be read.
    """
    findings = tuple(
        LabelledFinding(
            entry.category,
            entry.score,
            entry.found,
            None if np.isnan(label) else float(label),
            entry.deciding_sign.sentence,
            entry.deciding_sign.similarity,
            explanation.anchor_similarity,
        )
        for entry, label in zip(explanation.categories, labels, strict=True)
    )
    shown = sorted(findings, key=lambda f: (f.outcome == "absent", -f.score))[:MOST_FINDINGS]
    image = read_image(path, detector.preprocessing.window)
    maps, large = map_pictures(detector, path, image, explanation)
    present = [finding.category for finding in findings if finding.label == 1]
    page = ImagePage(
        path.name,
        _png(image, LARGE),
        large,
        explanation_table(explanation, path.name),
        f"Its labels: {', '.join(present) or 'none of the categories'}",
        f"{FOLDER}/{number:02d}-{safe_name(path.name)}.html",
    )
    return Example(path.name, _png(image, THUMBNAIL), tuple(shown), maps=maps, page=page)


def map_pictures(
    detector: SignDetector, path: Path, image: Image.Image, explanation: Explanation
) -> tuple[tuple[MapPicture, ...], tuple[MapPicture, ...]]:
    """Maps over an image, for the report and for its page; none where the backbone gives none.

    The report shows one of each found category, the page all; where nothing was found, the report
    shows the anomaly map.
    """
    if not detector.has_maps:
        return (), ()
    anomaly, *found = [maps for _, _, maps in found_overlays(detector, path, explanation)]
    few = [maps[0] for maps in found[:MOST_MAPS]] or anomaly
    every = [overlay for maps in (anomaly, *found) for overlay in maps]
    small = tuple(laid_over(image, overlay, THUMBNAIL) for overlay in few)
    return small, tuple(laid_over(image, overlay, LARGE) for overlay in every)


def write_pages(examples: Iterable[Example], folder: Path) -> None:
    """Write the pages of a report's images beside it.

    Raises:
        SDMADError: if something cannot be written.
    """
    for example in examples:
        if example.page is not None:
            place = folder / example.page.address
            place.parent.mkdir(exist_ok=True)
            write_text(place, render_image_page(example.page))


def _png(image: Image.Image, side: int) -> bytes:
    small = image.copy()
    small.thumbnail((side, side), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    small.save(buffer, "PNG")
    return buffer.getvalue()
