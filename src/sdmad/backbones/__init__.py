"""Backbones: one interface to a vision-language model's two towers, layer by layer.

A name is a packaged backbone's, begins with a prefix (``open_clip:``, ``medclip:``), or is a folder
or a hub name, whose ``config.json`` says what kind of model it holds. docs/backbones.md lists all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from sdmad.backbones.base import Backbone, Tower
from sdmad.backbones.known import Overrides
from sdmad.choices import EMBEDDED
from sdmad.errors import ModelError

LITE_FOLDER = Path(__file__).parent / "lite"
PACKAGED = {EMBEDDED: LITE_FOLDER}
GONE = {
    "nano": "the backbone nano went with sdmad 0.2: lite, which has seen real images, took its "
    "place. A model that was fitted on nano needs sdmad 0.1 (pip install 'sdmad<0.2', or the last "
    "commit of the repository whose _version.py says 0.1.0), or is fitted again."
}
"""Packaged backbones of earlier versions, and what to do."""

# Modules of this package and a function in each, imported when one is asked for:
# ``(name, image_size, **overrides) -> Backbone``. Behind a prefix the name is what the user typed,
# prefix included; elsewhere it is the local folder that holds the files.
PREFIXES = {"open_clip:": ("open_clip", "load_open_clip"), "medclip:": ("medclip", "load_medclip")}
MODEL_TYPES = {
    "clip": ("clip", "load_clip"),
    "siglip": ("siglip", "load_siglip"),
    "siglip2": ("siglip", "load_siglip"),
    "sdmad_lite": ("lite", "load_lite"),
}
# What a folder may hold whose config.json is missing or names none of these:
# ``is_medclip(folder) -> bool``, ``load_medclip``.
FOLDERS = (("medclip", "is_medclip", "load_medclip"),)


def list_backbones() -> list[str]:
    """Names of the backbones that come with the package."""
    return sorted(PACKAGED)


def load_backbone(
    name_or_folder: str | Path,
    image_size: int | None = None,
    *,
    activation: str | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    images_only: bool = False,
) -> Backbone:
    """Load a backbone by name.

    Activation, mean and deviation come from the checkpoint. A value given here settles what the
    checkpoint leaves open, or a contradiction between it and what is known of its weights; one that
    agrees with neither is refused (docs/backbones.md).

    Args:
        name_or_folder: ``"lite"`` (packaged), a folder in the ``transformers`` format (CLIP,
            SigLIP), a hub name such as ``"openai/clip-vit-large-patch14"``,
            ``"open_clip:ARCHITECTURE/WEIGHTS"``, ``"open_clip:hf-hub:OWNER/NAME"`` or
            ``"medclip:FOLDER"``.
        image_size: side of the input in pixels; the checkpoint's own when not given.
        activation: of both towers: ``"quick_gelu"``, ``"gelu"`` or ``"gelu_pytorch_tanh"``.
        mean: of the three channels, in [0, 1] units.
        std: of the three channels, in [0, 1] units.
        images_only: let the tokenizer wait for the first sentence; a fitted detector reads none.

    Returns:
        A frozen backbone with ``encode_image(pixel_values) -> (n, D)`` and
        ``encode_text(sentences) -> (S, D)``, both unit length.

    Raises:
        ModelError: if it cannot be found or read, or contradicts itself; the message says where
            it looked and how to mend it.
    """
    name = str(name_or_folder)
    if not name:
        raise ModelError(f"the backbone's name is empty; the packaged one is called {EMBEDDED}")
    if name in GONE and not Path(name).exists():
        raise ModelError(GONE[name])
    overrides = Overrides(activation, mean, std).given()
    for prefix, place in PREFIXES.items():
        if name.startswith(prefix) or name == prefix.rstrip(":"):
            backbone: Backbone = _call(*place)(name, image_size, **overrides)
            break
    else:
        backbone = _load_folder(name, image_size, overrides, images_only)
    backbone.name, backbone.overrides = name, overrides
    return backbone


def _load_folder(
    name: str, image_size: int | None, overrides: dict[str, Any], images_only: bool
) -> Backbone:
    folder = PACKAGED.get(name) or _find(name)
    try:
        backbone: Backbone = _folder_loader(folder)(str(folder), image_size, **overrides)
        if not images_only:
            backbone.load_tokenizer()
    except ModelError as error:
        if str(folder) in (name, str(PACKAGED.get(name))):
            raise
        raise type(error)(f"{name}: {error}") from error
    return backbone


def _find(name: str) -> Path:
    from sdmad.backbones.hub import resolve

    return resolve(name)


def _call(module: str, function: str) -> Callable[..., Any]:
    loaded: Callable[..., Any] = getattr(import_module(f"{__name__}.{module}"), function)
    return loaded


def _folder_loader(folder: Path) -> Callable[..., Backbone]:
    from sdmad.backbones.files import model_type, read_model_type

    if model_type(folder) not in MODEL_TYPES:
        for module, test, loader in FOLDERS:
            if _call(module, test)(folder):
                return _call(module, loader)
    return _call(*MODEL_TYPES[read_model_type(folder, sorted(MODEL_TYPES))])


__all__ = ["LITE_FOLDER", "Backbone", "Tower", "list_backbones", "load_backbone"]
