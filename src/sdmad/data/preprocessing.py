"""Images to the tensor that a backbone takes; travels with every saved model."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sdmad.data import decoders
from sdmad.data.address import parse_address
from sdmad.data.images import MAX_PIXELS, ImageSource, to_image
from sdmad.data.tasks import squashed
from sdmad.data.windows import Window, check_window
from sdmad.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

MAX_SIDE = 4096
"""Side of a square, in pixels; the largest published tower reads 512."""

LEAST_STD = 1e-4
LARGEST = 1e4


@dataclass(frozen=True)
class Preprocessing:
    """Squash images to a square and standardise them.

    The whole image is resized to the square, bicubic with antialiasing, never centre-cropped;
    greyscale is repeated to three channels; values in [0, 1] are then standardised.

    Attributes:
        size: side of the square, in pixels.
        mean: mean of each channel, in [0, 1] units.
        std: standard deviation of each channel, in [0, 1] units.
        normalise_border: whether white padding of greyscale images is made black first.
        window: how grey values of more than 8 bits become brightness (`sdmad.data.windows`):
            ``auto``, ``lut``, ``full``, ``percentiles`` or (center, width) in the files' own units.

    Raises:
        InputError: if a value is out of range.
    """

    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    normalise_border: bool = True
    window: Window = "auto"

    def __post_init__(self) -> None:
        if type(self.size) is not int or not 1 <= self.size <= MAX_SIDE:
            raise InputError(
                f"preprocessing: size must be a whole number from 1 to {MAX_SIDE}, "
                f"got {self.size!r}"
            )
        object.__setattr__(self, "mean", _triple("mean", self.mean))
        object.__setattr__(self, "std", _triple("std", self.std))
        if min(self.std) < LEAST_STD:
            raise InputError(
                f"preprocessing: std must be at least {LEAST_STD:g}, got {list(self.std)}"
            )
        if not isinstance(self.normalise_border, bool):
            raise InputError(
                "preprocessing: normalise_border must be true or false, "
                f"got {self.normalise_border!r}"
            )
        try:
            object.__setattr__(self, "window", check_window(self.window))
        except InputError as error:
            raise InputError(f"preprocessing: {error}") from None

    def __call__(self, images: Sequence[ImageSource]) -> "Tensor":
        """Read and preprocess images.

        Args:
            images: paths, Pillow images or arrays, any mixture.

        Returns:
            Pixel values, shape ``(n, 3, size, size)``, float32.

        Raises:
            ImageError: if an image cannot be read; it carries the file's path.
            InputError: if a single image is given instead of a sequence.
        """
        if isinstance(images, str | Image.Image | np.ndarray) or not isinstance(images, Sequence):
            raise InputError("preprocessing: give a list of images, even for one image")
        return self.standardise([self.square(source) for source in images])

    def square(self, source: ImageSource) -> NDArray[np.uint8]:
        """Read an image and squash it to the square.

        Args:
            source: a path, a Pillow image or an array.

        Returns:
            Grey ``(size, size)`` or colour ``(size, size, 3)``, uint8.

        Raises:
            ImageError: if it cannot be read; it carries the file's path.
        """
        if isinstance(source, str | os.PathLike):
            file, index = parse_address(source)
            return decoders.ask_for_pixels("square", file, **self.how, index=index)
        return squashed(to_image(source, self.window), self.size, self.normalise_border)

    @property
    def how(self) -> dict[str, Any]:
        """What a decoder process must know to make a square (`sdmad.data.tasks.square`)."""
        return {
            "window": self.window,
            "max_pixels": MAX_PIXELS,
            "size": self.size,
            "border": self.normalise_border,
        }

    def standardise(self, squares: Sequence[NDArray[np.uint8]]) -> "Tensor":
        """Make pixel values of squares.

        Args:
            squares: from :meth:`square`.

        Returns:
            Shape ``(n, 3, size, size)``, float32; grey is repeated to three channels.
        """
        import torch

        values = np.empty((len(squares), 3, self.size, self.size), dtype=np.float32)
        for index, square in enumerate(squares):
            values[index] = square if square.ndim == 2 else square.transpose(2, 0, 1)
        values /= np.float32(255)
        mean, std = (np.asarray(v, np.float32).reshape(3, 1, 1) for v in (self.mean, self.std))
        return torch.from_numpy((values - mean) / std)

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as plain values for JSON."""
        values = asdict(self)
        values["window"] = list(self.window) if isinstance(self.window, tuple) else self.window
        return {**values, "mean": list(self.mean), "std": list(self.std)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Preprocessing":
        """Build from `to_dict`'s values.

        Raises:
            InputError: if a key is missing or unknown, or a value is out of range.
        """
        if not isinstance(values, Mapping):
            raise InputError(f"preprocessing: expected a mapping, got {type(values).__name__}")
        known = [field.name for field in fields(cls)]
        unknown = [str(key) for key in values if key not in known]
        if unknown:
            raise InputError(
                f"preprocessing: unknown key {', '.join(unknown)}; known: {', '.join(known)}"
            )
        missing = [key for key in ("size", "mean", "std") if key not in values]
        if missing:
            raise InputError(f"preprocessing: missing key {', '.join(missing)}")
        return cls(**values)


def _triple(name: str, value: object) -> tuple[float, float, float]:
    if isinstance(value, list | tuple) and len(value) == 3 and all(map(_is_usable, value)):
        return (float(value[0]), float(value[1]), float(value[2]))
    raise InputError(
        f"preprocessing: {name} must be three finite numbers up to {LARGEST:g}, got {value!r}"
    )


def _is_usable(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) <= LARGEST
