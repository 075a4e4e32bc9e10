"""Reading images of many kinds as 8-bit greyscale or RGB, with errors that name the file."""

import hashlib
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sdmad.data import decoders
from sdmad.data.address import file_of, parse_address
from sdmad.data.intensity import check_floats, check_shown
from sdmad.data.pictures import as_image, finish, grey_if_equal
from sdmad.data.plane import MAX_PIXELS as MAX_PIXELS
from sdmad.data.plane import ImageError as ImageError
from sdmad.data.plane import Plane, Window, check_size, choose_slice
from sdmad.data.reading import boundary, check_file, kind_of
from sdmad.data.windows import check_window, full_range, shaded

ImageSource = str | os.PathLike[str] | Image.Image | NDArray[np.generic]
"""What counts as an image: a path or address (``scan.nii.gz#80``), a Pillow image or an array
(H, W), (H, W, 1) or (H, W, 3)."""


def read_image(
    path: str | os.PathLike[str], window: Window = "auto", max_pixels: int = MAX_PIXELS
) -> Image.Image:
    """Read an image file as 8-bit greyscale or RGB.

    - The format is recognised by content: PNG, JPEG, BMP, WebP, GIF, PNM, JPEG 2000 and HEIC
      through Pillow (`sdmad.data.pictures`); TIFF (`sdmad.data.tiff`), DICOM (`sdmad.data.dicom`),
      NIfTI (`sdmad.data.nifti`) and fastMRI's HDF5 (`sdmad.data.hdf5`) by this package's readers.
    - It is read in a process of its own, within limits of memory and time (`sdmad.data.limits`).
    - ``file#index`` names a slice, frame or page, from 0. Without an index a volume gives its
      middle slice, a TIFF or GIF its first page, and that is said.
    - Greyscale of more than 8 bits (16- and 32-bit integers, floats) passes the window of
      `sdmad.data.windows`; of values that are not finite, NaN and minus infinity become 0 and plus
      infinity 255. 8-bit greyscale is left alone unless a window other than ``auto`` is asked for,
      which then acts on its grey values. Colour is never windowed.
    - Transparent pixels are laid on black; palettes and CMYK become RGB; 16-bit colour keeps the
      upper 8 bits.
    - The orientation in the EXIF data is applied. RGB with three equal channels becomes greyscale.

    A suspicious range of values is warned of, once (`sdmad.data.intensity`).

    Args:
        path: a file or an address.
        window: ``auto``, ``lut``, ``full``, ``percentiles`` or (center, width).
        max_pixels: width times height above which the file is refused before it is decoded.

    Returns:
        Pillow image of mode "L" or "RGB", at least 2 pixels a side.

    Raises:
        ImageError: if the file is missing, empty, damaged, no image, too large or too small, has
            no such slice, or needs an extra of this package that is not installed.
        InputError: if the window is none.
    """
    file, index = parse_address(path)
    return Image.fromarray(
        decoders.ask_for_pixels(
            "image", file, index=index, window=check_window(window), max_pixels=max_pixels
        )
    )


def volume_slices(path: str | os.PathLike[str]) -> int:
    """The number of slices, frames or pages of an image file; 1 for a plain image.

    Raises:
        ImageError: if the file cannot be read.
    """
    return int(decoders.ask_for("header", file_of(path))["slices"])


