"""Step 2 of UniVAD's component clustering: masks of the same kind become one component.

Patches of the references are clustered; a mask joins the cluster that it covers most.
"""

from __future__ import annotations

import torch
from sklearn.cluster import KMeans
from torch import Tensor
from torch.nn.functional import interpolate, normalize

MOST_ITERATIONS = 300


def coreset(features: Tensor, share: float) -> Tensor:
    """Features that lie far from one another: each next one is the farthest from those taken.

    The first is the farthest from the mean.

    >>> coreset(torch.tensor([[0.0], [1.0], [9.0], [5.0]]), 0.75)[:, 0].tolist()
    [9.0, 0.0, 5.0]

    Args:
        features: ``(M, C)``.
        share: how many to take, at least one.

    Returns:
        ``(share * M, C)``.
    """
    count = max(1, round(share * len(features)))
    taken = [int(_distance(features, features.mean(dim=0)).argmax())]
    nearest = _distance(features, features[taken[0]])
    while len(taken) < count:
        taken.append(int(nearest.argmax()))
        nearest = torch.minimum(nearest, _distance(features, features[taken[-1]]))
    return features[taken]


def _distance(features: Tensor, point: Tensor) -> Tensor:
    return (features - point).square().sum(dim=1)


def cluster_centres(features: Tensor, clusters: int, seed: int) -> Tensor:
    """Unit-length centres of k-means with k-means++'s start, a bounded number of rounds.

    Args:
        features: unit length, ``(M, C)``.
        clusters: of them, at most M.
        seed: of the start.

    Returns:
        ``(clusters, C)``.
    """
    count = min(clusters, len(features))
    means = KMeans(count, init="k-means++", n_init=4, max_iter=MOST_ITERATIONS, random_state=seed)
    centres = means.fit(features.cpu().double().numpy()).cluster_centers_
    return normalize(torch.from_numpy(centres).to(features), dim=1)


def cluster_of_pixels(patches: Tensor, centres: Tensor, size: int) -> Tensor:
    """The cluster of each pixel: the largest cosine above the cluster's mean over the image.

    Args:
        patches: unit length, ``(h, w, C)``.
        centres: unit length, ``(k, C)``.
        size: side of the image in pixels.

    Returns:
        Numbers from 0, ``(size, size)``.
    """
    cosines = (patches @ centres.T).permute(2, 0, 1)
    centred = cosines - cosines.mean(dim=(1, 2), keepdim=True)
    wide = interpolate(centred[None], (size, size), mode="bilinear", align_corners=True)
    return wide[0].argmax(dim=0)


def join_masks(masks: Tensor, cluster: Tensor, clusters: int) -> Tensor:
    """The union of the masks that cover each cluster most.

    Args:
        masks: boolean ``(m, H, W)``.
        cluster: of each pixel, ``(H, W)``.
        clusters: k.

    Returns:
        Boolean ``(k, H, W)``; without a pixel where no mask joins.
    """
    joined = masks.new_zeros(clusters, *cluster.shape)
    for mask in masks:
        joined[int(cluster[mask].bincount(minlength=clusters).argmax())] |= mask
    return joined
