"""Explanations for people: as tables, and as maps over the image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from sdmad.data.images import to_image
from sdmad.detector.findings import CategoryFinding, Explanation
from sdmad.detector.maps import sign_index
from sdmad.detector.sign_detector import SignDetector
from sdmad.output import output_directory, write_bytes
from sdmad.reporting.map_files import safe_name
from sdmad.reporting.map_plot import Overlay, overlay_plot
from sdmad.table import Table, percent


def explanation_table(
    explanation: Explanation, name: str, probabilities: Sequence[float] = ()
) -> Table:
    """One row a sign: found categories first, their signs by similarity.

    What decides stands beside the score: its threshold or, of a rule that holds signs to the normal
    anchor, how far each sign lies above this.

    Args:
        explanation: what to show.
        name: what the image is called.
        probabilities: of each category, in their order; none where no prevalence was stated.
    """
    categories = explanation.categories
    by_signs = any(entry.threshold is None for entry in categories)
    likely = dict(zip((entry.category for entry in categories), probabilities, strict=False))
    rows = []
    for entry in sorted(categories, key=lambda c: (not c.found, -c.score)):
        limit = [] if entry.threshold is None else [f"{entry.threshold:.3f}"]
        chance = [percent(likely[entry.category])] if likely else []
        for sign in entry.signs:
            above = f"{sign.similarity - explanation.anchor_similarity:+.3f}"
            rows.append(
                (
                    entry.category,
                    "found" if entry.found else "-",
                    f"{entry.score:.3f}",
                    *limit,
                    *chance,
                    sign.sentence,
                    f"{sign.similarity:.3f}",
                    *([above] if by_signs else []),
                    "decided" if sign is entry.deciding_sign else "" if sign.kept else "discarded",
                )
            )
    anchor = f" against the normal anchor ({explanation.anchor_similarity:.3f})"
    return Table(
        title=f"{name}: signs{anchor if by_signs else ''}",
        header=(
            *("Category", "Decision", "Score"),
            *([] if by_signs else ["Threshold"]),
            *(["Probability"] if likely else []),
            *("Sign", "Cosine"),
            *(["Above anchor"] if by_signs else []),
            "",
        ),
        rows=tuple(rows),
        caption=(
            "UNLIKE the images that the model was fitted on: what it says has no ground. "
            if explanation.unfamiliar
            else ""
        )
        + "Image evidence may add to the signs' part of a score. Not a medical device: a research "
        "tool's reasons, not a diagnosis.",
    )


def write_overlays(
    detector: SignDetector, image: Path, explanation: Explanation, folder: Path, force: bool = False
) -> list[str]:
    """Write one picture a found category, its map and its deciding sign's over the image.

    ``00-anomaly.png`` shows where the image is abnormal at all; the found categories follow, the
    highest score first.

    Args:
        detector: what explained it.
        image: a file or an address.
        explanation: of that image.
        folder: written under a temporary name and renamed.
        force: replace what the folder holds.

    Returns:
        The names of the pictures.

    Raises:
        ImageError: if the image cannot be read.
        InputError: if the backbone gives no maps, or the folder holds something.
        SDMADError: if something cannot be written.
    """
    picture = to_image(image, detector.preprocessing.window)
    with output_directory(folder, force) as work:
        names = []
        for name, title, overlays in found_overlays(detector, image, explanation):
            write_bytes(work / name, overlay_plot(picture, overlays, title))
            names.append(name)
    return names


def found_overlays(
    detector: SignDetector, image: Path, explanation: Explanation
) -> Iterator[tuple[str, str, list[Overlay]]]:
    """File name, title and maps of each picture: of any anomaly, then of each found category.

    Args:
        detector: what explained it.
        image: a file or an address.
        explanation: of that image.

    Raises:
        ImageError: if the image cannot be read.
        InputError: if the backbone gives no maps.
    """
    small, _ = detector.image_maps(image)
    text = "the best category at each place, less the normal anchor"
    told = Overlay("Anomaly map", text, _numpy(small.anomaly[0]), "difference of cosines")
    yield "00-anomaly.png", f"{image.name}: abnormality {explanation.abnormality:.3f}", [told]
    found = [(k, entry) for k, entry in enumerate(explanation.categories) if entry.found]
    for number, (k, entry) in enumerate(sorted(found, key=lambda each: -each[1].score), 1):
        sentence = entry.deciding_sign.sentence
        sign = _numpy(small.signs[0, sign_index(detector.bank_, k, sentence)])
        category = _numpy(small.categories[0, k])
        pooled = Overlay(entry.category, _pooling(detector, entry), category, "cosine")
        decided = Overlay(f"{entry.category}, the deciding sign", sentence, sign, "cosine")
        # One map tells both where one sign is kept.
        overlays = [decided] if np.array_equal(category, sign) else [pooled, decided]
        yield (
            f"{number:02d}-{safe_name(entry.category)}.png",
            f"{image.name}: {entry.category} found, score {entry.score:.3f}",
            overlays,
        )


def _numpy(values: Tensor) -> NDArray[np.float32]:
    found: NDArray[np.float32] = values.cpu().numpy()
    return found


def _pooling(detector: SignDetector, entry: CategoryFinding) -> str:
    kept = sum(sign.kept for sign in entry.signs)
    how = "mean" if detector.config_.pooling == "mean" else "largest"
    return f"{how} of its {kept} kept signs"
