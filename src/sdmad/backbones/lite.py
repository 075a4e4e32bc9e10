"""The embedded backbone: a CLIP whose image tower reads the maps of a network that saw the world.

EfficientNet-Lite0 (``efficientnet.py``) makes feature maps of an image; those of stride 8 and 16
become the tokens of CLIP's vision transformer, which learnt signs from phantoms. A token is three
by three places of the finer map, 24 by 24 pixels, so that small findings are seen and a fit stays
quick. The text tower is
CLIP's. ``lite/MODEL_CARD.md`` says what it was made of and how good it is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.functional import interpolate, normalize

from sdmad.backbones.clip import CLIPBackbone
from sdmad.backbones.clip_config import CLIPConfiguration, read_configuration
from sdmad.backbones.efficientnet import COARSE, FINE, STAGES, EfficientNetLite0
from sdmad.backbones.files import check_files
from sdmad.backbones.known import OPENAI_MEAN, OPENAI_STD, Overrides, joined, settle_activation
from sdmad.backbones.processor import input_size, read_preprocessing
from sdmad.backbones.transformer import ImageTransformer, Shape, TextTransformer
from sdmad.backbones.weights import complain_of_misfits, hash_tensors
from sdmad.errors import ModelError
from sdmad.inputs import bounded

TRUNK, TOWERS = "trunk.safetensors", "model.safetensors"
FINE_CHANNELS, COARSE_CHANNELS = STAGES[FINE].channels, STAGES[COARSE].channels
CHANNELS = FINE_CHANNELS + COARSE_CHANNELS
"""Of a place at stride 8, where the coarser map counts for two by two places."""
POOLED = STAGES[-1].channels
PLACES = 3
STRIDE = 8 * PLACES
MULTIPLE = 2 * STRIDE
"""Sides of the input in pixels are multiples of this: whole tokens, whole places of both maps."""
PIECE = 8
"""Images that run through the trunk at once: the maps of more leave the processor's cache."""
REMEMBERED = 1000
"""Pretraining's pictures of which the tower remembers the pooled features."""


