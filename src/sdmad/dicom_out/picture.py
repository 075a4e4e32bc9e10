"""The secondary capture: the image with what was found burnt in, for every viewer."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from sdmad.data.images import read_image
from sdmad.data.plane import Window
from sdmad.dicom_out.codes import line
from sdmad.dicom_out.making import RESEARCH, SOFTWARE, Making
from sdmad.dicom_out.places import Maps
from sdmad.reporting.predictions import Prediction

SHORTEST, LONGEST = 512, 1600
"""Of the picture's longer side, in pixels."""

LETTERS = 18
"""Height of the letters, in pixels."""

TINT = 0.25
"""How much of a finding's colour lies over the place where it is seen."""

BANNER = "NOT FOR DIAGNOSIS"

COLOURS = (
    *((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66)),
    *((213, 94, 0), (204, 121, 167)),
)
"""Okabe and Ito's, told apart on grey by people with any colour vision."""

_WHITE, _BLACK = (255, 255, 255), (0, 0, 0)


def capture_of(making: Making, row: Prediction, maps: Maps | None, window: Window) -> Dataset:
    """The picture as a DICOM object.

    Args:
        making: the frame and the model.
        row: what the model says of it.
        maps: where it sees that; None of a model without maps.
        window: the model's.

    Raises:
        ImageError: if the image can no longer be read.
    """
    from highdicom.sc import SCImage

    pixels = drawn(read_image(row.file, window), making, row, maps)
    header, common = making.source.header, making.common("sc")
    capture = SCImage.from_ref_dataset(
        making.source.stand_in,
        pixels,
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        patient_orientation=("L", "P"),  # asked for; the source's own comes with `settle`
        transfer_syntax_uid=ExplicitVRLittleEndian,
        specific_character_set=making.source.stand_in.SpecificCharacterSet,
        **common,
    )
    capture.DerivationDescription = f"Findings of {SOFTWARE} burnt in. {RESEARCH}"
    reference = Dataset()
    reference.ReferencedSOPClassUID = header.SOPClassUID
    reference.ReferencedSOPInstanceUID = making.source.uid
    if making.source.frames:
        reference.ReferencedFrameNumber = making.source.frames
    capture.SourceImageSequence = [reference]
    for keyword in (
        "BurnedInAnnotation",
        *("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod"),
    ):
        if header.get(keyword):
            capture[keyword] = header[keyword]
    return capture


def drawn(
    picture: Image.Image, making: Making, row: Prediction, maps: Maps | None
) -> NDArray[np.uint8]:
    """The picture under a banner and over its findings, ``(H, W, 3)``."""
    scale = _scale(picture)
    width, height = (max(1, round(side * scale)) for side in picture.size)
    shown = picture.convert("RGB").resize((width, height), Image.Resampling.BICUBIC)
    for place, colour in zip(maps.places if maps else (), _colours(), strict=False):
        _lay_over(shown, place.mask, place.outline * scale, colour)
    lines = _wrapped([(f"{BANNER}. {RESEARCH}", _WHITE)], width)
    below = _wrapped(_legend(making, row, maps), width)
    step = LETTERS + 6
    head = step * len(lines) + 6
    whole = Image.new("RGB", (width, head + height + step * len(below) + 6), _BLACK)
    whole.paste(shown, (0, head))
    pen = ImageDraw.Draw(whole)
    for start, several in ((3, lines), (head + height + 3, below)):
        for number, (text, colour) in enumerate(several):
            pen.text((6, start + step * number), text, colour, _font())
    return np.asarray(whole)


def _scale(picture: Image.Image) -> float:
    longer = max(picture.size)
    return min(max(longer, SHORTEST), LONGEST) / longer


def _colours() -> list[tuple[int, int, int]]:
    return [*COLOURS] * 100


def _lay_over(
    shown: Image.Image,
    mask: NDArray[np.bool_],
    outline: NDArray[np.float64],
    colour: tuple[int, int, int],
) -> None:
    """A tint where a finding is seen, and a line around its strongest part."""
    grey = Image.fromarray(mask.astype(np.uint8) * np.uint8(255 * TINT))
    shown.paste(colour, (0, 0), grey.resize(shown.size, Image.Resampling.BILINEAR))
    points = [(float(x), float(y)) for x, y in outline]
    pen = ImageDraw.Draw(shown)
    for width, ink in ((5, _BLACK), (3, colour)):
        pen.line(points, ink, width, joint="curve")


def _legend(
    making: Making, row: Prediction, maps: Maps | None
) -> list[tuple[str, tuple[int, int, int]]]:
    """A line a finding in its colour, then which model said it."""
    placed = {} if maps is None else {p.finding.category: p for p in maps.places}
    colours = dict(zip(placed, _colours(), strict=False))
    told = []
    for k, entry in enumerate(row.explanation.categories):
        if entry.found:
            limit = "" if entry.threshold is None else f", threshold {entry.threshold:.3f}"
            chance = f", probability {row.probabilities[k]:.3f}" if row.probabilities else ""
            answer = f", answer {row.answers[k]}" if row.answers else ""
            where = "" if entry.category in placed else " (no place)"
            text = f"{entry.category}{where}: score {entry.score:.3f}{limit}{chance}{answer}"
            sign = f"; sign: {entry.deciding_sign.sentence}"
            told.append((text + sign, colours.get(entry.category, _WHITE)))
    if not told:
        told.append((f"None of {len(row.explanation.categories)} categories found", _WHITE))
    if row.explanation.unfamiliar:
        unlike = "Unlike the images that the model was fitted on: what is said of it has no ground"
        told.append((unlike, _WHITE))
    model = making.model
    told.append((f"{SOFTWARE} {model.version}, {model.name}, {model.sha256[:12]}", _WHITE))
    return told


def _wrapped(
    texts: list[tuple[str, tuple[int, int, int]]], width: int
) -> list[tuple[str, tuple[int, int, int]]]:
    """Lines that fit into a width."""
    lines: list[tuple[str, tuple[int, int, int]]] = []
    for text, colour in texts:
        now = ""
        for word in line(text, 2000).split():
            longer = f"{now} {word}".strip()
            if now and _font().getlength(longer) > width - 12:
                lines.append((now, colour))
                now = word
            else:
                now = longer
        lines.append((now, colour))
    return lines


@cache
def _font() -> ImageFont.FreeTypeFont:
    import matplotlib

    name = Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")
    return ImageFont.truetype(str(name), LETTERS)
