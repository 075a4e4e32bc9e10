"""Backbones: one interface to a vision-language model's two towers, layer by layer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sdmad.backbones.base import Backbone, Tower
from sdmad.errors import ModelError

NANO_FOLDER = Path(__file__).parent / "nano"


def _load_nano(image_size: int | None) -> Backbone:
    from sdmad.backbones.clip import load_clip

    backbone = load_clip(str(NANO_FOLDER), image_size)
    backbone.name = "nano"
    return backbone


PACKAGED: dict[str, Callable[[int | None], Backbone]] = {"nano": _load_nano}


def list_backbones() -> list[str]:
    """Names of the backbones that come with the package."""
    return sorted(PACKAGED)


def load_backbone(name_or_folder: str | Path, image_size: int | None = None) -> Backbone:
    """Load a backbone by name.

    Args:
        name_or_folder: ``"nano"`` (packaged), a folder in the ``transformers`` CLIP format, or a
            hub name such as ``"openai/clip-vit-large-patch14"``.
        image_size: side of the input in pixels; the checkpoint's own when not given.

    Returns:
        A frozen backbone with ``encode_image(pixel_values) -> (n, D)`` and
        ``encode_text(sentences) -> (S, D)``, both unit length.

    Raises:
        ModelError: if it cannot be found or read; the message says where it looked.
    """
    name = str(name_or_folder)
    if name in PACKAGED:
        return PACKAGED[name](image_size)
    if not name:
        raise ModelError("the backbone's name is empty; the packaged one is called nano")
    from sdmad.backbones.clip import load_clip

    return load_clip(name, image_size)


__all__ = ["NANO_FOLDER", "Backbone", "Tower", "list_backbones", "load_backbone"]
