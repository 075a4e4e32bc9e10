"""A cross-modal probe: one logistic regression a category over images and sentences.

Each sign's sentence is a sample of its category beside the support images, as Lin et al. (CVPR
2023) proposed for the names of classes, and the zero-shot score of a category is where its log odds
start from, so that what few images cannot tell is left to the words. For category k it minimises

    sum_i l(y_ik, a z_ik + w x_i + b) + omega n / S sum_j l(t_jk, w x_j + b) + lambda / 2 |w|^2

over n images whose label is known and S sentences; ``l`` is the logistic loss, ``z`` the category's
standardised sign score. The embeddings of images and of sentences are centred each on their own
mean: what parts the two modalities goes. What the image tower knows beyond the shared space is
zero for sentences; each of its parts has the mean length of the images' embeddings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit
from torch import Tensor

from sdmad.detector.probe import LinearProbe

Matrix = NDArray[np.float64]
SAME = 1 - 1e-6
"""Cosine from which two sentences are one."""


@dataclass(frozen=True)
class CrossModalSettings:
    """How images, sentences and the zero-shot score are weighed.

    Attributes:
        text: omega, of all sentences together beside the images.
        prior: a, of the standardised sign score in the log odds;
            :mod:`sdmad.detector.cross_fitting` finds it.
        penalty: lambda, of the squared weights.
    """

    text: float
    prior: float
    penalty: float


def fit_cross_modal(
    features: tuple[Tensor, Tensor | None],
    labels: Matrix,
    texts: tuple[Tensor, Tensor, Tensor],
    start: Matrix,
    settings: CrossModalSettings,
    parts: Sequence[int],
) -> LinearProbe:
    """Fit on the support set and the bank.

    Args:
        features: embeddings ``(n, D)`` of the images, and evidence ``(n, E)`` or None.
        labels: 1, 0 or NaN, shape ``(n, K)``.
        texts: embeddings ``(S, D)`` of the signs, the category of each ``(S,)``, and the normal
            anchor ``(D,)``, a sentence of no category.
        start: standardised sign scores, ``(n, K)``.
        settings: the weights.
        parts: sizes of the parts that the evidence is made of, E in all.

    Returns:
        A probe on ``[embedding | evidence]``, ``(K, D + E)``; the sign score's share of the log
        odds is not in it. A category is learnt where images and weighted sentences have both signs.
    """
    images, sentences, centre, gain = _samples(features, texts, parts)
    claims = _claims(*texts[:2], labels.shape[1])
    if settings.text == 0:
        sentences, claims = sentences[:0], claims[:0]
    basis, (images, sentences) = _within_their_span(images, sentences)
    weights, bias = np.zeros((labels.shape[1], len(gain))), np.zeros(labels.shape[1])
    learnt = np.zeros(labels.shape[1], bool)
    for k in range(labels.shape[1]):
        known = ~np.isnan(labels[:, k])
        truth = np.concatenate([labels[known, k] == 1, claims[:, k]])
        if truth.all() or not truth.any():
            bias[k] = -1.0
            continue
        share = settings.text * max(known.sum(), 1) / max(len(sentences), 1)
        fitted, constant = fit_logistic(
            np.concatenate([images[known], sentences]),
            truth,
            np.concatenate([np.ones(known.sum()), np.full(len(sentences), share)]),
            np.concatenate([settings.prior * start[known, k], np.zeros(len(sentences))]),
            settings.penalty,
        )
        weights[k], learnt[k] = basis @ fitted * gain, True
        bias[k] = constant - weights[k] @ centre
    kind = features[0]
    return LinearProbe(
        torch.from_numpy(weights).to(kind),
        torch.from_numpy(bias).to(kind),
        torch.from_numpy(learnt).to(kind.device),
    )


def _samples(
    features: tuple[Tensor, Tensor | None],
    texts: tuple[Tensor, Tensor, Tensor],
    parts: Sequence[int],
) -> tuple[Matrix, Matrix, Matrix, Matrix]:
    """Images ``(n, D + E)``, sentences ``(S + 1, D + E)``, and the images' centre and gain."""
    embedding, evidence = (None if part is None else _array(part) for part in features)
    assert embedding is not None
    size = embedding.shape[1]
    values = embedding if evidence is None else np.hstack([embedding, evidence])
    centre = values.mean(axis=0)
    centred = values - centre
    gain = np.full(values.shape[1], size**0.5)
    length = _length(centred[:, :size]) * size**0.5
    begin = size
    for part in parts if evidence is not None else ():
        own = _length(centred[:, begin : begin + part])
        gain[begin : begin + part] = length / own if own > 0 else 0.0
        begin += part
    said = np.vstack([_array(texts[0]), _array(texts[2])[None]])
    sentences = np.zeros((len(said), values.shape[1]))
    sentences[:, :size] = size**0.5 * (said - said.mean(axis=0))
    return centred * gain, sentences, centre, gain


def _within_their_span(images: Matrix, sentences: Matrix) -> tuple[Matrix, tuple[Matrix, Matrix]]:
    """An orthonormal basis ``(d, r)`` of what both span, where the weights lie, and both in it."""
    samples = np.concatenate([images, sentences])
    if samples.shape[0] >= samples.shape[1]:
        return np.eye(samples.shape[1]), (images, sentences)
    basis, triangle = np.linalg.qr(samples.T)
    return basis, (triangle.T[: len(images)], triangle.T[len(images) :])


def _claims(signs: Tensor, category: Tensor, categories: int) -> NDArray[np.bool_]:
    """Which sentence speaks of which category, ``(S + 1, K)``; the last, the anchor, of none.

    A sentence that several categories share speaks of each of them.
    """
    same = (signs.double() @ signs.double().T > SAME).cpu().numpy()
    own = category.cpu().numpy()[:, None] == np.arange(categories)
    claims: NDArray[np.bool_] = np.vstack([same @ own, np.zeros((1, categories), bool)])
    return claims


def _length(vectors: Matrix) -> float:
    return float(np.linalg.norm(vectors, axis=1).mean())


def _array(tensor: Tensor) -> Matrix:
    values: Matrix = tensor.detach().double().cpu().numpy()
    return values


def fit_logistic(
    samples: Matrix, truth: NDArray[np.bool_], often: Matrix, offset: Matrix, penalty: float
) -> tuple[Matrix, float]:
    """Weighted logistic regression with an offset: weights ``(d,)`` and the constant.

    Args:
        samples: shape ``(m, d)``.
        truth: shape ``(m,)``, both values occurring.
        often: how often each sample counts, ``(m,)``.
        offset: added to each sample's log odds, ``(m,)``.
        penalty: of the squared weights, halved; the constant is free.
    """
    sign = np.where(truth, 1.0, -1.0)

    def loss(point: Matrix) -> tuple[float, Matrix]:
        margin = sign * (offset + samples @ point[:-1] + point[-1])
        slope = -often * sign * expit(-margin)
        value = often @ np.logaddexp(0, -margin) + penalty / 2 * point[:-1] @ point[:-1]
        return float(value), np.append(samples.T @ slope + penalty * point[:-1], slope.sum())

    rate = (often @ truth) / often.sum()
    first = np.append(np.zeros(samples.shape[1]), np.log(rate / (1 - rate)))
    settings: dict[str, Any] = {"maxiter": 1000, "ftol": 1e-12, "gtol": 1e-8}
    found = minimize(loss, first, jac=True, method="L-BFGS-B", options=settings).x
    return found[:-1], float(found[-1])
