"""The embedded backbone: a CLIP whose image tower reads the maps of a network that saw the world.

EfficientNet-Lite0 (``efficientnet.py``) makes feature maps of an image; those of stride 8 and 16
become the tokens of CLIP's vision transformer, which learnt signs from phantoms. The text tower is
CLIP's. ``lite/MODEL_CARD.md`` says what it was made of and how good it is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.functional import pixel_unshuffle

from sdmad.backbones.clip import CLIPBackbone
from sdmad.backbones.clip_config import CLIPConfiguration, read_configuration
from sdmad.backbones.efficientnet import COARSE, FINE, MULTIPLE, STAGES, EfficientNetLite0
from sdmad.backbones.files import check_files
from sdmad.backbones.known import OPENAI_MEAN, OPENAI_STD, Overrides, joined, settle_activation
from sdmad.backbones.processor import input_size, read_preprocessing
from sdmad.backbones.transformer import ImageTransformer, Shape, TextTransformer
from sdmad.backbones.weights import Reading, complain_of_misfits, hash_tensors
from sdmad.errors import ModelError

TRUNK, TOWERS = "trunk.safetensors", "model.safetensors"
FINE_CHANNELS, COARSE_CHANNELS = STAGES[FINE].channels, STAGES[COARSE].channels
CHANNELS = 4 * FINE_CHANNELS + COARSE_CHANNELS
"""Of a token before it is projected: two by two of the finer map, and one of the coarser."""
POOLED = STAGES[-1].channels
STRIDE = 16


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
    """

    local_values = False

    def __init__(self, shape: Shape, grid: int) -> None:
        super().__init__(shape, STRIDE, grid)
        self.trunk = EfficientNetLite0()
        self.centre = nn.Parameter(torch.empty(3 * shape.width + POOLED))

    def embedding(self, width: int, stride: int) -> nn.Module:
        """What makes a place of the maps a token."""
        del stride
        return nn.Conv2d(CHANNELS, width, 1)

    def patches(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Patch tokens ``(n, W, h, w)`` without positions, and the trunk's pooled features."""
        maps, pooled = self.trunk_features(inputs)
        return self.patch(maps), pooled

    def trunk_features(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Maps ``(n, 272, h, w)`` at stride 16, the finer one folded, and the last map's mean."""
        maps = self.trunk(inputs)
        folded = torch.cat([pixel_unshuffle(maps.fine, 2), maps.coarse], dim=1)
        return folded, maps.last.mean(dim=(2, 3))

    def evidence_parts(self, hidden: Tensor, state: Tensor | None) -> list[Tensor]:
        """Class token, mean and largest patch token, and the trunk's pooled features, centred."""
        assert state is not None
        parts = [*super().evidence_parts(hidden, state), state.float()]
        centres = self.centre.float().split([part.shape[1] for part in parts])
        return [part - centre for part, centre in zip(parts, centres, strict=True)]


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
        image_size: side of the input in pixels, a multiple of 32; its own when not given.
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
        with Reading(f"{file} is no readable safetensors file"):
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
    return tensors
