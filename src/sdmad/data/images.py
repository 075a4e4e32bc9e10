"""Reading images of many kinds as 8-bit greyscale or RGB, with errors that name the file."""

import hashlib
import os
import struct
import warnings
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from sdmad.errors import InputError

ImageSource = str | os.PathLike[str] | Image.Image | NDArray[np.generic]
"""What counts as an image: a path, a Pillow image or an array (H, W), (H, W, 1) or (H, W, 3)."""

MAX_PIXELS = 178_956_970
"""Largest number of pixels that is decoded: 512 MiB of 24-bit RGB, Pillow's own hard limit."""

MIN_SIDE = 2
"""Shortest side, in pixels, of an image that can be resampled to anything meaningful."""

FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP", "GIF", "PPM", "JPEG2000")
"""Pillow formats that are tried; formats that start other programs (EPS, PDF) are not."""

SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".gif"}
    | {".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k"}
)
"""File-name endings (lower case) that `list_images` takes for images in a folder."""

_DECODER_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    TypeError,
    LookupError,
    ArithmeticError,
    MemoryError,
    RuntimeError,
    struct.error,
    zlib.error,
)
_DEEP_MODES = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")


class ImageError(InputError):
    """One image that cannot be read or used.

    Attributes:
        path: the file, or None if the image did not come from a file.
    """

    def __init__(self, message: str, path: Path | None = None) -> None:
        super().__init__(message)
        self.path = path


