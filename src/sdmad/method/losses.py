"""The inter-anomaly loss (SD-MAD, section 3.2, Eq. 3 to 5)."""

from __future__ import annotations

import torch
from torch import Tensor


def _check(
    image_features: Tensor, text_features: Tensor, category: Tensor, anchor: Tensor, labels: Tensor
) -> None:
    for name, tensor in {"image_features": image_features, "labels": labels}.items():
        if tensor.ndim != 2 or 0 in tensor.shape:
            raise ValueError(f"{name} must be a filled matrix, got shape {tuple(tensor.shape)}")
    n, dimension = image_features.shape
    signs, categories = len(text_features), labels.shape[1]
    expected = {
        "text_features": (text_features, (signs, dimension)),
        "category": (category, (signs,)),
        "anchor": (anchor, (dimension,)),
        "labels": (labels, (n, categories)),
    }
    for name, (tensor, shape) in expected.items():
        if tuple(tensor.shape) != shape:
            raise ValueError(f"{name} must have shape {shape}, got {tuple(tensor.shape)}")
    if category.dtype != torch.int64:
        raise ValueError(f"category must be int64, got {category.dtype}")
    if signs and not 0 <= int(category.min()) <= int(category.max()) < categories:
        raise ValueError(
            f"category must number the {categories} columns of labels from 0, got "
            f"{int(category.min())} to {int(category.max())}"
        )


def _sign_labels(category: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Positive and negative signs of each image, boolean ``(n, S)``; unknown is neither."""
    of_sign = labels[:, category]
    return of_sign == 1, of_sign == 0


def _is_normal(labels: Tensor) -> Tensor:
    """Images on which every category is labelled absent, boolean ``(n,)``."""
    return (labels == 0).all(dim=1)


def image_text_loss(
    image_features: Tensor,
    text_features: Tensor,
    category: Tensor,
    anchor: Tensor,
    labels: Tensor,
    normal: Tensor | None = None,
) -> Tensor:
    """Pull each image to every sign of its categories, a normal image to the anchor (Eq. 3).

    Args:
        image_features: unit-length image embeddings, shape ``(n, D)``.
        text_features: unit-length sign embeddings, shape ``(S, D)``.
        category: index of each sign's category, shape ``(S,)``, int64.
        anchor: unit-length embedding of the normal text, shape ``(D,)``.
        labels: 1 present, 0 absent, NaN unknown, shape ``(n, K)``.
        normal: images without any abnormality, boolean ``(n,)``; None takes those on which every
            category is absent.

    Returns:
        A scalar: cosine distances summed over the signs, averaged over the images.

    Raises:
        ValueError: if shapes disagree.
    """
    _check(image_features, text_features, category, anchor, labels)
    positive, _ = _sign_labels(category, labels)
    to_signs = 1 - image_features @ text_features.T
    to_anchor = 1 - image_features @ anchor
    pulls = torch.where(positive, to_signs, 0).sum(dim=1)
    healthy = _is_normal(labels) if normal is None else normal
    return (pulls + torch.where(healthy, to_anchor, 0)).mean()


def anchor_loss(
    image_features: Tensor,
    text_features: Tensor,
    category: Tensor,
    anchor: Tensor,
    labels: Tensor,
    margin: float = 0.0,
) -> Tensor:
    """Keep the anchor between an image's own signs and those of absent categories (Eq. 4).

    An image's own signs must be nearer than the anchor, the signs of categories labelled 0
    farther; the signs of every present category leave the negatives, and unknown labels count
    neither way. For a normal image the first hinge is zero and every sign is a negative.

    Args:
        image_features: unit-length image embeddings, shape ``(n, D)``.
        text_features: unit-length sign embeddings, shape ``(S, D)``.
        category: index of each sign's category, shape ``(S,)``, int64.
        anchor: unit-length embedding of the normal text, shape ``(D,)``.
        labels: 1 present, 0 absent, NaN unknown, shape ``(n, K)``.
        margin: added inside both hinges; the paper has none (0).

    Returns:
        A scalar: hinges summed over the signs, averaged over the images.

    Raises:
        ValueError: if shapes disagree.
    """
    _check(image_features, text_features, category, anchor, labels)
    positive, negative = _sign_labels(category, labels)
    to_signs = 1 - image_features @ text_features.T
    to_anchor = (1 - image_features @ anchor).unsqueeze(1)
    nearer = (to_signs - to_anchor + margin).clamp(min=0)
    farther = (to_anchor - to_signs + margin).clamp(min=0)
    hinges = torch.where(positive, nearer, 0) + torch.where(negative, farther, 0)
    return hinges.sum(dim=1).mean()


def inter_anomaly_loss(
    image_features: Tensor,
    text_features: Tensor,
    category: Tensor,
    anchor: Tensor,
    labels: Tensor,
    margin: float = 0.0,
    image_text_weight: float = 1.0,
    normal: Tensor | None = None,
) -> Tensor:
    """Eq. 3, times ``image_text_weight`` (the paper has 1), plus Eq. 4 (Eq. 5).

    The other arguments, the scalar and the errors are those of :func:`image_text_loss` and
    :func:`anchor_loss`.
    """
    arguments = (image_features, text_features, category, anchor, labels)
    pulled = image_text_weight * image_text_loss(*arguments, normal)
    return pulled + anchor_loss(*arguments, margin=margin)