class TrunkTransformer(ImageTransformer):
    """CLIP's vision transformer on the maps of EfficientNet-Lite0.

    The state that it carries is the mean of the trunk's last map, ``(n, 320)``: what an image shows
    in terms of the world, where the tokens speak of signs.

    Args:
        shape: sizes.
        grid: patches a side that the position embeddings were trained for.

    Attributes:
        centre: mean of the evidence's parts over pretraining's images; taken off before each part
            is brought to one length.
        seen: the last part of the evidence of some of pretraining's pictures, ``(1000, 320)``,
            unit length.
        least: cosine with the nearest of them which 99 in 100 of the other pictures exceed.
    """

    local_values = False
    full_precision = ("trunk", "centre", "seen", "least")

    def __init__(self, shape: Shape, grid: int) -> None:
        super().__init__(shape, STRIDE, grid)
        self.trunk = EfficientNetLite0()
        self.centre = nn.Parameter(torch.empty(3 * shape.width + POOLED))
        self.seen = nn.Parameter(torch.empty(REMEMBERED, POOLED))
        self.least = nn.Parameter(torch.empty(()))

    def embedding(self, width: int, stride: int) -> nn.Module:
        """What makes three by three places of the maps a token."""
        return nn.Conv2d(CHANNELS, width, stride // 8, stride // 8)

    def patches(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Patch tokens ``(n, W, h, w)`` without positions, and the trunk's pooled features."""
        maps, pooled = self.trunk_features(inputs)
        return self.patch(maps.to(self.dtype)), pooled

    def trunk_features(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Both maps at stride 8, ``(n, 152, h, w)``, and the mean of the last, ``(n, 320)``."""
        if torch.compiler.is_compiling():  # a graph is for any number of images
            return self._features_of(inputs)
        found = [self._features_of(part) for part in inputs.split(PIECE)]
        maps, pooled = zip(*found, strict=True)
        return torch.cat(maps), torch.cat(pooled)

    def _features_of(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        maps = self.trunk(inputs)
        return joined_maps(maps.fine, maps.coarse), maps.last.mean(dim=(2, 3))

    @property
    def evidence_parts(self) -> tuple[int, ...]:
        """Sizes of the parts that the evidence is made of."""
        return (*super().evidence_parts, POOLED)

    @property
    def has_trunk(self) -> bool:
        """The pooled features are the evidence's last part."""
        return True

    def known(self, hidden: Tensor, state: Tensor | None) -> list[Tensor]:
        """Class token, mean and largest patch token, and the trunk's pooled features, centred."""
        assert state is not None
        parts = [*super().known(hidden, state), state]
        centres = self.centre.split(self.evidence_parts)
        return [part - centre for part, centre in zip(parts, centres, strict=True)]

    def unfamiliar(self, evidence: Tensor) -> Tensor:
        """Which images look like no picture of pretraining, ``(n,)``, by their evidence."""
        pooled = normalize(evidence[:, -POOLED:], dim=-1)
        return (pooled @ self.seen.T).amax(dim=1) < self.least


def joined_maps(fine: Tensor, coarse: Tensor) -> Tensor:
    """The finer map ``(n, 40, 2 h, 2 w)`` and the coarser ``(n, 112, h, w)``, doubled, as one."""
    return torch.cat([fine, interpolate(coarse, fine.shape[-2:], mode="nearest")], dim=1)


def empty_towers(config: CLIPConfiguration) -> tuple[TrunkTransformer, TextTransformer]:
    """Both towers without memory for their weights."""
    with torch.device("meta"):
        image = TrunkTransformer(config.image, config.image_size // config.patch)
        text = TextTransformer(config.text, config.vocabulary, config.context, config.end_token)
    return image, text


def load_lite(name: str, image_size: int | None = None, **overrides: Any) -> CLIPBackbone:
    """Load the embedded backbone, or one that ``python -m pretraining`` made, in float32.

    Args:
        name: the local folder.
        image_size: side of the input in pixels, a multiple of 48; its own when not given.
        **overrides: activation, mean and std, as :class:`~sdmad.backbones.known.Overrides`.

    Raises:
        ModelError: if files are missing or unreadable, do not fit together, or contradict what is
            stated here.
    """
    folder, stated = Path(name), Overrides(**overrides)
    check_files(folder)
    config = read_configuration(folder)
    try:
        runs = settle_activation((config.image.activation, config.text.activation), None, stated)
        size = _size(input_size(config.patch, config.image_size, image_size))
        openai = (OPENAI_MEAN, OPENAI_STD)
        preprocessing = read_preprocessing(folder, size, openai, None, stated)
        image, text = empty_towers(config)
        tensors = _read(folder, image, text)
    except ModelError as error:
        raise ModelError(f"{folder}: {error}") from error
    backbone = CLIPBackbone(folder, image, text, config)
    backbone.preprocessing, backbone.weights_hash = preprocessing, hash_tensors(tensors)
    backbone.activation = joined(runs)
    return backbone


def _size(size: int) -> int:
    if size % MULTIPLE:
        raise ModelError(f"the input must be a multiple of {MULTIPLE} px, got {size}")
    return size


def _read(folder: Path, image: TrunkTransformer, text: TextTransformer) -> dict[str, Tensor]:
    """Fill both towers; all tensors by their names in the files."""
    tensors: dict[str, Tensor] = {}
    for file, prefix in ((TRUNK, "image.trunk."), (TOWERS, "")):
        with bounded(f"{file} is no readable safetensors file", ModelError):
            stored = load_file(folder / file)
        tensors |= {prefix + key: value.float() for key, value in stored.items()}
    towers = nn.ModuleDict({"image": image, "text": text})
    wanted = {key: tuple(value.shape) for key, value in towers.state_dict().items()}
    shapes = {key: tuple(value.shape) for key, value in tensors.items()}
    complain_of_misfits(wanted, shapes, [])
    broken = [key for key in wanted if not tensors[key].isfinite().all()]
    if broken:
        raise ModelError(f"the weights hold NaN or infinite values, first in {broken[0]}")
    towers.load_state_dict({key: tensors[key] for key in wanted}, assign=True)
    for kernels in (value for value in image.trunk.parameters() if value.ndim == 4):
        kernels.data = kernels.data.contiguous(memory_format=torch.channels_last)  # as the maps lie
    return tensors
