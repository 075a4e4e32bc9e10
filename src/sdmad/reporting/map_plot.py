"""Maps laid over the image that they belong to, as PNG bytes."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sdmad.errors import InputError
from sdmad.reporting.plots import INK, new_figure, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LONGEST_SIDE = 800
PANEL = 3.6
OUTLINED = 90
"""Percentile of a map from which its pixels are outlined."""

# Okabe and Ito's vermilion: seen on grey by people with any colour vision.
_HEAT = (0.835, 0.369, 0.0)
_OPAQUE = 0.8


@dataclass(frozen=True, eq=False)
class Overlay:
    """One map to lay over an image.

    Attributes:
        title: what it is a map of, one line.
        text: more about it, wrapped; may be empty.
        values: the map, of any size; it is stretched over the image.
        unit: what its values are.
    """

    title: str
    text: str
    values: NDArray[np.float32]
    unit: str


def overlay_plot(image: Image.Image, overlays: Sequence[Overlay], title: str) -> bytes:
    """The image alone, then one panel a map: orange where it is high, outlined the top tenth.

    Each panel's colours run from its own map's smallest value to its largest, which its scale
    tells: they say where in this image, not how much.

    Args:
        image: shown in grey.
        overlays: at least one map.
        title: over everything.

    Returns:
        PNG.

    Raises:
        InputError: if there is no map, or one is not finite.
    """
    if not overlays:
        raise InputError("an overlay needs at least one map")
    for overlay in overlays:
        if overlay.values.ndim != 2 or not np.isfinite(overlay.values).all():
            raise InputError(f"map {overlay.title!r}: expected finite values of shape (H, W)")
    shown = image.convert("L")
    shown.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.BICUBIC)
    tall = min(max(shown.height / shown.width, 0.4), 2.0)
    columns = len(overlays) + 1
    figure = new_figure(PANEL * columns, PANEL * tall + 1.4)
    figure.suptitle(title, fontsize=11, fontweight="bold", color=INK, parse_math=False)
    panels, scales = figure.subplots(2, columns, height_ratios=(1, 0.04))
    _picture(panels[0], shown, "Image", "")
    scales[0].set_axis_off()
    for axes, scale, overlay in zip(panels[1:], scales[1:], overlays, strict=True):
        _picture(axes, shown, overlay.title, overlay.text)
        _lay_over(figure, axes, scale, overlay, shown.size)
    return save_figure(figure, "png")


EXPLAINED = (
    "The deeper the orange, the more a place looks like it; the outline holds the highest tenth of "
    "a map. Colours run from each map's own lowest value to its highest: they say where in this "
    "image, not how much."
)
"""How to read :func:`laid_over`, for a person."""


@dataclass(frozen=True)
class MapPicture:
    """A map laid over its image.

    Attributes:
        title: what it is a map of.
        text: more about it; may be empty.
        png: the picture.
        scale: its range and its outline, in words.
    """

    title: str
    text: str
    png: bytes
    scale: str


def laid_over(image: Image.Image, overlay: Overlay, side: int) -> MapPicture:
    """A map over the image alone, without axes, as :func:`overlay_plot` colours it.

    Args:
        image: shown in grey.
        overlay: the map, finite.
        side: the picture's longest side in pixels.
    """
    shown = image.convert("L")
    shown.thumbnail((side, side), Image.Resampling.BICUBIC)
    stretched = Image.fromarray(overlay.values.astype(np.float32))
    values = np.asarray(stretched.resize(shown.size, Image.Resampling.BILINEAR))
    low, high = float(values.min()), float(values.max())
    share = (values - low) / (high - low) if high > low else np.zeros_like(values)
    opaque = _OPAQUE * share[..., None] ** 2
    colours = np.array(_HEAT) * 255 * opaque + np.asarray(shown)[..., None] * (1 - opaque)
    level = float(np.percentile(values, OUTLINED))
    told = f"{overlay.unit.capitalize()} from {low:.3f} to {high:.3f}"
    if low < level < high:
        inside = values >= level
        colours[_grown(inside) & ~inside], colours[inside & _grown(~inside)] = 0, 255
        told += f", outlined from {level:.3f}"
    buffer = io.BytesIO()
    Image.fromarray(np.rint(colours).astype(np.uint8)).save(buffer, "PNG", optimize=True)
    return MapPicture(overlay.title, overlay.text, buffer.getvalue(), f"{told}.")


def _grown(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """A region and the pixels beside it."""
    grown = mask.copy()
    grown[1:] |= mask[:-1]
    grown[:-1] |= mask[1:]
    grown[:, 1:] |= mask[:, :-1]
    grown[:, :-1] |= mask[:, 1:]
    return grown


def _picture(axes: Axes, image: Image.Image, title: str, text: str) -> None:
    axes.imshow(np.asarray(image), cmap="gray", vmin=0, vmax=255, interpolation="bilinear")
    axes.set_axis_off()
    lines = [*textwrap.wrap(title, 44)[:2], *textwrap.wrap(text, 44)[:3]]
    axes.set_title("\n".join(lines), fontsize=9, color=INK, parse_math=False)


def _lay_over(
    figure: Figure, axes: Axes, scale: Axes, overlay: Overlay, size: tuple[int, int]
) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap, Normalize

    stretched = Image.fromarray(overlay.values.astype(np.float32))
    values = np.asarray(stretched.resize(size, Image.Resampling.BILINEAR))
    low, high = float(values.min()), float(values.max())
    flat = not high > low
    norm = Normalize(low, low + 1 if flat else high)
    opaque = _OPAQUE * np.linspace(0, 1, 256)[:, None] ** 2  # what is low stays as it was
    colours = np.broadcast_to(_HEAT, (256, 3))
    heat = ListedColormap(np.hstack([colours, opaque]))
    axes.imshow(values, cmap=heat, norm=norm, interpolation="bilinear")
    level = float(np.percentile(values, OUTLINED))
    outlined = low < level < high
    if outlined:
        _outline(axes, values, level)
    on_grey = ListedColormap(opaque * colours + (1 - opaque) * 0.5)
    bar = figure.colorbar(ScalarMappable(norm, on_grey), cax=scale, orientation="horizontal")
    ends = [low] if flat else [low, high]
    bar.set_ticks(ends, labels=[f"{value:.3f}" for value in ends])
    bar.ax.tick_params(labelsize=8, colors=INK, length=0)
    for label in bar.ax.get_xticklabels()[:1]:
        label.set_horizontalalignment("left")
    for label in bar.ax.get_xticklabels()[1:]:
        label.set_horizontalalignment("right")
    unit = f"{overlay.unit}; outlined from {level:.3f}" if outlined else overlay.unit
    bar.set_label(unit, fontsize=8, color=INK, labelpad=-6)


def _outline(axes: Axes, values: NDArray[np.float32], level: float) -> None:
    """A white line with a dark edge, to be seen on black and on white."""
    for width, colour in ((2.6, "#000000"), (1.2, "#ffffff")):
        axes.contour(values, [level], colors=colour, linewidths=width)
