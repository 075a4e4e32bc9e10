"""Scores and decisions of an image (SD-MAD, section 3.3, Eq. 7 and 8)."""

from __future__ import annotations

import torch
from torch import Tensor

POOLINGS = ("max", "mean", "min")


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
        ValueError: if a category keeps no sign, shapes disagree or ``pooling`` is unknown.
    """
    if similarity.shape[1:] != category.shape or category.shape != keep.shape:
        raise ValueError(
            "similarity must have shape (n, S), category and keep (S,), got "
            f"{tuple(similarity.shape)}, {tuple(category.shape)} and {tuple(keep.shape)}"
        )
    if pooling not in POOLINGS:
        raise ValueError(f"pooling must be one of {POOLINGS}, got {pooling!r}")
    columns = []
    for index in range(int(category.max()) + 1):
        mine = similarity[:, (category == index) & keep]
        if mine.shape[1] == 0:
            raise ValueError(f"category {index} keeps no sign")
        columns.append(mine.mean(dim=1) if pooling == "mean" else getattr(mine, f"a{pooling}")(1))
    return torch.stack(columns, dim=1)


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
    return pool_signs(image_features @ text_features.T, category, keep, pooling)


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

    Args:
        image_features: unit-length image embeddings, shape ``(n, D)``.
        text_features: unit-length sign embeddings, shape ``(S, D)``.
        category: index of each sign's category, shape ``(S,)``, int64.
        keep: signs that selection kept, boolean, shape ``(S,)``.
        anchor: unit-length embedding of the normal text, shape ``(D,)``.
        pooling: ``"min"`` as printed, or ``"mean"``.

    Returns:
        Boolean, shape ``(n, K)``.

    Raises:
        ValueError: if shapes disagree or a category keeps no sign.
    """
    pooled = pool_signs(image_features @ text_features.T, category, keep, pooling)
    return pooled > (image_features @ anchor).unsqueeze(1)


def abnormality(scores: Tensor, anchor_similarity: Tensor) -> Tensor:
    """Is the image abnormal at all? The best category against the anchor (protocol 1).

    Args:
        scores: category scores as cosines, shape ``(n, K)``.
        anchor_similarity: cosine of each image to the anchor, shape ``(n,)``.

    Returns:
        Shape ``(n,)``; larger is more abnormal.
    """
    return scores.amax(dim=1) - anchor_similarity


def normal_anchor(normal_features: Tensor) -> Tensor:
    """Average the normal sentences' embeddings and make the mean unit length again.

    Args:
        normal_features: unit-length embeddings of the normal sentences, shape ``(m, D)``.

    Returns:
        Shape ``(D,)``.
    """
    return torch.nn.functional.normalize(normal_features.mean(dim=0), dim=0)
