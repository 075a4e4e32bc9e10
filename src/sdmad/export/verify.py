"""Is an export the model that it was made of? Both judge the same images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sdmad.data.borders import normalise_border
from sdmad.data.images import to_image
from sdmad.data.preprocessing import Preprocessing
from sdmad.detector.scores import ImageScores
from sdmad.detector.sign_detector import SignDetector
from sdmad.errors import ModelError
from sdmad.export.runtime import ExportedModel
from sdmad.progress import track

RANDOM_SIZES = ((1, 1), (0.5, 0.8), (1.7, 1.2), (1.1, 2.3), (3.1, 3), (0.9, 1))
"""Heights and widths of the random images, as multiples of the graph's own side."""

LEVELS = 2
"""How many grey levels a value that the graph resized may be from Pillow's: one for each axis."""

OFF = 0.01
"""Share of an image's resized values that may be off at all."""

MOST_GIVEN = 32


@dataclass(frozen=True)
class Tolerance:
    """The largest differences that an export may have from its model.

    Attributes:
        cosine: of a cosine with a sign or the anchor; also of scores that are cosines, and of
            the one by which an image counts as unfamiliar.
        score: of a score that is standardised, as those with a probe are: in deviations over the
            support set.
    """

    cosine: float
    score: float


TOLERANCES = {
    "float32": Tolerance(cosine=1e-3, score=1e-2),
    "bfloat16": Tolerance(cosine=0.05, score=0.25),
    "int8": Tolerance(cosine=0.1, score=0.5),
}


@dataclass(frozen=True)
class Difference:
    """How far an export is from its model on some images.

    Attributes:
        images: how many.
        cosine: largest difference of a cosine with a sign or the anchor.
        score: largest difference of a score or an abnormality.
        decisions: how many, images times categories.
        changed: how many of them differ.
        unlike: how many images are unfamiliar to one of the two alone.
        familiarity: how far one of these lies at most from the limit, as the model sees it:
            a difference of cosines.
    """

    images: int
    cosine: float
    score: float
    decisions: int
    changed: int
    unlike: int
    familiarity: float

    @classmethod
    def between(
        cls, model: ImageScores, export: ImageScores, margins: NDArray[np.float64] | None = None
    ) -> Difference:
        """Compare the scores of the same images.

        Args:
            model: its scores of n images.
            export: its scores of them.
            margins: how far within the familiar each image is to the model, ``(n,)``; None where
                it does not tell: both must say the same then.
        """
        unlike = model.unfamiliar != export.unfamiliar
        apart = np.full(len(model), np.inf) if margins is None else np.abs(margins)

        def largest(*names: str) -> float:
            parts = [np.abs(getattr(model, n) - getattr(export, n)).max() for n in names]
            return float(np.max(parts))  # of a NaN, NaN

        return cls(
            len(model),
            largest("similarity", "anchor_similarity"),
            largest("scores", "abnormality"),
            model.decisions.size,
            int((model.decisions != export.decisions).sum()),
            int(unlike.sum()),
            float(apart[unlike].max(initial=0.0)),
        )

    def within(self, tolerance: Tolerance, standardised: bool) -> bool:
        """Whether nothing differs by more; NaN counts as more."""
        score = tolerance.score if standardised else tolerance.cosine
        cosines = (self.cosine, self.familiarity)
        return all(one <= tolerance.cosine for one in cosines) and self.score <= score


@dataclass(frozen=True)
class Check:
    """What the comparison of an export with its model found.

    Attributes:
        tolerance: that it was held to.
        random: on random images.
        given: on the user's images, if any were given.
    """

    tolerance: Tolerance
    random: Difference
    given: Difference | None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


Raw = NDArray[np.uint8 | np.uint16]
Resize = Callable[[Raw, float, float], NDArray[np.float32]]
"""Raw pixels ``(1, H, W, C)``, the values shown black and white, to a square ``(1, 3, S, S)``."""


def check(
    detector: SignDetector,
    export: ExportedModel,
    resize: Resize,
    given: Sequence[Path] = (),
    seed: int = 0,
) -> Check:
    """Let a model and its export judge random images and given ones, and compare.

    In two steps, for a tower may change its cosines by more than the tolerance where a pixel in a
    hundred is one grey level off: the graph's squares are held to Pillow's, and its scores to the
    model's scores of these same squares.

    The given images alone decide of an int8 graph: its ranges were found on their kind, and random
    images lie outside.

    Args:
        detector: the model, in float32.
        export: read back from its directory.
        resize: what the graph does before the tower, in its own runtime.
        given: images; the first 32 are used.
        seed: of the random images.

    Raises:
        ImageError: if a given image cannot be read.
        ModelError: if a square or a score differs by more than is allowed.
    """
    preprocessing, precision = detector.backbone_.preprocessing, export.description.precision
    images = list(random_images(preprocessing.size, seed))
    known = [_raw(file, preprocessing) for file in given[:MOST_GIVEN]]
    random = _compare(detector, export, resize, images)
    found = Check(
        TOLERANCES[precision],
        random,
        _compare(detector, export, resize, known) if known else None,
    )
    standardised = detector.head_.evidence is not None
    for difference in [found.given] if precision == "int8" else [found.random, found.given]:
        if difference is not None and not difference.within(found.tolerance, standardised):
            raise ModelError(_complaint(precision, difference, standardised))
    return found


