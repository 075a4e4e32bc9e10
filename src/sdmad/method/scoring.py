"""Scores and decisions of an image (SD-MAD, section 3.3, Eq. 7 and 8)."""

from __future__ import annotations

import torch
from torch import Tensor

POOLINGS = ("max", "mean", "min")
"""How the cosines of a category's signs make one number."""


def pool_signs(similarity: Tensor, category: Tensor, keep: Tensor, pooling: str) -> Tensor:
    """Pool the similarities of each category's kept signs.

    Args:
        similarity: cosine of each image with each sign, shape ``(n, S)``.
        category: index of each sign's category, shape ``(S,)``, int64.
        keep: signs that selection kept, boolean, shape ``(S,)``.
        pooling: one of :data:`POOLINGS`.

    Returns:
        Shape ``(n, K)`` with K the largest category index plus one.

    Raises:
        ValueError: if a category keeps no sign, shapes disagree, ``keep`` is not boolean or
            ``pooling`` is unknown.
    """
    if similarity.ndim != 2 or not similarity.shape[1:] == category.shape == keep.shape:
        raise ValueError(
            "similarity must have shape (n, S), category and keep (S,), got "
            f"{tuple(similarity.shape)}, {tuple(category.shape)} and {tuple(keep.shape)}"
        )
    if keep.dtype != torch.bool:
        raise ValueError(f"keep must be boolean, got {keep.dtype}")
    if len(category) == 0:
        raise ValueError("there is no sign to score with")
    if pooling not in POOLINGS:
        raise ValueError(f"pooling must be one of {POOLINGS}, got {pooling!r}")
    columns = []
    for index in range(int(category.max()) + 1):
        mine = similarity[:, (category == index) & keep]
        if mine.shape[1] == 0:
            raise ValueError(f"category {index} keeps no sign")
        columns.append(mine.mean(dim=1) if pooling == "mean" else getattr(mine, f"a{pooling}")(1))
    return torch.stack(columns, dim=1)


def _cosines(image_features: Tensor, text_features: Tensor) -> Tensor:
    """Cosine of each image with each sign, ``(n, S)``."""
    shapes = tuple(image_features.shape), tuple(text_features.shape)
    if image_features.ndim != 2 or text_features.ndim != 2 or shapes[0][1] != shapes[1][1]:
        raise ValueError(
            "image_features must have shape (n, D), text_features (S, D), got "
            f"{shapes[0]} and {shapes[1]}"
        )
    return image_features @ text_features.T


def category_scores(
    image_features: Tensor,
    text_features: Tensor,
    category: Tensor,
    keep: Tensor,
    pooling: str = "max",
) -> Tensor:
    """Score each category by the largest cosine over its kept signs (Eq. 7).

    Args:
        image_features: unit-length image embeddings, shape ``(n, D)``.
        text_features: unit-length sign embeddings, shape ``(S, D)``.
        category: index of each sign's category, shape ``(S,)``, int64.
        keep: signs that selection kept, boolean, shape ``(S,)``.
        pooling: ``"max"`` as printed, or ``"mean"``.

    Returns:
        Cosines, shape ``(n, K)``.

    Raises:
        ValueError: if shapes disagree or a category keeps no sign.
    """
    return pool_signs(_cosines(image_features, text_features), category, keep, pooling)


def decision_margins(
    image_features: Tensor,
    text_features: Tensor,
    category: Tensor,
    keep: Tensor,
    anchor: Tensor,
    pooling: str = "min",
) -> Tensor:
    """How far a category's kept signs lie above the anchor; where positive it is found (Eq. 8).

    Args:
        image_features: unit-length image embeddings, shape ``(n, D)``.
        text_features: unit-length sign embeddings, shape ``(S, D)``.
        category: index of each sign's category, shape ``(S,)``, int64.
        keep: signs that selection kept, boolean, shape ``(S,)``.
        anchor: unit-length embedding of the normal text, shape ``(D,)``.
        pooling: ``"min"`` as printed, or ``"mean"``.

    Returns:
        Differences of cosines, shape ``(n, K)``.

    Raises:
        ValueError: if shapes disagree or a category keeps no sign.
    """
    similarity = _cosines(image_features, text_features)
    if anchor.shape != image_features.shape[1:]:
        raise ValueError(
            f"anchor must have shape {tuple(image_features.shape[1:])}, got {tuple(anchor.shape)}"
        )
    pooled = pool_signs(similarity, category, keep, pooling)
    return pooled - (image_features @ anchor).unsqueeze(1)


def binary_predictions(
    image_features: Tensor,
    text_features: Tensor,
    category: Tensor,
    keep: Tensor,
    anchor: Tensor,
    pooling: str = "min",
) -> Tensor:
    """Find a category where its kept signs lie nearer than the anchor (Eq. 8).

    As printed, the SMALLEST cosine over the kept signs must exceed the cosine to the anchor.
    Arguments and errors are those of :func:`decision_margins`.

    Returns:
        Boolean, shape ``(n, K)``.
    """
    margins = decision_margins(image_features, text_features, category, keep, anchor, pooling)
    return margins > 0


def abnormality(scores: Tensor, anchor_similarity: Tensor) -> Tensor:
    """Is the image abnormal at all? The best category against the anchor (protocol 1).

    Args:
        scores: category scores as cosines, shape ``(n, K)``.
        anchor_similarity: cosine of each image to the anchor, shape ``(n,)``.

    Returns:
        Shape ``(n,)``; larger is more abnormal.

    Raises:
        ValueError: if shapes disagree.
    """
    if scores.ndim != 2 or anchor_similarity.shape != scores.shape[:1]:
        raise ValueError(
            "scores must have shape (n, K), anchor_similarity (n,), got "
            f"{tuple(scores.shape)} and {tuple(anchor_similarity.shape)}"
        )
    return scores.amax(dim=1) - anchor_similarity


def normal_anchor(normal_features: Tensor) -> Tensor:
    """Average the normal sentences' embeddings and make the mean unit length again.

    Args:
        normal_features: unit-length embeddings of the normal sentences, shape ``(m, D)``.

    Returns:
        Shape ``(D,)``.

    Raises:
        ValueError: if there is no sentence or the shape is another.
    """
    if normal_features.ndim != 2 or len(normal_features) == 0:
        raise ValueError(
            f"normal_features must have shape (m, D), m > 0, got {tuple(normal_features.shape)}"
        )
    return torch.nn.functional.normalize(normal_features.mean(dim=0), dim=0)