def read_image(path: str | os.PathLike[str], max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Read an image file as 8-bit greyscale or RGB.

    - Greyscale of more than 8 bits (16- and 32-bit integers, floats) is scaled so that the image's
      own smallest value becomes 0 and its largest 255; a constant image becomes 0. Of values that
      are not finite, NaN and minus infinity become 0 and plus infinity 255.
    - Transparent pixels are laid on black; palettes and CMYK become RGB; 16-bit colour keeps the
      upper 8 bits.
    - The orientation in the EXIF data is applied. Of several frames or pages the first is read.
    - RGB with three equal channels becomes greyscale.

    Args:
        path: PNG, JPEG, TIFF, BMP, WebP, GIF, PNM or JPEG 2000 file, by content, not by name.
        max_pixels: width times height above which the file is refused before it is decoded.

    Returns:
        Pillow image of mode "L" or "RGB", at least 2 pixels a side.

    Raises:
        ImageError: if the file is missing, empty, damaged, no image, too large or too small.
    """
    path = Path(path)
    _check_file(path)
    with warnings.catch_warnings():
        # Pillow warns of large or oddly tagged files; size is judged below, the rest is readable.
        warnings.simplefilter("ignore")
        try:
            image = Image.open(path, formats=FORMATS)
        except UnidentifiedImageError:
            raise ImageError(
                f"{path}: not an image that can be read (known: {', '.join(FORMATS)}); "
                "convert it to PNG",
                path,
            ) from None
        except Image.DecompressionBombError:
            raise ImageError(
                f"{path}: more than {max_pixels:,} pixels, refused before decoding; "
                "reduce or crop it",
                path,
            ) from None
        except _DECODER_ERRORS as error:
            raise _undecodable(path, error) from error
        with image:
            return _finish(image, path, max_pixels)


def to_image(source: ImageSource) -> Image.Image:
    """Turn a path, a Pillow image or an array into 8-bit greyscale or RGB.

    Paths are read as by `read_image`, Pillow images converted by the same rules. Arrays of uint8
    are taken as they are and booleans as 0 and 255; floats that lie within [0, 1] keep that range
    (1 becomes 255); everything else is scaled from its own smallest and largest finite value to 0
    and 255, all channels together.

    Args:
        source: a path, a Pillow image, or an array of shape ``(H, W)``, ``(H, W, 1)`` or
            ``(H, W, 3)``, channels last.

    Returns:
        Pillow image of mode "L" or "RGB", at least 2 pixels a side.

    Raises:
        ImageError: if the file cannot be read or the array has another shape or kind.
    """
    if isinstance(source, str | os.PathLike):
        return read_image(source)
    if isinstance(source, Image.Image):
        name = getattr(source, "filename", None)
        return _finish(source, Path(name) if isinstance(name, str) and name else None, MAX_PIXELS)
    if isinstance(source, np.ndarray):
        return _finish(_from_array(source), None, MAX_PIXELS)
    raise ImageError(
        f"an image must be a path, a Pillow image or a NumPy array, got {type(source).__name__}"
    )


def content_hash(source: ImageSource) -> str:
    """SHA-256 of an image's content, as 64 hexadecimal digits.

    For a path it is the hash of the file's bytes; for a Pillow image of its mode, size and pixels;
    for an array of its type, shape and values. The same picture in two of these forms has two
    hashes.

    Raises:
        ImageError: if the file cannot be read or the object is no image.
    """
    digest = hashlib.sha256()
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        _check_file(path)
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


def list_images(paths: Iterable[str | os.PathLike[str]]) -> list[Path]:
    """List image files from files and folders.

    Folders are searched with their subfolders; there only files with an image's suffix count,
    hidden files and folders are skipped, and a folder reached twice through links is read once.
    Files that are named directly are kept whatever their suffix.

    Args:
        paths: files and folders.

    Returns:
        Paths in the order given, each folder's files sorted by path, no path twice.

    Raises:
        InputError: if a path does not exist, a folder cannot be listed or holds no image.
    """
    if isinstance(paths, str | os.PathLike):
        paths = [paths]
    found: dict[Path, None] = {}
    for path in map(Path, paths):
        if path.is_dir():
            inside = sorted(_walk(path), key=lambda file: file.parts)
            if not inside:
                raise InputError(
                    f"{path}: no image in this folder (endings: {', '.join(sorted(SUFFIXES))})"
                )
            found.update(dict.fromkeys(inside))
        elif path.exists():
            found[path] = None
        else:
            raise InputError(f"{path}: no such file or folder")
    return list(found)


def _walk(folder: Path) -> Iterator[Path]:
    seen: set[tuple[int, int]] = set()

    def stop(error: OSError) -> None:
        raise InputError(f"{error.filename}: cannot list this folder ({error.strerror})") from error

    for root, folders, files in os.walk(folder, followlinks=True, onerror=stop):
        status = Path(root).stat()
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in files:
            if not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES:
                yield Path(root, name)


def _check_file(path: Path) -> None:
    try:
        if path.is_dir():
            raise ImageError(f"{path}: a folder, not an image file", path)
        size = path.stat().st_size
    except FileNotFoundError:
        raise ImageError(f"{path}: no such file", path) from None
    except (OSError, ValueError) as error:
        raise ImageError(f"{str(path)!r}: cannot be read ({error})", path) from error
    if size == 0 and path.is_file():
        raise ImageError(f"{path}: empty file (0 bytes); copy or export it again", path)
    if not path.is_file():
        raise ImageError(f"{path}: not a regular file", path)


def _undecodable(path: Path | None, error: BaseException) -> ImageError:
    name = f"{path}: " if path else ""
    if isinstance(error, PermissionError):
        return ImageError(f"{name}cannot be read (permission denied)", path)
    return ImageError(f"{name}damaged or cut short ({error}); copy or export it again", path)


def _finish(image: Image.Image, path: Path | None, max_pixels: int) -> Image.Image:
    """Check the size from the header, decode, and convert to "L" or "RGB"."""
    name = f"{path}: " if path else ""
    width, height = image.size
    if width * height > max_pixels:
        raise ImageError(
            f"{name}{width} x {height} is more than {max_pixels:,} pixels, "
            "refused before decoding; reduce or crop it",
            path,
        )
    if min(width, height) < MIN_SIDE:
        raise ImageError(
            f"{name}{width} x {height} pixels is too small; "
            f"each side must have at least {MIN_SIDE}",
            path,
        )
    try:
        image.load()
        image = _upright(image)
        return _eight_bit(image)
    except ImageError as error:
        raise ImageError(f"{name}{error}", path) from None
    except _DECODER_ERRORS as error:
        raise _undecodable(path, error) from error


def _upright(image: Image.Image) -> Image.Image:
    """Apply the EXIF orientation; EXIF data that cannot be parsed says nothing about it."""
    try:
        return ImageOps.exif_transpose(image)
    except (SyntaxError, ValueError, LookupError, TypeError, EOFError, struct.error):
        return image


def _eight_bit(image: Image.Image) -> Image.Image:
    if image.mode in _DEEP_MODES:
        return Image.fromarray(_full_range(np.asarray(image)))
    if image.mode in ("L", "1"):
        return image.convert("L") if "transparency" not in image.info else _on_black(image)
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        image = _on_black(image)
    return _grey_if_equal(image.convert("RGB"))


def _on_black(image: Image.Image) -> Image.Image:
    colour = image.convert("RGBA")
    black = Image.new("RGBA", colour.size, (0, 0, 0, 255))
    return _grey_if_equal(Image.alpha_composite(black, colour).convert("RGB"))


def _grey_if_equal(image: Image.Image) -> Image.Image:
    red, green, blue = image.split()
    if red.tobytes() == green.tobytes() == blue.tobytes():
        return red
    return image


def _full_range(values: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Scale the finite range of an array to 0..255; a constant array becomes 0."""
    numbers = values.astype(np.float64)
    finite = np.isfinite(numbers)
    if not finite.any():
        raise ImageError("holds no finite value")
    low, high = numbers[finite].min(), numbers[finite].max()
    with np.errstate(over="ignore"):
        too_wide = not np.isfinite(high - low)
    if too_wide:
        numbers, low, high = numbers / 4, low / 4, high / 4
    span = high - low
    numbers = np.nan_to_num(numbers, nan=low, posinf=high, neginf=low)
    if span == 0:
        return np.where(np.isposinf(values.astype(np.float64)), 255, 0).astype(np.uint8)
    return np.rint((numbers - low) / span * 255).astype(np.uint8)


def _from_array(array: NDArray[np.generic]) -> Image.Image:
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
    if array.dtype == np.uint8:
        pixels = array.astype(np.uint8)
    elif array.dtype == np.bool_:
        pixels = array.astype(np.uint8) * np.uint8(255)
    elif (
        array.dtype.kind == "f"
        and 0 <= array.astype(np.float64).min() <= array.astype(np.float64).max() <= 1
    ):
        pixels = np.rint(array.astype(np.float64) * 255).astype(np.uint8)
    else:
        pixels = _full_range(array)
    return Image.fromarray(np.ascontiguousarray(pixels))
