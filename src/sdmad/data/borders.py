"""White padding around greyscale images made black."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

WHITE = 245
"""Grey level from which a pixel can be padding (255 less the noise that JPEG adds)."""

DARK = 110
"""The image beside the padding must be darker than this grey level."""

MIN_AREA = 0.0003
"""Smallest padded region, as a fraction of the image."""


def normalise_border(image: Image.Image) -> Image.Image:
    """Make white padding of a greyscale image black; leave everything else as it is.

    Optical coherence tomograms are often rotated or shifted onto a white canvas, which leaves
    white bars and triangles at the edge. They are the brightest thing in the picture and say
    nothing about the patient. A region is taken for padding if

    - it is near-white, touches the edge and fills at least 0.03 percent of the image,
    - the picture beside it is dark (upper quartile below 110), so that the step is sharp:
      saturated tissue at the edge of a radiograph fades and is left alone, and
    - its edge is straight: the picture without it is convex, as a rotated or shifted rectangle is.

    Black borders stay, for a black background is part of magnetic resonance and tomogram images.
    Nothing is cropped, for the picture is later squashed to a square and cropping would change
    its proportions. Colour images are returned unchanged: white is their background.

    Args:
        image: Pillow image of mode "L" or "RGB".

    Returns:
        The same image, or a copy with the padding at grey level 0.
    """
    if image.mode != "L":
        return image
    pixels = np.asarray(image)
    padding = white_padding(pixels)
    if not padding.any():
        return image
    return Image.fromarray(np.where(padding, 0, pixels).astype(np.uint8))


def white_padding(pixels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Mark the white padding of a greyscale image, its blurred rim included.

    Args:
        pixels: grey levels, shape ``(H, W)``.

    Returns:
        Boolean mask, shape ``(H, W)``; all False where `normalise_border` sees no padding.
    """
    white = pixels >= WHITE
    none = np.zeros_like(white)
    if not (white[[0, -1]].any() or white[:, [0, -1]].any()):
        return none
    found = runs_of(white)
    padding = none.copy()
    for region in np.unique(found.label[found.touches_edge()]):
        if found.areas[region] < MIN_AREA * pixels.size:
            continue
        mask = found.mask(region)
        if _beside_dark(pixels, mask):
            bar = _without_specks(mask)
            if _straight(bar):
                padding |= bar
    return _grown(padding, _rim(pixels)) if padding.any() else none


def _rim(pixels: NDArray[np.uint8]) -> int:
    """Width, in pixels, of the blurred edge between padding and picture."""
    return 1 if min(pixels.shape) < 128 else 2


