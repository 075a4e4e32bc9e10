"""Image evidence beside the signs': a linear probe on what the image tower knows of the support."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

MAX_ITERATIONS = 1000
LEAST = 1e-12  # variance of a part in which all images are alike


@dataclass(frozen=True)
class LinearProbe:
    """One logistic regression a category on unit-length image features.

    Attributes:
        weights: shape ``(K, D)``.
        bias: shape ``(K,)``; a category that could not be learnt is constant.
        learnt: categories with a positive and a negative image, boolean ``(K,)``.
    """

    weights: Tensor
    bias: Tensor
    learnt: Tensor

    @classmethod
    def fit(
        cls,
        features: Tensor,
        labels: NDArray[np.float64],
        regularisation: float = 1.0,
        parts: Sequence[int] = (),
    ) -> Self:
        """Fit on the support set; images with an unknown label are left out of that category.

        Args:
            features: unit-length image features, shape ``(n, D)``.
            labels: 1, 0 or NaN, shape ``(n, K)``.
            regularisation: strength of the L2 penalty (1 / C of scikit-learn), on features
                scaled to unit variance on average.
            parts: sizes of the parts that the features are made of, D in all; each gets the same
                share of the variance over the images whose label is known. One part when not given.
        """
        from sklearn.linear_model import LogisticRegression

        values = features.double().cpu().numpy()
        sizes = tuple(parts) or (values.shape[1],)
        categories = labels.shape[1]
        weights = np.zeros((categories, values.shape[1]))
        bias = np.zeros(categories)
        learnt = np.zeros(categories, bool)
        for k in range(categories):
            known = ~np.isnan(labels[:, k])
            truth = labels[known, k] == 1
            if truth.all() or not truth.any():
                bias[k] = -1.0
                continue
            model = LogisticRegression(C=1 / regularisation, max_iter=MAX_ITERATIONS)
            centre, scale = _standard(values[known], sizes)
            model.fit((values[known] - centre) * scale, truth)
            weights[k], learnt[k] = model.coef_[0] * scale, True
            bias[k] = model.intercept_[0] - weights[k] @ centre
        return cls(
            torch.from_numpy(weights).to(features),
            torch.from_numpy(bias).to(features),
            torch.from_numpy(learnt).to(features.device),
        )

    def __call__(self, features: Tensor) -> Tensor:
        """Log odds ``(n, K)`` of unit-length features ``(n, D)``."""
        return features @ self.weights.T + self.bias


def _standard(
    values: NDArray[np.float64], parts: Sequence[int]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Centre ``(D,)`` and scale ``(D,)`` that bring each part to the same variance in all.

    Images of a new kind lie far from what a tower was centred on, some parts farther than others:
    what differs among them is told by their own centre.
    """
    centre = values.mean(axis=0)
    variance = values.var(axis=0)
    total = [part.sum() for part in np.split(variance, np.cumsum(parts)[:-1])]
    share = values.shape[1] / len(parts)
    scale = [np.full(n, np.sqrt(share / max(t, LEAST))) for n, t in zip(parts, total, strict=True)]
    return centre, np.concatenate(scale)
