"""SD-MAD + MVFA: the inter-anomaly loss added to MVFA's losses (SD-MAD, appendix 4, Table 5)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sdmad.backbones import Backbone
from sdmad.baselines.mvfa.detector import MVFA, SEARCHED, MVFASettings
from sdmad.baselines.registry import Build, Recipe
from sdmad.data.images import ImageSource
from sdmad.detector.base import Detector, Mask, check_images, check_labels
from sdmad.detector.config import SDMADConfig
from sdmad.detector.evidence import SignAndImageEvidence
from sdmad.detector.scores import ImageScores
from sdmad.detector.sign_scorer import SignScorer
from sdmad.detector.training import TextFeatures
from sdmad.errors import InputError
from sdmad.method.losses import inter_anomaly_loss
from sdmad.method.scoring import normal_anchor
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
        features = self.mvfa.backbone.encode_text([*bank.sentences, *bank.normal])
        count = len(bank.sentences)
        text = TextFeatures(features[:count], normal_anchor(features[count:]))
        self.scorer = SignScorer.build(text, bank, self.config.selection, self.config.pooling)
        plain = dataclasses.replace(self.config, image_evidence="none")
        self._evidence = SignAndImageEvidence(plain)

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
        kept: NDArray[np.bool_] = self.scorer.keep.cpu().numpy()
        return kept

    def fit(
        self,
        images: Sequence[ImageSource],
        labels: NDArray,
        masks: Sequence[Mask | None] | None = None,
    ) -> Self:
        """Train the adapters; images of which it is not known whether they are normal are left out.

        Args:
            images: n paths, Pillow images or arrays.
            labels: 1, 0 or NaN, shape ``(n, K)``; an all-zero row is a normal image.
            masks: where each image is abnormal, or None where that is not known.

        Raises:
            ImageError: if an image cannot be read.
            InputError: if shapes disagree, there is no normal or no abnormal image, or the loss
                is no longer finite.
        """
        check_images(images)
        if len(images) == 0:
            raise InputError("there is no image to fit on")
        values = check_labels(labels, len(images), len(self.categories))
        device = self.backbone.device
        truth = torch.tensor(values, dtype=torch.float32, device=device)
        abnormal, normal = (truth == 1).any(dim=1), (truth == 0).all(dim=1)
        rows = (abnormal | normal).nonzero()[:, 0].tolist()
        if not rows:
            raise InputError("every label is unknown (NaN); there is nothing to learn from")
        where = [None] * len(images) if masks is None else list(masks)
        pixels = self.backbone.preprocessing([images[i] for i in rows]).to(device)
        known, scorer, config = truth[rows], self.scorer, self.config

        def added(embeddings: Tensor, sources: Tensor) -> Tensor:
            return inter_anomaly_loss(
                embeddings,
                scorer.signs,
                scorer.category,
                scorer.anchor,
                known[sources],
                config.margin,
                config.image_text_weight,
            )

        self.mvfa.train(pixels, abnormal[rows], [where[i] for i in rows], added)
        return self

    def check_fitted(self) -> None:
        """Raise InputError if :meth:`fit` has not run."""
        if self.mvfa.tower_ is None:
            raise InputError("this detector is not fitted yet: call fit")

    @torch.no_grad()
    def score_pixels(self, pixels: Tensor) -> ImageScores:
        """Score preprocessed images, pixel values ``(n, 3, H, W)``."""
        self.check_fitted()
        parts = self.mvfa.parts(pixels)
        similarity = self.scorer.similarity(parts.embedding)
        anchor = self.scorer.anchor_similarity(parts.embedding)
        combined = self._evidence(self.scorer, similarity, anchor, parts.embedding)
        combined = dataclasses.replace(combined, abnormality=self.mvfa.scores(parts))
        return ImageScores.of(combined, combined.margins > 0, similarity, anchor)

    def map_pixels(self, pixels: Tensor) -> Tensor:
        """Where preprocessed images ``(n, 3, H, W)`` are abnormal: ``(n, h, w)``."""
        self.check_fitted()
        return self.mvfa.map_pixels(pixels)


def _make(build: Build, settings: MVFASettings) -> SDMADMVFA:
    return SDMADMVFA(build.bank, build.backbone, settings, seed=build.seed)


RECIPES = {
    "sd-mad-mvfa": Recipe(
        _make,
        MVFASettings(),
        SEARCHED,
        differs="The paper says only that the losses are added: here Eq. 5 on the final image "
        "embedding, weight 1, with the signs as the frozen text tower reads them. Scores and maps "
        "of any anomaly are MVFA's, with what differs there; those of a category are Eq. 7 and 8. "
        "Without masks the loss of Eq. 5 trains the segmentation adapters too, which MVFA leaves.",
    ),
}
