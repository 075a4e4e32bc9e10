"""DRA: a convolutional network with four heads, for seen, pseudo and yet unseen anomalies.

Ding, Pang and Shen, Catching Both Gray and Black Swans: Open-set Supervised Anomaly Detection, CVPR
2022; the loss is from Pang, Shen and van den Hengel, Deep Anomaly Detection with Deviation
Networks, KDD 2019.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import interpolate, relu

from sdmad.baselines.components.anomaly import AnomalyDetector, OnePerCategory
from sdmad.baselines.components.pseudo import Brightness, cut_and_paste, turn
from sdmad.baselines.components.trunk import (
    FeatureMaps,
    load_trunk,
    preprocessing_of,
    require_timm,
)
from sdmad.baselines.registry import Build, Recipe
from sdmad.choices import EMBEDDED
from sdmad.data.preprocessing import Preprocessing
from sdmad.detector.base import Mask

NORMAL, SEEN, PSEUDO = 0, 1, 2


@dataclass(frozen=True)
class DRASettings:
    """The published hyper-parameters.

    Attributes:
        trunk: the network: torchvision's ResNet-18 by timm's name, or ``"lite"``, the embedded
            backbone's.
        weights: ``"pretrained"``, ``"random"`` or a safetensors file.
        size: side of the input in pixels.
        scales: how often an image is looked at, each time at half the size.
        hidden: width inside the holistic head.
        top: share of the places whose mean is an image's score in the other heads.
        references: normal images that the composite head compares with.
        margin: deviations by which an anomaly should stand out.
        prior: how many draws of a standard normal score the deviations are counted in.
        pseudo: share of the normal images of a batch that become pseudo anomalies.
        area: bounds of the pasted rectangle's share of the image.
        aspect: bounds of its width by its height.
        jitter: of its brightness, contrast and saturation.
        rotation: largest turn of a training image in degrees.
        learning_rate: of Adam.
        weight_decay: of Adam.
        decay: what the learning rate is multiplied by every ``decay_epochs``.
        decay_epochs: see ``decay``.
        clip: largest norm of the gradient.
        epochs: of ``steps`` batches each.
        steps: batches an epoch.
        batch_size: images a batch, beside the references; a third of them anomalies.
    """

    trunk: str = "resnet18.tv_in1k"
    weights: str | Path = "pretrained"
    size: int = 448
    scales: int = 2
    hidden: int = 256
    top: float = 0.1
    references: int = 5
    margin: float = 5.0
    prior: int = 5000
    pseudo: float = 0.5
    area: tuple[float, float] = (0.02, 0.15)
    aspect: tuple[float, float] = (0.3, 3.3)
    jitter: float = 0.1
    rotation: float = 180.0
    learning_rate: float = 2e-4
    weight_decay: float = 1e-5
    decay: float = 0.1
    decay_epochs: int = 10
    clip: float = 1.0
    epochs: int = 30
    steps: int = 20
    batch_size: int = 48


IMAGENET = DRASettings(trunk=EMBEDDED, size=240)
"""The published ones on the network under the embedded backbone, at the size of its images."""


def deviation_loss(scores: Tensor, truth: Tensor, prior: Tensor, margin: float) -> Tensor:
    """Normal scores near the prior's mean, abnormal ones at least ``margin`` deviations above it.

    Args:
        scores: ``(n,)``.
        truth: which of them should stand out, boolean ``(n,)``.
        prior: scores drawn from a standard normal distribution.
        margin: in deviations of the prior.

    Returns:
        The mean over the n, 0 where there is none.
    """
    deviation = (scores - prior.mean()) / prior.std()
    losses = torch.where(truth, relu(margin - deviation), deviation.abs())
    return losses.sum() / max(1, len(losses))


class PlainHead(nn.Module):
    """A score a place, and the mean of the largest.

    Args:
        channels: of the feature map.
        top: share of the places, at least one.
    """

    def __init__(self, channels: int, top: float) -> None:
        super().__init__()
        self.top = top
        self.score = nn.Conv2d(channels, 1, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Scores ``(n,)`` of feature maps ``(n, C, h, w)``."""
        places = self.score(features).flatten(1).abs()
        return places.topk(max(1, int(self.top * places.shape[1])), dim=1).values.mean(dim=1)


