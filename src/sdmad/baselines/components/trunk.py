"""Trunks of the systems that were not made for CLIP: convolutional ones by ``timm``, or CLIP's own.

The architecture is timm's; its weights, pretrained on ImageNet, are read here, from a safetensors
file or from the cache of the hub, so that nothing is unpickled and a file that does not fit is
refused. Where these cannot be had, the image tower of the compared backbone stands in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm

from sdmad.backbones import Backbone
from sdmad.backbones.fit import load_filled
from sdmad.backbones.hub import resolve
from sdmad.baselines.components.patch_maps import blocks_of, patches_a_side
from sdmad.data.preprocessing import Preprocessing
from sdmad.errors import InputError, MissingExtraError, ModelError, WeightsMissingError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
WEIGHTS = "model.safetensors"
PRETRAINED, RANDOM = "pretrained", "random"


class FeatureMaps(Protocol):
    """What a system needs of its trunk: a module that gives feature maps."""

    channels: tuple[int, ...]

    def __call__(self, pixels: Tensor) -> list[Tensor]:
        """Feature maps ``(n, C, h, w)``, one a level, of pixel values ``(n, 3, H, W)``."""
        ...


class PatchTrunk(nn.Module):
    """The image tower of a backbone as a trunk: patch tokens behind some blocks as feature maps.

    Each token is brought to mean 0 and variance 1, for a few channels of CLIP's stream are some
    hundred times as large as the others.

    Args:
        backbone: with a class token before a square of patches.
        blocks: of a tower of 24, moved to the tower's depth.
        system: what needs it, for the error.

    Attributes:
        channels: of each feature map.

    Raises:
        InputError: if the tower is another kind or has too few blocks.
    """

    def __init__(self, backbone: Backbone, blocks: Sequence[int], system: str) -> None:
        super().__init__()
        patches_a_side(backbone, system)
        self.tower = backbone.image
        self.blocks = blocks_of(backbone, blocks, system)
        self.channels = tuple(self.tower.widths[block - 1] for block in self.blocks)

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """Feature maps ``(n, C, h, w)``, one a level, of pixel values ``(n, 3, H, W)``."""
        hidden, state = self.tower.embed(pixels)
        found = []
        for index in range(1, max(self.blocks) + 1):
            hidden = self.tower.block(index, hidden, state)
            if index in self.blocks:
                side = round((hidden.shape[1] - 1) ** 0.5)
                tokens = layer_norm(hidden[:, 1:], hidden.shape[-1:])
                found.append(tokens.transpose(1, 2).unflatten(2, (side, side)))
        return found


class Trunk(nn.Module):
    """A convolutional network cut behind the last feature map that is wanted.

    Args:
        name: timm's, such as ``"resnet18.tv_in1k"``; the weights' tag may be left out.
        levels: which feature maps, from 0, of timm's list for this network.

    Attributes:
        channels: of each feature map.

    Raises:
        InputError: if timm has no such network or it no such feature map.
    """

    def __init__(self, name: str, levels: Sequence[int]) -> None:
        super().__init__()
        timm = import_module("timm")
        architecture = name.partition(".")[0]
        if not timm.is_model(architecture):
            raise InputError(f"timm has no network {name!r}")
        self.model: Any = timm.create_model(architecture, pretrained=False, num_classes=0)
        maps = self.model.feature_info
        if not hasattr(self.model, "forward_intermediates") or max(levels) >= len(maps):
            raise InputError(f"{name} has no feature maps {list(levels)}")
        self.levels = list(levels)
        self.channels = tuple(int(maps[level]["num_chs"]) for level in levels)
        self.model.prune_intermediate_layers(self.levels)
        for module in self.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.num_batches_tracked = None  # a counter that nobody reads and files lack

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """Feature maps ``(n, C, h, w)``, one a level, of pixel values ``(n, 3, H, W)``."""
        found: list[Tensor] = self.model.forward_intermediates(
            pixels, indices=self.levels, stop_early=True, intermediates_only=True
        )
        return found


def require(module: str, system: str, extra: str) -> Any:
    """Import a library that is an extra of this package.

    Args:
        module: its name.
        system: what needs it, for the error.
        extra: which extra of this package brings it.

    Raises:
        MissingExtraError: if it is not installed; says what to install.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            f"{system} needs {module}, which is not installed ({error}): "
            f'pip install "sdmad[{extra}]"'
        ) from error


def load_trunk(name: str, weights: str | Path, levels: Sequence[int], seed: int = 0) -> Trunk:
    """A trunk in float32, on the CPU, in evaluation mode, frozen.

    Args:
        name: timm's, with the weights' tag.
        weights: ``"pretrained"`` (timm's own, from the hub's cache or the hub), ``"random"``, or
            a safetensors file of the same network; its classifier may be in it.
        levels: which feature maps, from 0.
        seed: of random weights.

    Raises:
        WeightsMissingError: if the weights cannot be had; says what to get and where to put it.
        ModelError: if the file is none of safetensors, or does not fit.
        InputError: if timm has no such network.
    """
    if weights == RANDOM:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return Trunk(name, levels).eval().requires_grad_(False)
    with torch.device("meta"):
        wanted = Trunk(name, levels).state_dict().keys()
    path = _pretrained(name) if weights == PRETRAINED else _file(Path(weights), name)
    prefix = "model."
    try:
        return load_filled(
            path,
            lambda: Trunk(name, levels),
            rename=lambda key: key.removeprefix(prefix),
            unused=lambda key: prefix + key not in wanted,
        )
    except ModelError as error:
        raise ModelError(f"{name}: {path}: {error}") from error


def _pretrained(name: str) -> Path:
    configuration = import_module("timm").get_pretrained_cfg(name)
    repository = getattr(configuration, "hf_hub_id", None)
    if not repository:
        raise InputError(f"timm has no pretrained weights for {name}; give weights=FILE")
    repository = f"{repository}{'' if '.' in repository else '.' + configuration.tag}"
    advice = f" Or give the file itself: weights=PATH/{WEIGHTS} in the system's settings."
    try:
        path = resolve(repository, [WEIGHTS]) / WEIGHTS
    except WeightsMissingError as error:
        raise WeightsMissingError(f"the trunk {error}{advice}") from error
    if not path.is_file():
        raise WeightsMissingError(f"{repository} is in the cache without {WEIGHTS}.{advice}")
    return path


def _file(path: Path, name: str) -> Path:
    path = path.expanduser()
    if not path.is_file():
        raise WeightsMissingError(
            f"no file {path}: get {WEIGHTS} of timm's {name} from the hub and give its path"
        )
    if path.suffix != ".safetensors":
        raise ModelError(f"{path} is no safetensors file; nothing else is read, for safety")
    return path


def imagenet_preprocessing(preprocessing: Preprocessing, size: int) -> Preprocessing:
    """ImageNet's mean and deviation at a size; window and border as the backbone has them.

    Args:
        preprocessing: the backbone's.
        size: side in pixels.
    """
    return replace(preprocessing, size=size, mean=IMAGENET_MEAN, std=IMAGENET_STD)
