"""The graph that is exported: squares of 8-bit brightness to scores, with everything folded.

Text features, selection, the probe and the thresholds are constants of one matrix and a few
elementwise steps; lambda is folded into the adapters' weights; of a tower that pools its first
token alone, the last block is run for that token alone.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize, pad

from sdmad.backbones.base import Tower
from sdmad.backbones.transformer import ImageTransformer
from sdmad.detector.abnormality import abnormality_beside_signs
from sdmad.detector.features import Wanted
from sdmad.detector.head import SignHead
from sdmad.detector.sign_detector import SignDetector
from sdmad.method.adapters import ShiftAdapter

EMBEDDING_ALONE = Wanted()
OUTPUTS = (
    *("scores", "decisions", "abnormality", "similarity", "anchor_similarity"),
    "unfamiliar",
)
"""Outputs of every graph, in this order: those of :class:`~sdmad.detector.base.ImageScores`."""


class FoldedAdapter(nn.Module):
    """A shift adapter whose ``1 - lambda`` is in its second matrix.

    An activation that is positively homogeneous, ``a(c x) = c a(x)`` for ``c >= 0`` (leaky ReLU,
    identity), lets the factor through.

    Args:
        adapter: the trained one; left as it is.
    """

    def __init__(self, adapter: ShiftAdapter) -> None:
        super().__init__()
        self.lam = adapter.lam
        self.activation = adapter.activation
        self.down = copy.deepcopy(adapter.down)
        self.up = copy.deepcopy(adapter.up)
        homogeneous = isinstance(adapter.activation, nn.LeakyReLU | nn.Identity)
        self.rest = 1.0 if homogeneous else 1 - self.lam
        if homogeneous:
            self.up.weight.data *= 1 - self.lam

    def forward(self, features: Tensor) -> Tensor:
        """Eq. 2 on tokens ``(n, T, W)``."""
        shift: Tensor = self.activation(self.up(self.activation(self.down(features))))
        return self.lam * features + (shift if self.rest == 1.0 else self.rest * shift)


class ImageGraph(nn.Module):
    """Squares to unit-length features through an image tower, adapted or bare.

    Args:
        tower: the image tower; it is used, not copied, unless ``dtype`` is another than its own.
        adapters: block number to adapter; none for the bare tower.
        size: side of a square in pixels.
        mean: of each channel, in [0, 1] units.
        std: of each channel, in [0, 1] units.
        dtype: of the tower's weights and tokens, but for what it holds in full precision.
        wanted: what stands behind the embedding: the tower's evidence, the patches' embeddings.
    """

    def __init__(
        self,
        tower: Tower,
        adapters: dict[int, ShiftAdapter],
        size: int,
        mean: tuple[float, float, float],
        std: tuple[float, float, float],
        dtype: torch.dtype = torch.float32,
        wanted: Wanted = EMBEDDING_ALONE,
    ) -> None:
        super().__init__()
        self.wanted = wanted
        self.tower = tower if dtype == torch.float32 else copy.deepcopy(tower).cast(dtype)
        folded = {str(block): FoldedAdapter(adapters[block]) for block in adapters}
        self.adapters = nn.ModuleDict(folded).to(dtype)
        deviation = torch.tensor(std).reshape(1, 3, 1, 1)
        self.scale = nn.Buffer(1 / (255 * deviation))
        self.shift = nn.Buffer(-torch.tensor(mean).reshape(1, 3, 1, 1) / deviation)
        if isinstance(tower, ImageTransformer):
            self.places = nn.Buffer(places(tower, size).to(dtype))

    def forward(self, squares: Tensor) -> Tensor:
        """Brightness ``(n, 3, S, S)``, float32 from 0 to 255, to features.

        Embeddings, evidence and patches row by row, as far as wanted: ``(n, D + E + P D)``.
        """
        pixels = squares * self.scale + self.shift
        hidden, state = self._embed(pixels.to(self.tower.input_dtype))
        for index in range(1, self.tower.depth + 1):
            hidden = self._block(index, hidden, state)
            if str(index) in self.adapters:
                hidden = self.adapters[str(index)](hidden)
        found = [normalize(self.tower.pool(hidden, state).float(), dim=-1)]
        if self.wanted.evidence:
            found.append(self.tower.evidence(hidden, state).float())
        if self.wanted.patches:
            assert isinstance(self.tower, ImageTransformer)
            patches = normalize(self.tower.project(hidden[:, 1:]), dim=-1)
            found.append(patches.flatten(1))
        return torch.cat(found, dim=1)

    def _embed(self, pixels: Tensor) -> tuple[Tensor, Any]:
        if not isinstance(self.tower, ImageTransformer):
            return self.tower.embed(pixels)
        maps, state = self.tower.patches(pixels)
        patches = maps.flatten(2).transpose(1, 2)
        return self.tower.norm_before(pad(patches, (0, 0, 1, 0)) + self.places), state

    def _block(self, index: int, hidden: Tensor, state: Any) -> Tensor:
        if index == self.tower.depth and self.wanted == EMBEDDING_ALONE:
            return self.tower.last_block(hidden, state)
        return self.tower.block(index, hidden, state)


@torch.no_grad()
def places(tower: ImageTransformer, size: int) -> Tensor:
    """What a tower adds to the patches of squares of one size, the class token in front.

    Args:
        tower: whose position embeddings are resized as it does itself.
        size: side of a square in pixels.

    Returns:
        Shape ``(T, W)``.
    """
    side = size // tower.stride
    whole: Tensor = tower.positions(side, side).clone()
    whole[0] += tower.class_token
    return whole


class Scoring(nn.Module):
    """Features to what :class:`~sdmad.detector.base.ImageScores` holds.

    Whatever is linear in embedding and evidence is one matrix: cosines with signs and anchor, means
    over the kept signs of a category, log odds of the probe. The patches are held to the signs one
    by one.

    Args:
        detector: fitted, with thresholds if its decision rule needs them.

    Attributes:
        length: of the features of one image.

    Raises:
        InputError: if it lacks them.
    """

    def __init__(self, detector: SignDetector) -> None:
        super().__init__()
        head, evidence, config = detector.head_, detector.head_.evidence, detector.config_
        self.pooling = config.pooling
        self.lowest = config.decision == "paper"
        self.mixture = evidence is not None and config.image_evidence == "probe"
        self.sign_scale = evidence.sign_scale if evidence is not None else 1.0
        self.signs, self.categories = len(head.signs), len(detector.categories)
        kept = [
            torch.nonzero((head.category == k) & head.keep).flatten()
            for k in range(self.categories)
        ]
        most = max(map(len, kept))
        index = torch.stack([torch.cat([k, k[:1].expand(most - len(k))]) for k in kept])
        self.index = nn.Buffer(index.flatten())  # each row filled up with its first sign
        share = torch.stack([(head.category == k) & head.keep for k in range(self.categories)])
        share = share.double() / share.sum(dim=1, keepdim=True)
        self.text, self.share = nn.Buffer(head.signs.float()), nn.Buffer(share.float())
        self.by_patch, self.dimension = head.by_patch, head.signs.shape[1]
        told = sum(detector.backbone_.image.evidence_parts) or self.dimension
        known = told if head.wanted.evidence else 0
        self.plain = self.dimension + known
        self.length = self.plain + head.by_patch * _patches(detector) * self.dimension
        means = (share @ head.signs.double()).float()
        parts = [pad(part, (0, known)) for part in (head.signs, head.anchor[None], means)]
        parts.append(self._familiar_row(head, known))
        bias = torch.zeros(self.signs + 2 + self.categories, device=head.signs.device)
        self.has_probe = evidence is not None
        if evidence is not None:
            weight = evidence.probe.learnt * (head.evidence_weight / evidence.probe_scale)
            rows = evidence.probe.weights * weight[:, None]
            missing = self.plain - rows.shape[1]  # embedding or evidence, which it does not read
            before = missing == self.dimension and known > 0
            parts.append(pad(rows, (missing, 0) if before else (0, missing)))
            bias = torch.cat([bias, evidence.probe.bias * weight])
        self.matrix = nn.Buffer(torch.cat(parts).float())
        self.bias = nn.Buffer(bias.float())
        limits = detector.head_.limits()
        self.by_score = limits is not None
        self.limits = nn.Buffer(torch.tensor([] if limits is None else limits.tolist()))

    def forward(self, features: Tensor) -> tuple[Tensor, ...]:
        """Features of :class:`ImageGraph` to :data:`OUTPUTS`."""
        linear = nn.functional.linear(features[:, : self.plain], self.matrix, self.bias)
        similarity = whole = linear[:, : self.signs]
        anchor = linear[:, self.signs : self.signs + 1]
        means = whole_means = linear[:, self.signs + 1 : self.signs + 1 + self.categories]
        unfamiliar = linear[:, self.signs + 1 + self.categories] < self.least
        odds = linear[:, self.signs + 2 + self.categories :] if self.has_probe else 0.0
        if self.by_patch:
            patches = features[:, self.plain :].unflatten(1, (-1, self.dimension))
            similarity = (patches @ self.text.T).amax(dim=1)
            means = similarity @ self.share.T
        pooled = self._gathered(similarity).amax(dim=2) if self.pooling == "max" else means
        scores = pooled / self.sign_scale + odds
        if self.has_probe and not self.mixture:
            signs = (pooled.amax(dim=1) - anchor[:, 0]) / self.sign_scale
            abnormality = abnormality_beside_signs(scores, signs)
        else:
            abnormality = (scores - anchor / self.sign_scale).amax(dim=1)
        decided = self._gathered(whole).amin(dim=2) if self.lowest else whole_means
        margins = decided - anchor
        if self.mixture:
            margins = margins / self.sign_scale + odds
        decisions = scores > self.limits if self.by_score else margins > 0
        return scores, decisions, abnormality, similarity, anchor[:, 0], unfamiliar

    def _familiar_row(self, head: SignHead, known: int) -> Tensor:
        """What tells how familiar an image is, ``(1, D + E)``; nothing is less than ``least``."""
        self.least = -2.0 if head.familiarity is None else head.familiarity.least
        if head.familiarity is None:
            return torch.zeros(1, self.plain, device=head.signs.device)
        centre = head.familiarity.centre[None].to(head.signs)
        return pad(centre, (self.dimension, 0)) if known else centre

    def _gathered(self, similarity: Tensor) -> Tensor:
        """Cosines of each category's kept signs, ``(n, K, most)``."""
        return similarity[:, self.index].unflatten(1, (self.categories, -1))