class CompositeHead(nn.Module):
    """Scores how feature maps differ from the mean of some normal ones.

    Args:
        channels: of the feature map.
        top: share of the places.
    """

    def __init__(self, channels: int, top: float) -> None:
        super().__init__()
        self.mix = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
        )
        self.plain = PlainHead(channels, top)

    def forward(self, features: Tensor, references: Tensor) -> Tensor:
        """Scores ``(n,)`` of feature maps ``(n, C, h, w)`` beside ``(r, C, h, w)``."""
        scores: Tensor = self.plain(self.mix(references.mean(dim=0) - features))
        return scores


class HolisticHead(nn.Module):
    """One score for the mean of a feature map; large for NORMAL images.

    Args:
        channels: of the feature map.
        hidden: width inside.
    """

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, 1))

    def forward(self, features: Tensor) -> Tensor:
        """Scores ``(n,)`` of feature maps ``(n, C, h, w)``."""
        scores: Tensor = self.layers(features.mean(dim=(2, 3))).abs()[:, 0]
        return scores


class DRANetwork(nn.Module):
    """The trunk and its four heads, all of which are trained.

    Args:
        trunk: gives one feature map.
        settings: hyper-parameters.
    """

    def __init__(self, trunk: FeatureMaps, settings: DRASettings) -> None:
        super().__init__()
        channels = trunk.channels[-1]
        self.trunk, self.scales = trunk, settings.scales
        self.holistic = HolisticHead(channels, settings.hidden)
        self.seen = PlainHead(channels, settings.top)
        self.pseudo = PlainHead(channels, settings.top)
        self.composite = CompositeHead(channels, settings.top)

    def forward(self, pixels: Tensor, references: Tensor) -> Tensor:
        """Scores ``(n, 4)``, means over the scales: holistic, seen, pseudo, composite.

        Args:
            pixels: ``(n, 3, H, W)``.
            references: normal images, ``(r, 3, H, W)``.
        """
        images, scales = torch.cat([references, pixels]), []
        for scale in range(self.scales):
            size = pixels.shape[-1] // 2**scale
            smaller = images if scale == 0 else interpolate(images, (size, size), mode="nearest")
            features = self.trunk(smaller)[-1]
            beside, mine = features[: len(references)], features[len(references) :]
            heads = [self.holistic(mine), self.seen(mine), self.pseudo(mine)]
            scales.append(torch.stack([*heads, self.composite(mine, beside)], dim=1))
        return torch.stack(scales).mean(dim=0)


def network_loss(scores: Tensor, kind: Tensor, prior: Tensor, margin: float) -> Tensor:
    """The sum of the four heads' deviation losses.

    The holistic head, whose target is reversed, and the composite one learn from all images, the
    seen one from all but pseudo anomalies, the pseudo one from all but seen anomalies.

    Args:
        scores: holistic, seen, pseudo, composite, ``(n, 4)``.
        kind: 0 normal, 1 a seen anomaly, 2 a pseudo anomaly, ``(n,)``.
        prior: draws from a standard normal distribution.
        margin: in deviations.
    """
    abnormal, unseen, seen = kind != NORMAL, kind != PSEUDO, kind != SEEN
    return (
        deviation_loss(scores[:, 0], ~abnormal, prior, margin)
        + deviation_loss(scores[unseen, 1], abnormal[unseen], prior, margin)
        + deviation_loss(scores[seen, 2], abnormal[seen], prior, margin)
        + deviation_loss(scores[:, 3], abnormal, prior, margin)
    )


