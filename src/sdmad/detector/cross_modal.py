"""A cross-modal probe: one logistic regression a category over images and sentences.

Each sign's sentence is a sample of its category beside the support images, as Lin et al. (CVPR
2023) proposed for the names of classes, and the zero-shot score of a category is where its log odds
start from, so that what few images cannot tell is left to the words. For category k it minimises

    sum_i l(y_ik, a z_ik + w x_i + b) + omega n / S sum_j l(t_jk, w x_j + b) + lambda / 2 |w|^2

over n images whose label is known and S sentences; ``l`` is the logistic loss, ``z`` the category's
standardised sign score. The embeddings of images and of sentences are centred each on their own
mean: what parts the two modalities goes. What the image tower knows beyond the shared space is
zero for sentences; each of its parts has the mean length of the images' embeddings, but that of a
trunk trained on photographs has a weight of its own beside them.
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
NOT_LEARNT = -1.0
"""Log odds of a category that nothing speaks for: not found."""

SAME = 1 - 1e-6
"""Cosine from which two sentences are one."""


@dataclass(frozen=True)
class CrossModalSettings:
    """How images and sentences are weighed.

    Attributes:
        text: omega, of all sentences together beside the images.
        penalty: lambda, of the squared weights.
        trunk: length of the evidence's last part beside that of the others.
    """

    text: float
    penalty: float
    trunk: float = 1.0


def fit_cross_modal(
    features: tuple[Tensor, Tensor | None],
    labels: Matrix,
    texts: tuple[Tensor, Tensor, Tensor],
    start: Matrix,
    priors: Sequence[float],
    settings: CrossModalSettings,
    parts: Sequence[int],
) -> list[LinearProbe]:
    """Fit on the support set and the bank, once for each weight of the prior.

    Args:
        features: embeddings ``(n, D)`` of the images, and evidence ``(n, E)`` or None.
        labels: 1, 0 or NaN, shape ``(n, K)``.
        texts: embeddings ``(S, D)`` of the signs, the category of each ``(S,)``, and the normal
            anchor ``(D,)``, a sentence of no category.
        start: standardised sign scores, ``(n, K)``.
        priors: a, of the standardised sign score in the log odds, P of them;
            :mod:`sdmad.detector.cross_fitting` finds one.
        settings: the weights.
        parts: sizes of the parts that the evidence is made of, E in all.

    Returns:
        P probes on ``[embedding | evidence]``, ``(K, D + E)``; the sign score's share of the log
        odds is not in them. A category is learnt where images and weighted sentences have both
        signs.
    """
    images, sentences, centre, gain = _samples(features, texts, parts, settings.trunk)
    claims = _claims(*texts[:2], labels.shape[1])
    if settings.text == 0:
        sentences, claims = sentences[:0], claims[:0]
    known = ~np.isnan(labels)
    truth = np.concatenate([labels == 1, claims])
    share = settings.text * np.maximum(known.sum(axis=0), 1) / max(len(sentences), 1)
    often = np.concatenate([known, np.tile(share, (len(sentences), 1))])
    positive, all_of_it = (often * truth).sum(axis=0), often.sum(axis=0)
    learnt = (positive > 0) & (positive < all_of_it)
    weights = np.zeros((len(priors), labels.shape[1], len(gain)))
    bias = np.full((len(priors), labels.shape[1]), NOT_LEARNT)
    if learnt.any():
        samples, basis = _within_their_span(np.concatenate([images, sentences]))
        silent = np.zeros((len(sentences), int(learnt.sum())))
        offsets = [np.concatenate([prior * start[:, learnt], silent]) for prior in priors]
        said, counts = (np.tile(each[:, learnt], len(priors)) for each in (truth, often))
        fitted, constant = fit_logistic(samples, said, counts, np.hstack(offsets), settings.penalty)
        shape = (len(priors), silent.shape[1])
        weights[:, learnt] = ((basis @ fitted).T * gain).reshape(*shape, len(gain))
        bias[:, learnt] = constant.reshape(shape) - weights[:, learnt] @ centre
    kind = features[0]
    return [
        LinearProbe(
            torch.from_numpy(weights[p]).to(kind),
            torch.from_numpy(bias[p]).to(kind),
            torch.from_numpy(learnt).to(kind.device),
        )
        for p in range(len(priors))
    ]


def _samples(
    features: tuple[Tensor, Tensor | None],
    texts: tuple[Tensor, Tensor, Tensor],
    parts: Sequence[int],
    trunk: float,
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
    if trunk != 1 and evidence is not None:
        gain[-parts[-1] :] *= trunk
    said = np.vstack([_array(texts[0]), _array(texts[2])[None]])
    sentences = np.zeros((len(said), values.shape[1]))
    sentences[:, :size] = size**0.5 * (said - said.mean(axis=0))
    return centred * gain, sentences, centre, gain


def _within_their_span(samples: Matrix) -> tuple[Matrix, Matrix]:
    """Samples in a basis of what they span, where the weights lie, and the basis ``(d, r)``."""
    if samples.shape[0] >= samples.shape[1]:
        return samples, np.eye(samples.shape[1])
    basis, triangle = np.linalg.qr(samples.T)
    return triangle.T, basis


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
) -> tuple[Matrix, Matrix]:
    """Weighted logistic regressions on the same samples: weights ``(d, B)``, constants ``(B,)``.

    They are one convex problem whose parts do not meet, and are solved at once.

    Args:
        samples: shape ``(m, d)``.
        truth: shape ``(m, B)``, both values occurring where samples count.
        often: how often each sample counts, ``(m, B)``.
        offset: added to each sample's log odds, ``(m, B)``.
        penalty: of the squared weights, halved; the constants are free.
    """
    size, count = samples.shape[1], truth.shape[1]
    sign = np.where(truth, 1.0, -1.0)
    rate = (often * truth).sum(axis=0) / often.sum(axis=0)
    axes, unit = _even_axes(samples, rate * (1 - rate) * often.mean(axis=0), penalty)
    along = samples @ axes

    def loss(flat: Matrix) -> tuple[float, Matrix]:
        point = flat.reshape(size + 1, count) * unit
        weights = point[:-1]
        margin = sign * (offset + along @ weights + point[-1])
        slope = -often * sign * expit(-margin)
        value = (often * np.logaddexp(0, -margin)).sum() + penalty / 2 * (weights**2).sum()
        down = np.concatenate([along.T @ slope + penalty * weights, slope.sum(axis=0)[None]])
        return float(value), (down * unit).ravel()

    first = np.concatenate([np.zeros((size, count)), np.log(rate / (1 - rate))[None]]) / unit
    settings: dict[str, Any] = {"maxiter": 2000, "maxfun": 5000, "ftol": 1e-13, "gtol": 1e-7}
    settings["maxcor"] = 20
    found = minimize(loss, first.ravel(), jac=True, method="L-BFGS-B", options=settings).x
    point = found.reshape(size + 1, count) * unit
    return axes @ point[:-1], point[-1]


def _even_axes(samples: Matrix, curvature: Matrix, penalty: float) -> tuple[Matrix, Matrix]:
    """Principal axes ``(d, d)`` of samples, and units ``(d + 1, B)`` of B losses along them.

    In these units a loss curves about alike in every direction, the constant's too, which halves
    the steps that its least takes.

    Args:
        samples: shape ``(m, d)``.
        curvature: of each loss by a sample's log odds, ``(B,)``.
        penalty: of the squared weights, halved.
    """
    squares, axes = np.linalg.eigh(samples.T @ samples)
    curved = penalty + np.maximum(squares, 0)[:, None] * curvature
    return axes, np.vstack([curved, len(samples) * curvature]) ** -0.5
