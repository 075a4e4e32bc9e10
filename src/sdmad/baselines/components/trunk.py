"""Trunks of the systems that were not made for CLIP: networks that were trained on ImageNet.

One comes with the package, under the embedded backbone. The others' architecture is ``timm``'s;
their weights are read here, from a safetensors file or from the cache of the hub, so that nothing
is unpickled and a file that does not fit is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from sdmad.backbones import load_backbone
from sdmad.backbones.efficientnet import STAGES
from sdmad.backbones.fit import load_filled
from sdmad.backbones.hub import resolve
from sdmad.backbones.lite import TrunkTransformer
from sdmad.choices import EMBEDDED
from sdmad.data.preprocessing import Preprocessing
from sdmad.errors import InputError, MissingExtraError, ModelError, WeightsMissingError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
WEIGHTS = "model.safetensors"
PRETRAINED, RANDOM = "pretrained", "random"


EMBEDDED_STAGES = (0, 1, 2, 4, 6)
"""Stages of EfficientNet-Lite0 behind which a map of the next stride ends: 2, 4, 8, 16 and 32."""

PIECE = 8
"""Images that run through the embedded network at once: the maps of more leave the cache."""


class FeatureMaps(Protocol):
    """What a system needs of its trunk: a module that gives feature maps."""

    channels: tuple[int, ...]

    def __call__(self, pixels: Tensor) -> list[Tensor]:
        """Feature maps ``(n, C, h, w)``, one a level, of pixel values ``(n, 3, H, W)``."""
        ...


class EmbeddedTrunk(nn.Module):
    """EfficientNet-Lite0 with its ImageNet weights, which come with the package.

    Its batch normalisation is folded into its convolutions.

    Args:
        levels: which feature maps, from 0: strides 2, 4, 8, 16 and 32, as timm counts them.

    Attributes:
        channels: of each feature map.
        mean: of the channels of its images, in [0, 1] units.
        std: their standard deviation.
    """

    def __init__(self, levels: Sequence[int]) -> None:
        super().__init__()
        backbone = load_backbone(EMBEDDED)
        assert isinstance(backbone.image, TrunkTransformer)
        self.network = backbone.image.trunk
        self.mean, self.std = backbone.preprocessing.mean, backbone.preprocessing.std
        self.stages = [EMBEDDED_STAGES[level] for level in levels]
        self.channels = tuple(STAGES[stage].channels for stage in self.stages)

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """Feature maps ``(n, C, h, w)``, one a level, of pixel values ``(n, 3, H, W)``."""
        parts = [self.network.stage_maps(part) for part in pixels.split(PIECE)]
        return [torch.cat([part[stage] for part in parts]) for stage in self.stages]


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

    mean, std = IMAGENET_MEAN, IMAGENET_STD

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


def require_timm(trunk: str, system: str, extra: str) -> None:
    """Import timm where a trunk is one of timm's.

    Args:
        trunk: its name.
        system: what needs it, for the error.
        extra: which extra of this package brings timm.

    Raises:
        MissingExtraError: if it is not installed; says what to install.
    """
    if trunk != EMBEDDED:
        require("timm", system, extra)


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


def load_trunk(
    name: str, weights: str | Path, levels: Sequence[int], seed: int = 0
) -> Trunk | EmbeddedTrunk:
    """A trunk in float32, on the CPU, in evaluation mode, frozen.

    Args:
        name: ``"lite"``, the embedded backbone's, or timm's, with the weights' tag.
        weights: ``"pretrained"`` (timm's own, from the hub's cache or the hub), ``"random"``, or
            a safetensors file of the same network; its classifier may be in it. The embedded one
            has only the weights that it comes with.
        levels: which feature maps, from 0.
        seed: of random weights.

    Raises:
        WeightsMissingError: if the weights cannot be had; says what to get and where to put it.
        ModelError: if the file is none of safetensors, or does not fit.
        InputError: if timm has no such network, or the embedded one is given weights.
    """
    if name == EMBEDDED:
        if weights != PRETRAINED:
            raise InputError(f"the embedded trunk has weights of its own; got weights={weights!r}")
        return EmbeddedTrunk(levels).eval().requires_grad_(False)
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


def preprocessing_of(
    trunk: Trunk | EmbeddedTrunk, preprocessing: Preprocessing, size: int
) -> Preprocessing:
    """A trunk's mean and deviation at a size; window and border as the backbone has them.

    Args:
        trunk: whose images they are.
        preprocessing: the backbone's.
        size: side in pixels.
    """
    return replace(preprocessing, size=size, mean=trunk.mean, std=trunk.std)
