"""EfficientNet-Lite0 without its head: what a network that has seen the world makes of an image.

Tan and Le, EfficientNet, ICML 2019; Google's Lite variants (2020) leave out squeeze-and-excitation
and run ReLU6. Batch normalisation is folded into the convolutions, and so is TensorFlow's uneven
padding of even maps: the kernels of stride 2 have a row and a column of zeros in front, behind
which PyTorch's even padding does the same. ``python -m pretraining.trunk`` makes the weights.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, relu6

STEM = 32


@dataclass(frozen=True)
class Stage:
    """Blocks of one width.

    Attributes:
        blocks: how many; all but the first have a shortcut.
        kernel: side of the depthwise convolution's kernel, before padding is folded in.
        stride: of the first block.
        expansion: hidden channels for each of the input's.
        channels: of the output.
    """

    blocks: int
    kernel: int
    stride: int
    expansion: int
    channels: int


STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)
FINE, COARSE = 2, 4  # stages whose maps are tokens: strides 8 and 16


@dataclass(frozen=True)
class TrunkMaps:
    """What the trunk makes of n squares.

    Attributes:
        fine: stride 8, ``(n, 40, H / 8, W / 8)``.
        coarse: stride 16, ``(n, 112, H / 16, W / 16)``.
        last: stride 32, ``(n, 320, H / 32, W / 32)``, rounded up.
    """

    fine: Tensor
    coarse: Tensor
    last: Tensor


class FoldedConv(nn.Module):
    """A convolution with its normalisation, its padding and perhaps ReLU6 folded in.

    Args:
        inputs: channels of the input.
        outputs: channels of the output.
        kernel: side of the kernel, before padding is folded in.
        stride: 1 or 2.
        groups: 1, or as many as channels for a depthwise one.
        clipped: whether ReLU6 follows.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int, groups: int, clipped: bool
    ) -> None:
        super().__init__()
        side = kernel + (stride == 2)
        self.weight = nn.Parameter(torch.empty(outputs, inputs // groups, side, side))
        self.bias = nn.Parameter(torch.empty(outputs))
        self.stride, self.padding, self.groups, self.clipped = stride, kernel // 2, groups, clipped

    def forward(self, values: Tensor) -> Tensor:
        """Feature maps ``(n, C, h, w)`` to feature maps."""
        odd = self.stride == 2 and values.shape[-1] % 2
        weight = self.weight[:, :, 1:, 1:] if odd else self.weight  # padding is even there
        found = conv2d(values, weight, self.bias, self.stride, self.padding, groups=self.groups)
        return relu6(found, inplace=True) if self.clipped else found


class InvertedBottleneck(nn.Module):
    """Expand, convolve each channel by itself, project.

    Args:
        inputs: channels of the input.
        stage: kernel, expansion and channels of the output.
        stride: of the depthwise convolution.
        shortcut: whether the input is added.
    """

    def __init__(self, inputs: int, stage: Stage, stride: int, shortcut: bool) -> None:
        super().__init__()
        hidden = inputs * stage.expansion
        layers = [] if stage.expansion == 1 else [FoldedConv(inputs, hidden, 1, 1, 1, True)]
        layers.append(FoldedConv(hidden, hidden, stage.kernel, stride, hidden, True))
        layers.append(FoldedConv(hidden, stage.channels, 1, 1, 1, False))
        self.layers = nn.Sequential(*layers)
        self.shortcut = shortcut

    def forward(self, values: Tensor) -> Tensor:
        """Feature maps ``(n, C, h, w)`` to feature maps."""
        found: Tensor = self.layers(values)
        return values + found if self.shortcut else found


class EfficientNetLite0(nn.Module):
    """The trunk; takes pixel values ``(n, 3, H, W)``, ``(brightness - 127) / 128``."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = FoldedConv(3, STEM, 3, 2, 1, True)
        self.stages = nn.ModuleList()
        width = STEM
        for stage in STAGES:
            blocks = [InvertedBottleneck(width, stage, stage.stride, False)]
            blocks += [
                InvertedBottleneck(stage.channels, stage, 1, True) for _ in range(stage.blocks - 1)
            ]
            self.stages.append(nn.Sequential(*blocks))
            width = stage.channels

    def forward(self, pixels: Tensor) -> TrunkMaps:
        """Feature maps at three strides of squares, whose last one is rounded up."""
        maps = self.stage_maps(pixels)
        return TrunkMaps(maps[FINE], maps[COARSE], maps[-1])

    def stage_maps(self, pixels: Tensor) -> list[Tensor]:
        """What each stage makes of squares, ``(n, C, h, w)``."""
        values = self.stem(pixels.contiguous(memory_format=torch.channels_last))
        maps = []
        for stage in self.stages:
            values = stage(values)
            maps.append(values)
        return maps
