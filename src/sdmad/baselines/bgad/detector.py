"""BGAD: normalising flows on a frozen network's features, with a boundary drawn by few anomalies.

Yao et al., Explicit Boundary Guided Semi-Push-Pull Contrastive Learning for Supervised Anomaly
Detection, CVPR 2023; the flows' form is from Gudovskiy et al., CFLOW-AD, WACV 2022. A feature's
position goes into its flow as a condition; what is improbable there is abnormal.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import interpolate, logsigmoid, relu

from sdmad.baselines.components.anomaly import AnomalyDetector, OnePerCategory
from sdmad.baselines.components.minimise import take_step
from sdmad.baselines.components.once import Once
from sdmad.baselines.components.patch_maps import support_masks
from sdmad.baselines.components.pseudo import Brightness, paste_anomaly
from sdmad.baselines.components.trunk import load_trunk, preprocessing_of, require, require_timm
from sdmad.baselines.registry import Build, Recipe
from sdmad.choices import EMBEDDED
from sdmad.data.preprocessing import Preprocessing
from sdmad.detector.base import Mask

CHUNK = 32768  # positions that a flow takes at once where nothing is learnt
TRUNK_BATCH = 8

Features = list[Tensor]


@dataclass(frozen=True)
class BGADSettings:
    """The published hyper-parameters.

    Attributes:
        trunk: the frozen network: timm's name, or ``"lite"``, the embedded backbone's.
        weights: ``"pretrained"``, ``"random"`` or a safetensors file.
        levels: which of its feature maps, from 0: strides 4, 8 and 16.
        size: side of the input in pixels.
        blocks: coupling blocks of a flow.
        clamp: largest logarithm of a block's scaling.
        condition: length of a position's code, a multiple of 4.
        widening: width inside a block's subnet, in units of what comes in.
        positions: features a step.
        quantile: beta: which quantile of the normal log-likelihoods is the normal boundary.
        gap: tau: how far below it the abnormal boundary lies.
        scale: log-likelihoods are divided by it before they are compared with the boundaries.
        weight: lambda, of the boundary loss.
        repeats: how often an anomaly is shown: once as it is, else pasted into a normal image.
        jitter: of a pasted anomaly's brightness, contrast and saturation.
        learning_rate: of Adam.
        warmup: epochs of rising learning rate, before half a cosine to 0.
        epochs: of ``passes`` passes over the images; the first learns from normal ones only.
        passes: see ``epochs``.
        batch_size: images whose positions are shuffled together.
    """

    trunk: str = "tf_efficientnet_b6.aa_in1k"
    weights: str | Path = "pretrained"
    levels: tuple[int, ...] = (1, 2, 3)
    size: int = 256
    blocks: int = 8
    clamp: float = 1.9
    condition: int = 128
    widening: int = 2
    positions: int = 4096
    quantile: float = 0.05
    gap: float = 0.1
    scale: float = 10.0
    weight: float = 1.0
    repeats: int = 10
    jitter: float = 0.2
    learning_rate: float = 2e-4
    warmup: int = 2
    epochs: int = 25
    passes: int = 8
    batch_size: int = 32

    def rate(self, epoch: int) -> float:
        """Learning rate of an epoch, counted from 0.

        >>> [round(BGADSettings(epochs=6).rate(epoch), 6) for epoch in range(6)]
        [0.0001, 0.0002, 0.0002, 0.000171, 0.0001, 2.9e-05]
        """
        if epoch < self.warmup:
            return self.learning_rate * (epoch + 1) / self.warmup
        share = (epoch - self.warmup) / max(1, self.epochs - self.warmup)
        return self.learning_rate * (1 + math.cos(math.pi * share)) / 2


IMAGENET = BGADSettings(trunk=EMBEDDED)
"""The published ones on the network under the embedded backbone."""


def position_code(length: int, height: int, width: int) -> Tensor:
    """Sines and cosines of a place's column and row, ``(height * width, length)``.

    The first half is the column's, the second the row's: sine and cosine by turns, at frequencies
    that fall from 1 to nearly 1 in 10,000.

    >>> [round(v, 4) for v in position_code(4, 2, 2)[3].tolist()]
    [0.8415, 0.5403, 0.8415, 0.5403]

    Args:
        length: a multiple of 4.
        height: rows.
        width: columns.
    """
    half = length // 2
    frequency = torch.exp(torch.arange(0, half, 2) * (-math.log(10_000) / half))

    def code(count: int) -> Tensor:
        angle = torch.arange(count)[:, None] * frequency
        return torch.stack([angle.sin(), angle.cos()], dim=2).flatten(1)

    columns = code(width).repeat(height, 1)
    return torch.cat([columns, code(height).repeat_interleave(width, dim=0)], dim=1)


class Flow(nn.Module):
    """A conditional normalising flow of FrEIA's affine coupling blocks.

    Args:
        channels: of a feature.
        settings: hyper-parameters.
    """

    def __init__(self, channels: int, settings: BGADSettings) -> None:
        super().__init__()
        modules, framework = (
            require(f"FrEIA.{part}", "BGAD", "bgad") for part in ("modules", "framework")
        )

        def subnet(width: int, out: int) -> nn.Module:
            inside = settings.widening * width
            return nn.Sequential(nn.Linear(width, inside), nn.ReLU(), nn.Linear(inside, out))

        self.channels = channels
        self.chain: Any = framework.SequenceINN(channels)
        for _ in range(settings.blocks):
            self.chain.append(
                modules.AllInOneBlock,
                cond=0,
                cond_shape=(settings.condition,),
                subnet_constructor=subnet,
                affine_clamping=settings.clamp,
            )
        for block in self.chain.module_list:  # a rotation that torch's seed decides
            rotation = torch.linalg.qr(torch.randn(channels, channels)).Q
            block.w_perm.data.copy_(rotation)
            block.w_perm_inv.data.copy_(rotation.T)

    def forward(self, features: Tensor, condition: Tensor) -> Tensor:
        """Log-likelihood a channel, ``(m,)``, of features ``(m, C)`` under ``(m, P)``."""
        latent, volume = self.chain(features, c=[condition])
        return log_likelihood(latent, volume)


def log_likelihood(latent: Tensor, volume: Tensor) -> Tensor:
    """Log-density of a standard normal latent by change of variables, a channel.

    Args:
        latent: ``(m, C)``.
        volume: logarithm of the determinant of the map's Jacobian, ``(m,)``.
    """
    channels = latent.shape[1]
    density = -0.5 * (latent.square().sum(dim=1) + channels * math.log(2 * math.pi))
    return (density + volume) / channels


def boundary_loss(likelihood: Tensor, abnormal: Tensor, settings: BGADSettings) -> Tensor:
    """Pull normal features above the normal boundary, push abnormal ones below the abnormal one.

    Each side is the mean over the features on the wrong side, 0 where there is none.

    Args:
        likelihood: log-likelihoods a channel, ``(m,)``.
        abnormal: boolean ``(m,)``.
        settings: quantile, gap and scale.
    """
    scaled = likelihood / settings.scale
    normal, anomalies = scaled[~abnormal], scaled[abnormal]
    if len(normal) == 0:
        return scaled.sum() * 0
    ordered = normal.detach().sort().values
    boundary = ordered[min(int(settings.quantile * len(ordered)), len(ordered) - 1)]
    low, high = relu(boundary - normal), relu(anomalies - (boundary - settings.gap))
    return sum(
        (part.sum() / part.count_nonzero().clamp(min=1) for part in (low, high)), low[:0].sum()
    )


class BGAD(AnomalyDetector):
    """Normal features are probable, those of the support set's anomalies improbable.

    Abnormal support images without a mask are left out, with a warning.

    Args:
        features: of the frozen network, one map a level, of pixels ``(n, 3, H, W)``.
        channels: of the maps.
        preprocessing: of its images.
        settings: hyper-parameters.
        seed: of weights and draws.

    Attributes:
        flows_: one a level, as after the last epoch.
        peaks_: the largest log-likelihood of a normal support image in each level.
        log_: mean loss of each epoch.
    """

    has_maps = True
    needs_normal = True

    def __init__(
        self,
        features: Callable[[Tensor], Features],
        channels: Sequence[int],
        preprocessing: Preprocessing,
        settings: BGADSettings,
        seed: int,
    ) -> None:
        self.features, self.channels = features, tuple(channels)
        self.settings, self.seed = settings, seed
        self.preprocessing = preprocessing
        self._brightness = Brightness(preprocessing.mean, preprocessing.std)
        self.flows_: list[Flow] = []
        self.peaks_: list[Tensor] = []
        self.log_: list[float] = []

    @property
    def learnt(self) -> tuple[Tensor, ...]:
        """The flows' weights; their permutations are drawn, not learnt."""
        return tuple(w for flow in self.flows_ for w in flow.parameters() if w.requires_grad)

    def _fit(self, pixels: Tensor, abnormal: Tensor, masks: Sequence[Mask | None]) -> None:
        """Train the flows on the images of which it is known where they are abnormal."""
        where, known = support_masks(masks, abnormal, pixels.shape[-1])
        if not known.all():
            warnings.warn(
                f"BGAD leaves out {int((~known).sum())} of {int(abnormal.sum())} abnormal images, "
                "of which no mask says where they are abnormal",
                stacklevel=3,
            )
        draws = Generator().manual_seed(self.seed)
        images, where = self._with_pasted(pixels[known], where[known].bool(), draws)
        maps = self._read(images)
        self.flows_ = [flow.to(pixels.device) for flow in self._build()]
        self.log_ = self._train(maps, where, draws)
        normal = ~where.flatten(1).any(dim=1)
        found = self._likelihoods([m[normal] for m in maps])
        self.peaks_ = [likelihood.max() for likelihood in found]
        self.natural_threshold = float(self._map(found, pixels.shape[-1]).max())

    def _with_pasted(
        self, pixels: Tensor, where: Tensor, draws: Generator
    ) -> tuple[Tensor, Tensor]:
        """The images with a known mask, and anomalies pasted into normal ones; their masks."""
        values = self._brightness.of(pixels)
        marked = where.flatten(1).any(dim=1)
        normal, images, masks = (~marked).nonzero()[:, 0], [values], [where]
        for row in marked.nonzero()[:, 0].tolist() if len(normal) else []:
            for _ in range(self.settings.repeats - 1):
                on = normal[torch.randint(len(normal), (1,), generator=draws)][0]
                image, mask = paste_anomaly(
                    values[on], values[row], where[row], self.settings.jitter, draws
                )
                images.append(image[None])
                masks.append(mask[None])
        return self._brightness.standardise(torch.cat(images)), torch.cat(masks)

    def _read(self, pixels: Tensor) -> Features:
        parts = [self.features(part) for part in pixels.split(TRUNK_BATCH)]
        return [torch.cat(level) for level in zip(*parts, strict=True)]

    def _build(self) -> list[Flow]:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            return [Flow(c, self.settings) for c in self.channels]

    def _train(self, maps: Features, where: Tensor, draws: Generator) -> list[float]:
        settings, log = self.settings, []
        learnt = [weight for flow in self.flows_ for weight in flow.parameters()]
        optimiser = torch.optim.Adam(
            [w for w in learnt if w.requires_grad], lr=settings.learning_rate
        )
        levels = [
            interpolate(where[:, None].float(), m.shape[-2:], mode="nearest")[:, 0].bool()
            for m in maps
        ]
        marked = where.flatten(1).any(dim=1)
        for epoch in range(settings.epochs):
            rows = (~marked).nonzero()[:, 0] if epoch == 0 else torch.arange(len(where))
            optimiser.param_groups[0]["lr"] = settings.rate(epoch)
            losses = []
            for _ in range(settings.passes):
                order = rows[torch.randperm(len(rows), generator=draws)]
                for some in order.split(settings.batch_size):
                    for flow, level, mask in zip(self.flows_, maps, levels, strict=True):
                        losses += self._step(flow, level[some], mask[some], optimiser, draws)
            log.append(sum(losses) / len(losses))
        return log

    def _step(
        self, flow: nn.Module, level: Tensor, mask: Tensor, optimiser: Any, draws: Generator
    ) -> list[float]:
        """Learn from all positions of some images, shuffled, some thousands a step."""
        features, code = self._positions(level)
        abnormal, losses = mask.flatten(), []
        for some in torch.randperm(len(features), generator=draws).split(self.settings.positions):
            likelihood = flow(features[some], code[some % len(code)])
            marked = abnormal[some]
            loss = -logsigmoid(likelihood[~marked]).sum() / max(1, int((~marked).sum()))
            if marked.any():
                loss = loss + self.settings.weight * boundary_loss(
                    likelihood, marked, self.settings
                )
            losses.append(take_step(optimiser, loss))
        return losses

    def _positions(self, level: Tensor) -> tuple[Tensor, Tensor]:
        """Features ``(n h w, C)`` of a map ``(n, C, h, w)``, and the code of one image's places."""
        code = position_code(self.settings.condition, *level.shape[-2:]).to(level.device)
        return level.permute(0, 2, 3, 1).reshape(-1, level.shape[1]), code

    @torch.no_grad()
    def _likelihoods(self, maps: Features) -> Features:
        """Log-likelihood a channel of each place, ``(n, h, w)`` a level."""
        found = []
        for flow, level in zip(self.flows_, maps, strict=True):
            features, code = self._positions(level)
            parts = [
                flow(features[some], code[some % len(code)])
                for some in torch.arange(len(features)).split(CHUNK)
            ]
            found.append(torch.cat(parts).view(len(level), *level.shape[-2:]))
        return found

    def _map(self, likelihoods: Features, size: int) -> Tensor:
        """The number of levels minus the sum of their normality, ``(n, size, size)``."""
        total = torch.full((), float(len(likelihoods)))
        for level, peak in zip(likelihoods, self.peaks_, strict=True):
            normality = (level - peak).exp().clamp(max=1)
            wide = interpolate(
                normality[:, None], (size, size), mode="bilinear", align_corners=True
            )
            total = total.to(wide.device) - wide[:, 0]
        return total

    def map_pixels(self, pixels: Tensor) -> Tensor:
        """Where images ``(n, 3, H, W)`` are abnormal: ``(n, H, W)``, from 0 to the levels' number.

        A place is 0 where it is in every level as probable as the most probable place of the normal
        support images.
        """
        return self._map(self._likelihoods(self.features(pixels)), pixels.shape[-1])

    def score_pixels(self, pixels: Tensor) -> Tensor:
        """Abnormality ``(n,)``: the largest value of each map."""
        return self.map_pixels(pixels).flatten(1).amax(dim=1)


def build_bgad(build: Build, settings: BGADSettings | None = None) -> OnePerCategory:
    """One BGAD a category; all share the frozen network, the backbone is not used.

    Args:
        build: what it is built from.
        settings: hyper-parameters; as published when not given.

    Raises:
        ModelError: if FrEIA is not installed, or timm where the network is timm's, or the
            network's weights cannot be had or used.
    """
    settings = settings or BGADSettings()
    require_timm(settings.trunk, "BGAD", "bgad")
    require("FrEIA", "BGAD", "bgad")
    trunk = load_trunk(settings.trunk, settings.weights, settings.levels, build.seed)
    trunk.to(build.backbone.device)
    preprocessing = preprocessing_of(trunk, build.backbone.preprocessing, settings.size)
    features = Once(torch.no_grad()(trunk))

    return OnePerCategory(
        build.bank.names,
        build.backbone,
        lambda _: BGAD(features, trunk.channels, preprocessing, settings, build.seed),
    )


RECIPES = {
    "bgad": Recipe(build_bgad, BGADSettings()),
    "bgad-imagenet": Recipe(build_bgad, IMAGENET),
}