class DRA(AnomalyDetector):
    """Learns from normal images, some anomalies and pseudo anomalies; image level only.

    Without an anomaly it is trained on pseudo anomalies alone.

    Args:
        trunk: pretrained; a copy of it is trained.
        preprocessing: of its images.
        settings: hyper-parameters.
        seed: of weights and draws.

    Attributes:
        network_: as after the last epoch.
        references_: normal images for the composite head.
        log_: mean loss of each epoch.
    """

    needs_normal = True

    def __init__(
        self, trunk: FeatureMaps, preprocessing: Preprocessing, settings: DRASettings, seed: int
    ) -> None:
        self.trunk, self.settings, self.seed = trunk, settings, seed
        self.preprocessing = preprocessing
        self.natural_threshold = settings.margin
        self.network_: DRANetwork | None = None
        self.references_: Tensor | None = None
        self.log_: list[float] = []
        self._signs = torch.tensor([-1.0, 1.0, 1.0, 1.0])
        self._brightness = Brightness(preprocessing.mean, preprocessing.std)

    @property
    def learnt(self) -> tuple[Tensor, ...]:
        """The weights of the network, its trunk's among them."""
        return () if self.network_ is None else tuple(self.network_.parameters())

    def _fit(self, pixels: Tensor, abnormal: Tensor, masks: Sequence[Mask | None]) -> None:
        """Train the network."""
        del masks
        settings, draws = self.settings, Generator().manual_seed(self.seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            network = DRANetwork(copy.deepcopy(self.trunk), settings)
        network.requires_grad_(True).to(pixels.device).train()
        optimiser = torch.optim.Adam(
            network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        schedule = torch.optim.lr_scheduler.StepLR(optimiser, settings.decay_epochs, settings.decay)
        self.log_ = []
        for _ in range(settings.epochs):
            total = 0.0
            for _ in range(settings.steps):
                images, references, kind = self._batch(pixels, abnormal, draws)
                prior = torch.randn(settings.prior, generator=draws).to(pixels.device)
                loss = network_loss(network(images, references), kind, prior, settings.margin)
                optimiser.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(network.parameters(), settings.clip)
                optimiser.step()
                total += float(loss.detach())
            schedule.step()
            self.log_.append(total / settings.steps)
        self.network_ = network.eval()
        self.references_ = pixels[_draw((~abnormal), settings.references, draws)]
        # Without an anomaly the seen head has never been told what one is.
        self._signs[1] = float(abnormal.any())

    def _batch(
        self, pixels: Tensor, abnormal: Tensor, draws: Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Training images, references, and what each of the former is."""
        settings = self.settings
        anomalies = settings.batch_size // 3 if abnormal.any() else 0
        normal = settings.batch_size - anomalies
        rows = torch.cat(
            [
                _draw(~abnormal, settings.references + normal, draws),
                _draw(abnormal, anomalies, draws),
            ]
        )
        kind = torch.zeros(settings.batch_size, dtype=torch.int64)
        kind[:normal] = PSEUDO * (torch.rand(normal, generator=draws) < settings.pseudo).long()
        kind[normal:] = SEEN
        images = self._brightness.of(pixels[rows])
        for row in (kind == PSEUDO).nonzero()[:, 0].tolist():
            images[settings.references + row] = cut_and_paste(
                images[settings.references + row],
                settings.area,
                settings.aspect,
                settings.jitter,
                draws,
            )
        images = self._brightness.standardise(turn(images, settings.rotation, draws))
        first = settings.references
        return images[first:], images[:first], kind.to(pixels.device)

    @torch.no_grad()
    def score_pixels(self, pixels: Tensor) -> Tensor:
        """Abnormality ``(n,)`` of preprocessed images ``(n, 3, H, W)``; larger is more.

        Minus the holistic score, plus the three others.
        """
        assert self.network_ is not None
        assert self.references_ is not None
        return self.network_(pixels, self.references_) @ self._signs.to(pixels.device)


def _draw(among: Tensor, count: int, draws: Generator) -> Tensor:
    """Row numbers of true values, each once before any comes again."""
    rows = among.nonzero()[:, 0]
    rounds = -(-count // max(1, len(rows)))
    orders = [torch.randperm(len(rows), generator=draws) for _ in range(rounds)]
    return torch.cat([rows[:0], *(rows[order] for order in orders)])[:count]


def build_dra(build: Build, settings: DRASettings | None = None) -> OnePerCategory:
    """One DRA a category, each with a trunk of its own; the backbone is not used.

    Args:
        build: what it is built from.
        settings: hyper-parameters; as published when not given.

    Raises:
        ModelError: if the trunk is timm's and timm is not installed, or its weights cannot be had
            or used.
    """
    settings = settings or DRASettings()
    require_timm(settings.trunk, "DRA", "timm")
    trunk = load_trunk(settings.trunk, settings.weights, (-1,), build.seed)
    preprocessing = preprocessing_of(trunk, build.backbone.preprocessing, settings.size)

    return OnePerCategory(
        build.bank.names, build.backbone, lambda _: DRA(trunk, preprocessing, settings, build.seed)
    )


RECIPES = {"dra": Recipe(build_dra, DRASettings()), "dra-imagenet": Recipe(build_dra, IMAGENET)}