def _without_specks(padding: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Fill what the padding cuts off from the picture: specks of noise within it."""
    parts = runs_of(~padding)
    if len(parts.areas) < 2:
        return padding
    return ~parts.mask(int(parts.areas.argmax()))


def _grown(mask: NDArray[np.bool_], steps: int) -> NDArray[np.bool_]:
    """A mask with its neighbours above, below, left and right, so many times."""
    for _ in range(steps):
        grown = mask.copy()
        grown[1:] |= mask[:-1]
        grown[:-1] |= mask[1:]
        grown[:, 1:] |= mask[:, :-1]
        grown[:, :-1] |= mask[:, 1:]
        mask = grown
    return mask


def _beside_dark(pixels: NDArray[np.uint8], region: NDArray[np.bool_]) -> bool:
    rim = _rim(pixels)
    around = tuple(_reach(np.asarray(region.any(axis=axis)), rim + 2) for axis in (1, 0))
    near = _grown(region[around], rim)
    ring = _grown(near, 2) & ~near
    return bool(ring.any() and np.percentile(pixels[around][ring], 75) < DARK)


def _reach(marked: NDArray[np.bool_], margin: int) -> slice:
    """From the first to the last marked place and some beyond."""
    first, last = marked.argmax(), len(marked) - 1 - marked[::-1].argmax()
    return slice(max(0, int(first) - margin), int(last) + margin + 1)


def _straight(padding: NDArray[np.bool_]) -> bool:
    """Whether the picture without its padding is convex, up to a tenth of the padding."""
    from scipy.spatial import ConvexHull

    content = ~padding
    first = content.argmax(axis=1)
    rows = np.flatnonzero(content[np.arange(len(content)), first])
    size = np.count_nonzero(padding)
    if len(rows) < 2 or padding.size - size < size:
        return False
    first = first[rows]
    last = content.shape[1] - 1 - content[rows, ::-1].argmax(axis=1)
    corners = np.concatenate([_corners(rows, first), _corners(rows, -last) * (1, -1)])
    if np.ptp(corners[:, 1]) == 0:
        return False
    sides = ConvexHull(corners).equations
    return bool(_within(padding, sides) < 0.1 * size)


def _corners(rows: NDArray[np.intp], columns: NDArray[np.intp]) -> NDArray[np.intp]:
    """The places of a left edge at which a convex outline may turn, ``(n, 2)``.

    Places on or behind the line through their neighbours are left out, some times over: Qhull takes
    a millisecond for all of them.
    """
    for _ in range(4):
        up, down = np.diff(rows[:-1]), np.diff(rows[1:])
        ahead = columns[1:-1] * (up + down) < columns[:-2] * down + columns[2:] * up
        turns = np.concatenate([[True], ahead, [True]])
        rows, columns = rows[turns], columns[turns]
    return np.stack([rows, columns], axis=1)


def _within(mask: NDArray[np.bool_], sides: NDArray[np.float64]) -> int:
    """Pixels of a mask that lie more than 1.5 pixels inside a convex outline.

    Args:
        mask: shape ``(H, W)``.
        sides: of the outline, ``(sides, 3)``: ``a row + b column + c`` is the distance outwards.
    """
    height, width = mask.shape
    beyond = np.arange(height)[:, None] * sides[:, 0] + sides[:, 2] + 1.5
    slope = sides[:, 1]
    with np.errstate(divide="ignore", invalid="ignore"):
        limit = -beyond / slope  # a pixel is inside where its column is on the right side of this
    low = np.where(slope < 0, np.floor(limit) + 1, 0).max(axis=1)
    high = np.where(slope > 0, np.ceil(limit), width).min(axis=1)
    low, high = (np.clip(edge, 0, width).astype(np.intp) for edge in (low, high))
    opened = (low < high) & ~((slope == 0) & (beyond >= 0)).any(axis=1)
    rows = np.arange(height)[opened]
    return int(np.count_nonzero(mask & _painted(mask.shape, rows, low[opened], high[opened])))


def _painted(
    shape: tuple[int, ...], row: NDArray[np.intp], start: NDArray[np.intp], end: NDArray[np.intp]
) -> NDArray[np.bool_]:
    """A mask of runs of pixels along its rows.

    Args:
        shape: of the mask.
        row: of each run, ascending.
        start: first column of each run; no two overlap.
        end: first column behind each run.
    """
    height, width = shape
    edges = np.stack([row * width + start, row * width + end], axis=1).ravel()
    lengths = np.diff(edges, prepend=0, append=height * width)
    return np.repeat(np.arange(len(lengths)) % 2 == 1, lengths).reshape(shape)


@dataclass(frozen=True)
class Runs:
    """The connected regions of a mask as runs of pixels along its rows, from top to bottom.

    Attributes:
        shape: of the mask.
        row: of each run.
        start: first column of each run.
        end: first column behind each run.
        label: number of each run's region.
        areas: pixels of each region.
    """

    shape: tuple[int, int]
    row: NDArray[np.intp]
    start: NDArray[np.intp]
    end: NDArray[np.intp]
    label: NDArray[np.int32]
    areas: NDArray[np.int64]

    def touches_edge(self) -> NDArray[np.bool_]:
        """Which runs touch the edge of the mask."""
        height, width = self.shape
        outer = (self.row == 0) | (self.row == height - 1)
        return outer | (self.start == 0) | (self.end == width)

    def mask(self, region: int) -> NDArray[np.bool_]:
        """The pixels of one region."""
        mine = self.label == region
        return _painted(self.shape, self.row[mine], self.start[mine], self.end[mine])


def runs_of(mask: NDArray[np.bool_]) -> Runs:
    """Label a mask by its runs: several times as quick as pixel by pixel.

    Pixels that share a side are connected.

    >>> runs_of(np.array([[True, False, True], [True, True, False]])).areas
    array([3, 1])

    Args:
        mask: shape ``(H, W)``.
    """
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import connected_components

    height, width = mask.shape
    wide = np.zeros((height, width + 2), np.int8)
    wide[:, 1:-1] = mask
    change = np.diff(wide, axis=1).ravel()
    starts, ends = np.flatnonzero(change == 1), np.flatnonzero(change == -1)
    line = width + 1  # places in a line of changes
    # The runs of the next line that overlap a run end behind its start and start before its end.
    first = np.searchsorted(ends, starts + line, "right")
    behind = np.searchsorted(starts, ends + line, "left")
    count = np.maximum(behind - first, 0)
    pointer = np.concatenate([[0], count.cumsum()])
    below = np.arange(pointer[-1]) - np.repeat(pointer[:-1] - first, count)
    links = csr_array((np.ones(len(below), np.int8), below, pointer), shape=(len(starts),) * 2)
    regions, label = connected_components(links, directed=False)
    areas = np.bincount(label, ends - starts, minlength=regions).astype(np.int64)
    row = starts // line
    return Runs((height, width), row, starts - row * line, ends - row * line, label, areas)
