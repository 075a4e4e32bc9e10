"""A checkpoint's image processor files."""

from __future__ import annotations

from pathlib import Path

from sdmad.backbones.files import read_json
from sdmad.backbones.known import Channels, Overrides, Recognised, Voice, same_channels, settle
from sdmad.backbones.weights import DAMAGED
from sdmad.data.preprocessing import Preprocessing
from sdmad.errors import ModelError

PROCESSOR, OLDER = "processor_config.json", "preprocessor_config.json"


def read_preprocessing(
    folder: Path,
    image_size: int,
    default: tuple[Channels, Channels],
    known: Recognised | None = None,
    overrides: Overrides | None = None,
) -> Preprocessing:
    """Mean and deviation, settled among the processor files, what is known and what is stated.

    ``transformers`` 5 writes them into ``processor_config.json``, earlier ones into
    ``preprocessor_config.json``; the former goes first, as there.

    Args:
        folder: the checkpoint's.
        image_size: side of the input in pixels.
        default: mean and deviation where nobody says anything.
        known: what is known of the checkpoint.
        overrides: what the user states.

    Raises:
        ModelError: if a file is not valid JSON, its values are not three usable numbers, or they
            contradict what is known or stated.
    """
    file, (mean, std) = _read(folder)
    stated = overrides or Overrides()
    told = None if known is None or known.derived else known
    settled = [
        settle(
            name,
            f"image_{name} in {file}",
            (
                None if own is None else Voice(own, f"the checkpoint's {file}"),
                None if told is None else Voice(getattr(told.known, name), told.by),
                None if asked is None else Voice(asked, f"{name}="),
            ),
            same_channels,
            fallback,
        )
        for name, own, asked, fallback in (
            ("mean", mean, stated.mean, default[0]),
            ("std", std, stated.std, default[1]),
        )
    ]
    return Preprocessing(size=image_size, mean=settled[0], std=settled[1])


def _read(folder: Path) -> tuple[str, tuple[Channels | None, Channels | None]]:
    """Name of the file that speaks, and its mean and deviation; None where it is silent."""
    for name, part in ((PROCESSOR, "image_processor"), (OLDER, "")):
        path = folder / name
        if not path.exists():
            continue
        try:
            values = read_json(path)
            if part and part not in values:
                continue
            values = values[part] if part else values
            if values.get("do_normalize") is False:
                return name, ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
            mean, std = _triple(values, "image_mean"), _triple(values, "image_std")
            Preprocessing(size=1, mean=mean or (0.0, 0.0, 0.0), std=std or (1.0, 1.0, 1.0))
        except DAMAGED as error:
            raise ModelError(f"{path}: not a usable image processor ({error})") from error
        return name, (mean, std)
    return OLDER, (None, None)


def _triple(values: dict[str, object], key: str) -> Channels | None:
    if key not in values:
        return None
    value = values[key]
    if not isinstance(value, list):
        raise ValueError(f"{key} is {value!r}")
    r, g, b = (float(v) for v in value)
    return r, g, b


def input_size(patch: int, own: int, image_size: int | None) -> int:
    """Side of the input in pixels: what is asked for, else the checkpoint's own.

    Raises:
        ModelError: if it is less than one patch.
    """
    size = own if image_size is None else image_size
    if size < patch:
        raise ModelError(f"{size} px is less than one patch of {patch}")
    return size
