"""Reading images of many kinds as 8-bit greyscale or RGB, with errors that name the file."""

import hashlib
import os
import struct
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from sdmad.data.address import file_of, parse_address
from sdmad.data.formats import Format, has_dicom_prefix, recognise
from sdmad.data.intensity import check_floats, check_shown, tell
from sdmad.data.plane import MAX_PIXELS as MAX_PIXELS
from sdmad.data.plane import ImageError as ImageError
from sdmad.data.plane import Plane, check_size, choose_slice
from sdmad.data.windows import Window, check_window, eight_bit, full_range, shaded
from sdmad.errors import InputError

ImageSource = str | os.PathLike[str] | Image.Image | NDArray[np.generic]
"""What counts as an image: a path or address (``scan.nii.gz#80``), a Pillow image or an array
(H, W), (H, W, 1) or (H, W, 3)."""

FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP", "GIF", "PPM", "JPEG2000")
"""Pillow formats that are tried; formats that start other programs (EPS, PDF) are not."""

VOLUMES = ("DICOM", "NIfTI", "fastMRI HDF5")
"""Formats of this package's own readers."""

SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".gif"}
    | {".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k"}
    | {".dcm", ".dicom", ".nii", ".nii.gz", ".h5", ".hdf5"}
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


def read_image(
    path: str | os.PathLike[str], window: Window = "auto", max_pixels: int = MAX_PIXELS
) -> Image.Image:
    """Read an image file as 8-bit greyscale or RGB.

    - The format is recognised by content: PNG, JPEG, TIFF, BMP, WebP, GIF, PNM and JPEG 2000
      through Pillow; DICOM (`sdmad.data.dicom`), NIfTI (`sdmad.data.nifti`) and fastMRI's HDF5
      (`sdmad.data.hdf5`) through this package's readers.
    - ``file#index`` names a slice, frame or page, from 0. Without an index a volume gives its
      middle slice, a TIFF or GIF its first page.
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
    window = check_window(window)
    file, index = parse_address(path)
    kind = _kind(file)
    if kind == "picture":
        with _opened(file, max_pixels) as image:
            _turn_to(image, file, index)
            return _finish(image, file, max_pixels, window)
    return _shown(_reader(kind).read_plane(file, index, max_pixels, window), window, file)


def volume_slices(path: str | os.PathLike[str]) -> int:
    """The number of slices, frames or pages of an image file; 1 for a plain image.

    Raises:
        ImageError: if the file cannot be read.
    """
    file = file_of(path)
    kind = _kind(file)
    if kind == "picture":
        with _opened(file, MAX_PIXELS) as image:
            return _pages(image, file)
    return int(_reader(kind).count_slices(file))


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
        return _finish(source, path, MAX_PIXELS, window)
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
        _check_file(path)
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


def list_images(paths: Iterable[str | os.PathLike[str]]) -> list[Path]:
    """List image files from files and folders.

    Folders are searched with their subfolders; there only files with an image's suffix count, and
    DICOM files whose name has none or ends in a number, as scanners write them. Hidden files and
    folders are skipped, and a folder reached twice through links is read once. Files and slices
    (``scan.nii.gz#80``) that are named directly are kept whatever their suffix.

    Args:
        paths: files, addresses and folders.

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
            inside = _images_below(path)
            if not inside:
                raise InputError(
                    f"{path}: no image in this folder (endings: {', '.join(sorted(SUFFIXES))})"
                )
            found.update(dict.fromkeys(inside))
        elif file_of(path).exists():
            found[path] = None
        else:
            raise InputError(f"{path}: no such file or folder")
    return list(found)


def walk(
    root: Path, on_error: Callable[[OSError], None] | None = None
) -> Iterator[tuple[Path, list[str]]]:
    """Every folder below a root with its files, sorted; hidden ones are left out.

    Links are followed; a folder that is reached twice is given once.

    Args:
        root: where to begin.
        on_error: called where a folder cannot be listed; without it that folder is left out.
    """
    seen: set[tuple[int, int]] = set()
    for place, folders, files in os.walk(root, followlinks=True, onerror=on_error):
        status = Path(place).stat()
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield Path(place), sorted(name for name in files if not name.startswith("."))


def _images_below(folder: Path) -> list[Path]:
    def stop(error: OSError) -> None:
        raise InputError(f"{error.filename}: cannot list this folder ({error.strerror})") from error

    found = (Path(place, name) for place, names in walk(folder, stop) for name in names)
    return sorted(filter(_is_image_name, found), key=lambda file: file.parts)


def _is_image_name(path: Path) -> bool:
    if path.name.lower().endswith(tuple(SUFFIXES)):
        return True
    bare = path.suffix == "" or path.suffix[1:].isdigit()  # "IM0001", "1.2.840.113619"
    return bare and path.name.upper() != "DICOMDIR" and has_dicom_prefix(path)


def _kind(path: Path) -> Format:
    """Check that the file can be opened and recognise its format."""
    _check_file(path)
    with _decoding(path):
        kind = recognise(path)
    if kind == "gzip":
        raise ImageError(f"{path}: a compressed file that holds no NIfTI; unpack it first", path)
    return kind


def _reader(kind: Format) -> Any:
    """The module that reads volumes of a kind, imported when one is met."""
    return import_module(f"sdmad.data.{kind}")


def _default_slice(path: Path, index: int) -> int:
    """The slice that a file gives without an index; refuses an index beyond the last."""
    count = volume_slices(path)
    choose_slice(path, index, count)
    return 0 if _kind(path) == "picture" else choose_slice(path, None, count)


def _opened(path: Path, max_pixels: int) -> Image.Image:
    with warnings.catch_warnings():
        # Pillow warns of large or oddly tagged files; size is judged later, the rest is readable.
        warnings.simplefilter("ignore")
        try:
            return Image.open(path, formats=FORMATS)
        except UnidentifiedImageError:
            raise ImageError(
                f"{path}: not an image that can be read (known: {', '.join(FORMATS + VOLUMES)}); "
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


def _pages(image: Image.Image, path: Path) -> int:
    with _decoding(path):
        return int(getattr(image, "n_frames", 1))


def _turn_to(image: Image.Image, path: Path, index: int | None) -> None:
    if index is None:
        return
    page = choose_slice(path, index, _pages(image, path))
    with _decoding(path):
        image.seek(page)


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


@contextmanager
def _decoding(path: Path | None) -> Iterator[None]:
    """Turn what decoders raise into an ImageError that names the file."""
    try:
        yield
    except _DECODER_ERRORS as error:
        raise _undecodable(path, error) from error


def _undecodable(path: Path | None, error: BaseException) -> ImageError:
    name = f"{path}: " if path else ""
    if isinstance(error, PermissionError):
        return ImageError(f"{name}cannot be read (permission denied)", path)
    return ImageError(f"{name}damaged or cut short ({error}); copy or export it again", path)


def _finish(image: Image.Image, path: Path | None, max_pixels: int, window: Window) -> Image.Image:
    """Check the size from the header, decode, and convert to "L" or "RGB"."""
    check_size(path, *image.size, max_pixels)
    with warnings.catch_warnings(), _decoding(path):
        warnings.simplefilter("ignore")  # of odd tags
        image.load()
        image = _upright(image)
        if image.mode not in _DEEP_MODES:
            image = _eight_bit(image)
    if image.mode in _DEEP_MODES or (image.mode == "L" and window != "auto"):
        return _shown(Plane(np.asarray(image)), window, path)
    check_shown(np.asarray(image), False, path)
    return image


def _shown(plane: Plane, window: Window, path: Path | None) -> Image.Image:
    try:
        pixels = eight_bit(plane, window)
    except ImageError as error:
        raise ImageError(f"{path}: {error}" if path else str(error), path) from None
    for kind, message in plane.notes:
        tell(kind, path, message)
    check_shown(pixels, plane.values.dtype != np.uint8 or plane.units is not None, path)
    image = Image.fromarray(np.ascontiguousarray(pixels))
    return _grey_if_equal(image) if image.mode == "RGB" else image


def _upright(image: Image.Image) -> Image.Image:
    """Apply the EXIF orientation; EXIF data that cannot be parsed says nothing about it."""
    try:
        return ImageOps.exif_transpose(image)
    except (SyntaxError, ValueError, LookupError, TypeError, EOFError, struct.error):
        return image


def _eight_bit(image: Image.Image) -> Image.Image:
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
    if window != "auto" and array.ndim == 2:
        return _shown(Plane(array), window, None)
    if array.dtype == np.uint8:
        pixels = array.astype(np.uint8)
    elif array.dtype.kind == "f" and 0 <= array.min() <= array.max() <= 1:
        pixels = shaded(Plane(array), lambda values: values)
    else:
        if array.dtype.kind == "f":
            check_floats(array)
        pixels = full_range(array)
    check_shown(pixels, deep=False)  # a range of its own or of [0, 1] is no window to doubt
    image = Image.fromarray(np.ascontiguousarray(pixels))
    return _grey_if_equal(image) if image.mode == "RGB" else image