def _complaint(precision: str, found: Difference, standardised: bool) -> str:
    tolerance = TOLERANCES[precision]
    limit = tolerance.score if standardised else tolerance.cosine
    mend = {
        "float32": "this is a fault of the export; please report it with the backbone's name",
        "bfloat16": "export it in float32",
        "int8": "give more support images for calibration, or export it in bfloat16",
    }[precision]
    return (
        f"the {precision} graph is not the model: on {found.images} images a score differs by up "
        f"to {found.score:.3g} (allowed: {limit:g}), a cosine by up to {found.cosine:.3g} "
        f"(allowed: {tolerance.cosine:g}), {found.changed} of {found.decisions} decisions change, "
        f"and {found.unlike} images are unfamiliar to one alone, by a cosine of up to "
        f"{found.familiarity:.3g} (allowed: {tolerance.cosine:g}). Nothing was written; {mend}"
    )


def _compare(
    detector: SignDetector, export: ExportedModel, resize: Resize, images: Sequence[Raw]
) -> Difference:
    """Judge raw pixels, ``(H, W)`` or ``(H, W, 3)``, by both."""
    preprocessing = detector.backbone_.preprocessing
    models, exports, margins = [], [], []
    familiarity = detector.head_.familiarity
    for image in track(images, "comparing the graph with the model"):
        raw = _as_given(image)
        square = resize(*raw)[0].transpose(1, 2, 0).astype(np.uint8)
        check_square(square, preprocessing.square(image))
        features = detector.image_features(preprocessing.standardise([square]))
        models.append(detector.head_(features))
        if familiarity is not None and features.evidence is not None:
            margins.append(familiarity.margins(features.evidence).cpu().numpy())
        exports.append(export.run(*raw))
    told = np.concatenate(margins) if margins else None
    return Difference.between(ImageScores.join(models), ImageScores.join(exports), told)


def check_square(square: NDArray[np.uint8], pillow: NDArray[np.uint8]) -> None:
    """Hold a square that a graph made of an image to Pillow's.

    Args:
        square: the graph's, ``(S, S, 3)``.
        pillow: ``(S, S)`` or ``(S, S, 3)``.

    Raises:
        ModelError: if a pixel differs by more than :data:`LEVELS`, or more than :data:`OFF` of the
            values differ at all.
    """
    wanted = pillow if pillow.ndim == 3 else pillow[..., None]
    apart = np.abs(square.astype(np.int16) - wanted)
    most, share = int(apart.max()), float((apart > 0).mean())
    if most > LEVELS or share > OFF:
        raise ModelError(
            f"the graph does not resize as Pillow does: {share:.2%} of an image's values differ "
            f"(allowed: {OFF:.0%}), by up to {most} grey levels (allowed: {LEVELS}). Nothing was "
            "written; please report it with the versions of Pillow and of the runtime"
        )


def _as_given(image: Raw) -> tuple[Raw, float, float]:
    """An image as a graph takes it: ``(1, H, W, C)`` and the values shown black and white."""
    black, white = (0, 255) if image.dtype == np.uint8 else (image.min(), image.max())
    pixels = image[None, :, :, None] if image.ndim == 2 else image[None]
    return pixels, float(black), float(white)


def _raw(file: Path, preprocessing: Preprocessing) -> Raw:
    """An image as the graph takes it: windowed, without white padding, at its own size."""
    image = to_image(file, preprocessing.window)
    pixels: Raw = np.asarray(normalise_border(image) if preprocessing.normalise_border else image)
    return pixels


def random_images(size: int, seed: int) -> Iterator[Raw]:
    """Soft shapes with noise and hard edges: 8-bit grey, colour and 16-bit grey, of many sizes.

    Args:
        size: side of the graph's own square in pixels.
        seed: of everything that is drawn.

    Yields:
        ``(H, W)`` uint8 or uint16, or ``(H, W, 3)`` uint8.
    """
    rng = np.random.default_rng(seed)
    for tall, wide in RANDOM_SIZES:
        shape = max(2, round(tall * size)), max(2, round(wide * size))
        planes = [_soft(rng, shape) for _ in range(3)]
        yield (planes[0] * 255).astype(np.uint8)
        yield (np.stack(planes, axis=2) * 255).astype(np.uint8)
        yield (1000 + planes[1] * 3000).astype(np.uint16)


def _soft(rng: np.random.Generator, shape: tuple[int, int]) -> NDArray[np.float64]:
    """Values from 0 to .9: no white edge that could be taken for padding."""
    coarse = Image.fromarray(rng.random((5, 5)).astype(np.float32))
    soft = np.asarray(coarse.resize(shape[::-1], Image.Resampling.BICUBIC), np.float64)
    y, x = rng.integers(0, shape[0]), rng.integers(0, shape[1])
    soft[y : y + shape[0] // 3, x : x + shape[1] // 3] *= 0.4
    noisy = soft + rng.normal(0, 0.05, shape)
    return np.clip(noisy, 0, 1) * 0.9
