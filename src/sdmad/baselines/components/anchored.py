"""What systems on frozen image embeddings share: the support set's embeddings, and one decision.

CoOp, Tip-Adapter and their successors choose one class out of many. Here an image may show several
categories or none, so that each category is decided by itself, against the normal class: the
softmax over these two, which is the sigmoid of the difference of their logits.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import final

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, normalize

from sdmad.backbones import Backbone
from sdmad.detector.base import Detector, TrainingSet
from sdmad.detector.scores import ImageScores
from sdmad.method.scoring import normal_anchor
from sdmad.signs import SignBank

ENCODE_BATCH = 32


def encode_support(backbone: Backbone, training: TrainingSet) -> tuple[Tensor, Tensor, Tensor]:
    """Embed the support set in the frozen image tower.

    Args:
        backbone: the frozen model.
        training: n images with their labels.

    Returns:
        Unit-length embeddings ``(n, D)``, unit-length evidence ``(n, E)`` and labels ``(n, K)``,
        all float32 on the backbone's device.

    Raises:
        ImageError: if an image cannot be read.
    """
    truth = torch.from_numpy(training.labels.astype(np.float32))  # a copy: it may be a view
    parts = [
        backbone.encode_with_evidence(backbone.preprocessing(training.images[i : i + ENCODE_BATCH]))
        for i in range(0, len(training.images), ENCODE_BATCH)
    ]
    features, evidence = (torch.cat(part) for part in zip(*parts, strict=True))
    return features, evidence, truth.to(backbone.device)


def class_texts(bank: SignBank, backbone: Backbone) -> Tensor:
    """Unit-length mean of each category's signs and, last, of the normal sentences.

    Args:
        bank: the sentences.
        backbone: whose text tower to use.

    Returns:
        Shape ``(K + 1, D)``.
    """
    features = backbone.encode_text([*bank.sentences, *bank.normal])
    signs, normal = features[: len(bank.sentences)], features[len(bank.sentences) :]
    category = torch.tensor(bank.category_index, device=features.device)
    means = [signs[category == k].mean(dim=0) for k in range(len(bank.names))]
    return torch.cat([normalize(torch.stack(means), dim=-1), normal_anchor(normal)[None]])


def anchored_logits(features: Tensor, text: Tensor, scale: float) -> Tensor:
    """Logit of each category minus that of the normal class.

    >>> image = torch.tensor([[1.0, 0.0]])
    >>> text = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]])  # the last one is normal
    >>> anchored_logits(image, text, 10.0).tolist()
    [[5.0, -5.0]]

    Args:
        features: unit-length image embeddings, ``(n, D)``.
        text: embeddings, or learned vectors, of the categories and, last, of the normal class,
            ``(K + 1, D)``.
        scale: what a cosine is multiplied with, the inverse of the temperature.

    Returns:
        Shape ``(n, K)``; positive where the category is the likelier of the two.
    """
    logits = scale * features @ text.T
    return logits[:, :-1] - logits[:, -1:]


def known_label_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Binary cross-entropy, mean over the labels that are known.

    Args:
        logits: shape ``(n, K)``.
        labels: 1, 0 or NaN, shape ``(n, K)``.

    Returns:
        A scalar; 0 where no label is known.
    """
    known = ~labels.isnan()
    if not known.any():
        return logits.sum() * 0
    return binary_cross_entropy_with_logits(logits[known], labels[known])


def logit_scores(logits: Tensor, anchor: Tensor) -> ImageScores:
    """Scores that are logits: a category is found above 0, the largest is the abnormality.

    Args:
        logits: shape ``(n, K)``.
        anchor: cosine of each image with the normal class, ``(n,)``.
    """
    return ImageScores.of(logits, logits > 0, logits.amax(dim=1), anchor_similarity=anchor)


class AnchoredDetector(Detector):
    """A detector whose scores are logits of each category against the normal class.

    Args:
        bank: its signs, averaged, are a category's text; its normal sentences the normal class's.
        backbone: the frozen model.

    Attributes:
        text: what :func:`class_texts` makes of the bank, ``(K + 1, D)``.
    """

    def __init__(self, bank: SignBank, backbone: Backbone) -> None:
        self.categories, self.backbone = bank.names, backbone
        self.text = class_texts(bank, backbone)

    @abstractmethod
    def logits(self, features: Tensor, evidence: Tensor) -> Tensor:
        """Logits ``(n, K)`` of unit-length embeddings ``(n, D)`` and evidence ``(n, E)``."""

    @final
    @torch.no_grad()
    def score_pixels(self, pixels: Tensor) -> ImageScores:
        """Score preprocessed images, pixel values ``(n, 3, H, W)``."""
        self.check_fitted()
        features, evidence = self.backbone.encode_with_evidence(pixels)
        return logit_scores(self.logits(features, evidence), features @ self.text[-1])


class VectorDetector(AnchoredDetector):
    """A linear classifier on the embeddings: a vector a class.

    Args:
        bank: its signs, averaged, are a category's text; its normal sentences the normal class's.
        backbone: the frozen model.
        scale: what a product with a vector is multiplied with.

    Attributes:
        weights_: the fitted vectors of the categories and, last, the normal class, ``(K + 1, D)``.
    """

    set_by_fit = "weights_"

    def __init__(self, bank: SignBank, backbone: Backbone, scale: float) -> None:
        super().__init__(bank, backbone)
        self.scale = scale
        self.weights_: Tensor | None = None

    @property
    def trained_parameters(self) -> int:
        """Numbers of the vectors."""
        return 0 if self.weights_ is None else self.weights_.numel()

    def logits(self, features: Tensor, evidence: Tensor) -> Tensor:
        """Logits ``(n, K)`` by the fitted vectors."""
        del evidence
        assert self.weights_ is not None
        return anchored_logits(features, self.weights_, self.scale)
