"""SD-MAD + MVFA: the inter-anomaly loss added to MVFA's losses (SD-MAD, appendix 4, Table 5)."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sdmad.backbones import Backbone
from sdmad.baselines.mvfa.detector import MVFA, SEARCHED, MVFASettings
from sdmad.baselines.registry import Build, Recipe
from sdmad.detector.base import Detector, TrainingSet
from sdmad.detector.config import SDMADConfig
from sdmad.detector.features import ImageFeatures
from sdmad.detector.head import SignHead, TextFeatures
from sdmad.detector.scores import ImageScores
from sdmad.errors import InputError
from sdmad.method.losses import inter_anomaly_loss
from sdmad.signs import SignBank


class SDMADMVFA(Detector):
    """One MVFA for any anomaly, whose adapters also learn Eq. 5 on the final image embedding.

    Whether an image is abnormal, and where, are MVFA's. A category's score and decision are Eq. 7
    and 8 on that embedding, with the signs as the frozen text tower reads them.

    Args:
        bank: the signs; its categories are the columns of the labels.
        backbone: the frozen model.
        settings: MVFA's hyper-parameters.
        config: of SD-MAD: margin, weight of Eq. 3, selection, pooling, decision.
        seed: of the adapters' initial weights and the order of the images.

    Attributes:
        mvfa: the detector of any anomaly.
    """

    has_maps = True
    set_by_fit = "mvfa.tower_"

    def __init__(
        self,
        bank: SignBank,
        backbone: Backbone,
        settings: MVFASettings | None = None,
        config: SDMADConfig | None = None,
        seed: int = 0,
    ) -> None:
        self.bank, self.backbone, self.categories = bank, backbone, bank.names
        self.config = config or SDMADConfig.paper()
        self.mvfa = MVFA(bank.modality, backbone, settings, seed)
        text = TextFeatures.encode(bank, self.mvfa.backbone)
        self.head = SignHead.build(text, bank, self.config.signs_alone())

    @property
    def trained_parameters(self) -> int:
        """Numbers of MVFA's adapters."""
        return sum(tensor.numel() for tensor in self.mvfa.learnt)

    @property
    def losses(self) -> tuple[float, ...]:
        """Mean loss of each epoch, Eq. 5 included."""
        return self.mvfa.losses

    @property
    def kept_signs(self) -> NDArray[np.bool_]:
        """Signs that selection kept, ``(S,)``."""
        return self.head.kept_signs

    def _fit(self, training: TrainingSet) -> None:
        """Train the adapters; images of which nobody knows whether they are normal are left out."""
        images, device = training.images, self.backbone.device
        truth = torch.tensor(training.labels, dtype=torch.float32, device=device)
        abnormal, normal = (truth == 1).any(dim=1), torch.tensor(training.normal, device=device)
        rows = (abnormal | normal).nonzero()[:, 0].tolist()
        if not rows:
            raise InputError("of no image it is known whether it is normal")
        pixels = self.backbone.preprocessing([images[i] for i in rows]).to(device)
        known, healthy, head, config = truth[rows], normal[rows], self.head, self.config

        def added(embeddings: Tensor, sources: Tensor) -> Tensor:
            return inter_anomaly_loss(
                embeddings,
                head.signs,
                head.category,
                head.anchor,
                known[sources],
                config.margin,
                config.image_text_weight,
                healthy[sources],
            )

        self.mvfa.train(pixels, abnormal[rows], [training.masks[i] for i in rows], added)

    @torch.no_grad()
    def score_pixels(self, pixels: Tensor) -> ImageScores:
        """Score preprocessed images, pixel values ``(n, 3, H, W)``."""
        self.check_fitted()
        parts = self.mvfa.parts(pixels)
        abnormality = self.mvfa.scores(parts).cpu().double().numpy()
        return dataclasses.replace(
            self.head(ImageFeatures(parts.embedding)), abnormality=abnormality
        )

    def map_pixels(self, pixels: Tensor) -> Tensor:
        """Where preprocessed images ``(n, 3, H, W)`` are abnormal: ``(n, h, w)``."""
        self.check_fitted()
        return self.mvfa.map_pixels(pixels)


def _make(build: Build, settings: MVFASettings) -> SDMADMVFA:
    return SDMADMVFA(build.bank, build.backbone, settings, seed=build.seed)


RECIPES = {"sd-mad-mvfa": Recipe(_make, MVFASettings(), SEARCHED)}