def _patches(detector: SignDetector) -> int:
    tower = detector.backbone_.image
    assert isinstance(tower, ImageTransformer) or not detector.head_.by_patch
    side = detector.preprocessing.size // getattr(tower, "stride", 1)
    return side * side


def adapted_image(detector: SignDetector, dtype: torch.dtype = torch.float32) -> ImageGraph:
    """A detector's image tower with its adapters.

    Args:
        detector: fitted.
        dtype: of the tower's weights and tokens.
    """
    preprocessing = detector.backbone_.preprocessing
    adapters = {
        int(block): adapter
        for block, adapter in detector.image_adapters_.items()
        if isinstance(adapter, ShiftAdapter)
    }
    return ImageGraph(
        detector.backbone_.image,
        adapters,
        preprocessing.size,
        preprocessing.mean,
        preprocessing.std,
        dtype,
        detector.head_.wanted,
    )


class WholeGraph(nn.Module):
    """Squares to :data:`OUTPUTS`: the whole detector behind the resizing.

    Args:
        detector: fitted.
    """

    def __init__(self, detector: SignDetector) -> None:
        super().__init__()
        self.image, self.scoring = adapted_image(detector), Scoring(detector)

    def forward(self, squares: Tensor) -> tuple[Tensor, ...]:
        """Brightness ``(n, 3, S, S)``, float32 from 0 to 255, to :data:`OUTPUTS`."""
        scores: tuple[Tensor, ...] = self.scoring(self.image(squares))
        return scores