def slice_read(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Which slice, frame or page an address means, from 0, and how many its file has.

    Raises:
        ImageError: if the file cannot be read or has no such slice.
    """
    file, index = parse_address(path)
    count = volume_slices(file)
    first = index is None and kind_of(file) in ("picture", "tiff", "heif")
    return 0 if first else choose_slice(file, index, count), count


def to_image(source: ImageSource, window: Window = "auto") -> Image.Image:
    """Turn a path, a Pillow image or an array into 8-bit greyscale or RGB.

    Paths are read as by `read_image`, Pillow images converted by the same rules. Arrays of uint8
    are taken as they are and booleans as 0 and 255; floats that lie within [0, 1] keep that range
    (1 becomes 255); everything else is scaled from its own smallest and largest finite value to 0
    and 255, all channels together. A window other than ``auto`` acts on every greyscale array, in
    the array's own units.

    Args:
        source: a path, a Pillow image, or an array of shape ``(H, W)``, ``(H, W, 1)`` or
            ``(H, W, 3)``, channels last.
        window: ``auto``, ``lut``, ``full``, ``percentiles`` or (center, width).

    Returns:
        Pillow image of mode "L" or "RGB", at least 2 pixels a side.

    Raises:
        ImageError: if the file cannot be read or the array has another shape or kind.
        InputError: if the window is none.
    """
    if isinstance(source, str | os.PathLike):
        return read_image(source, window)
    window = check_window(window)
    if isinstance(source, Image.Image):
        name = getattr(source, "filename", None)
        path = Path(name) if isinstance(name, str) and name else None
        with boundary(path):
            found = finish(source, path, MAX_PIXELS, window)
            return as_image(found.copy() if found is source else found, window, path)
    if isinstance(source, np.ndarray):
        return _from_array(source, window)
    raise ImageError(
        f"an image must be a path, a Pillow image or a NumPy array, got {type(source).__name__}"
    )


def content_hash(source: ImageSource) -> str:
    """SHA-256 of an image's content, as 64 hexadecimal digits.

    For a path it is the hash of the file's bytes; for the address of a slice, of those and the
    slice's index, unless it is the one that the file gives without an index; for a Pillow image of
    its mode, size and pixels; for an array of its type, shape and values. The same picture in two
    of these forms has two hashes.

    Raises:
        ImageError: if the file cannot be read or the object is no image.
    """
    digest = hashlib.sha256()
    if isinstance(source, str | os.PathLike):
        path, index = parse_address(source)
        check_file(path)
        if index is not None and index != _default_slice(path, index):
            digest.update(f"#{index} of ".encode())
        try:
            with path.open("rb") as file:
                for block in iter(lambda: file.read(1 << 20), b""):
                    digest.update(block)
        except OSError as error:
            raise ImageError(f"{path}: cannot be read ({error.strerror})", path) from error
    elif isinstance(source, Image.Image):
        digest.update(f"{source.mode} {source.size}".encode())
        digest.update(source.tobytes())
    elif isinstance(source, np.ndarray):
        digest.update(f"{source.dtype.str} {source.shape}".encode())
        digest.update(np.ascontiguousarray(source).tobytes())
    else:
        raise ImageError(
            f"an image must be a path, a Pillow image or a NumPy array, got {type(source).__name__}"
        )
    return digest.hexdigest()


def _default_slice(path: Path, index: int) -> int:
    """The slice that a file gives without an index; refuses an index beyond the last."""
    place, count = slice_read(path)
    choose_slice(path, index, count)
    return place


def _from_array(array: NDArray[np.generic], window: Window) -> Image.Image:
    shape = array.shape
    if array.ndim == 3 and shape[2] == 1:
        array = array[:, :, 0]
    if not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] == 3)):
        raise ImageError(
            f"an image array must have shape (H, W), (H, W, 1) or (H, W, 3), got {shape}"
        )
    if array.dtype.kind not in "buif":
        raise ImageError(f"an image array must hold numbers, got {array.dtype}")
    if array.size == 0:
        raise ImageError(f"an image array must not be empty, got shape {shape}")
    check_size(None, array.shape[1], array.shape[0], MAX_PIXELS)
    if array.dtype == np.bool_:
        array = array.astype(np.uint8) * np.uint8(255)
    if window not in ("auto", "lut") and array.ndim == 2:
        return as_image(Plane(array), window, None)
    if array.dtype == np.uint8:
        pixels = array.astype(np.uint8)
    elif array.dtype.kind == "f" and 0 <= array.min() <= array.max() <= 1:
        pixels = shaded(Plane(array), lambda values: values)
    else:
        if array.dtype.kind == "f":
            check_floats(array)
        pixels = full_range(array)
    image = Image.fromarray(np.ascontiguousarray(pixels))
    check_shown(image, deep=False)  # a range of its own or of [0, 1] is no window to doubt
    return grey_if_equal(image) if image.mode == "RGB" else image
