"""UniVAD: patches and components of an image against those of a few normal images.

Gu et al., UniVAD: A Training-free Unified Model for Few-shot Visual Anomaly Detection, CVPR 2025.
Nothing is trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isqrt
from typing import Any

import torch
from torch import Tensor

from sdmad.baselines.components.anomaly import AnomalyDetector, Lesson, OnePerCategory
from sdmad.baselines.components.once import Once
from sdmad.baselines.components.patch_maps import patches_a_side, to_pixels
from sdmad.baselines.components.pseudo import Brightness
from sdmad.baselines.components.remembered import known_alone
from sdmad.baselines.components.state_prompts import category_states, compose, mean_direction
from sdmad.baselines.registry import Build, Recipe
from sdmad.baselines.univad.components import ComponentReader
from sdmad.baselines.univad.features import ClipReader, ClipTokens, Models, TransformerPatches
from sdmad.baselines.univad.fusion import Compared, fused, image_scores, score_beside, summed
from sdmad.baselines.univad.graph import Nodes, structure_distance
from sdmad.baselines.univad.masks import Gate, GroundedMasks
from sdmad.baselines.univad.matching import component_distance, patch_distance
from sdmad.baselines.univad.models import CONTEXT, DENSE, DETECTORS, SEGMENTERS, load_model
from sdmad.baselines.univad.settings import UniVADSettings
from sdmad.baselines.univad.stand_ins import ClusteredMasks, TrunkPatches
from sdmad.detector.base import Mask
from sdmad.errors import InputError

WORDS = (("tokenizer.json",), ("vocab.txt",))


@dataclass(frozen=True)
class Seen:
    """What the models say of n images.

    Attributes:
        values: their channel values, ``(n, 3, H, H)``.
        clip: CLIP's tokens.
        dense: DINOv2's patches, unit length, ``(n, 1, Q, C)``.
    """

    values: Tensor
    clip: ClipTokens
    dense: Tensor

    def __len__(self) -> int:
        return len(self.values)

    @property
    def grids(self) -> tuple[int, int]:
        """CLIP's and DINOv2's patches a side."""
        return isqrt(self.clip.levels.shape[2]), isqrt(self.dense.shape[2])


@dataclass(frozen=True)
class References:
    """The normal images.

    Attributes:
        pixels: to know them by, ``(k, 3, H, H)``.
        seen: what the models say of them.
        components: finds those of an image; knows those of the references.
    """

    pixels: Tensor
    seen: Seen
    components: ComponentReader


class NormalImages:
    """The support set's normal images, which all detectors of one system share.

    Args:
        models: frozen.
        settings: what is published.
        brightness: between standardised pixels and channel values.
        seed: of the clusters.

    Attributes:
        compare: :class:`Compared` of images ``(n, 3, H, H)`` with all normal images; remembers its
            last answer.
        compare_support: the same of images of the support set, each with the normal images other
            than itself; the only one with itself. Gate and clusters stay those of all.
    """

    def __init__(
        self, models: Models, settings: UniVADSettings, brightness: Brightness, seed: int
    ) -> None:
        self.models, self.settings, self.seed = models, settings, seed
        self.brightness = brightness
        self._known: References | None = None
        self._forget()

    def _forget(self) -> None:
        self.compare, self.compare_support = Once(self._with_all), Once(self._with_others)

    def remember(self, pixels: Tensor) -> None:
        """Take these for the normal images, standardised ``(k, 3, H, H)``, and forget others."""
        seen = self._look(pixels)
        components = ComponentReader(
            self.models, self.settings, self.brightness, seen.grids, seen.values, self.seed
        )
        self._known = References(pixels, seen, components)
        self._forget()

    @property
    def known(self) -> References:
        """What is remembered.

        Raises:
            InputError: if nothing is.
        """
        if self._known is None:
            raise InputError("this UniVAD has seen no normal image yet: call fit")
        return self._known

    def _with_all(self, pixels: Tensor) -> Compared:
        everything = torch.arange(len(self.known.seen))
        return self._compare(pixels, [everything] * len(pixels))

    def _with_others(self, pixels: Tensor) -> Compared:
        beside = []
        for image in pixels:
            others = (self.known.pixels != image).flatten(1).any(dim=1).nonzero()[:, 0].cpu()
            beside.append(others if len(others) else torch.arange(1))
        return self._compare(pixels, beside)

    def _look(self, pixels: Tensor) -> Seen:
        values = self.brightness.of(pixels).clamp(0, 1)
        return Seen(
            values, self.models.clip(pixels), self.models.dense(values).flatten(1, 2)[:, None]
        )

    def _compare(self, pixels: Tensor, beside: Sequence[Tensor]) -> Compared:
        """Each image with some of the references, whose rows are given."""
        seen = self._look(pixels)
        found = [self._compare_one(seen, row, rows) for row, rows in enumerate(beside)]
        maps, scores = zip(*found, strict=True)
        return Compared(torch.stack(maps), torch.stack(scores), seen.clip.local)

    def _compare_one(self, seen: Seen, row: int, beside: Tensor) -> tuple[Tensor, Tensor]:
        """An image's map in sum, ``(H, H)``, and what is added to its score."""
        normal, reader = self.known.seen, self.known.components
        size = seen.values.shape[-1]
        query = (seen.clip.levels[row], seen.dense[row])
        theirs = (normal.clip.levels[beside], normal.dense[beside])
        whole = tuple(patch_distance(*pair) for pair in zip(query, theirs, strict=True))
        parts, structure = None, normal.values.new_zeros(())
        if reader.gate is not Gate.TEXTURE:
            own = reader(seen.values[row])
            others = [reader.references[place] for place in beside.tolist()]
            covers = (torch.stack([o.clip for o in others]), torch.stack([o.dense for o in others]))
            within = map(component_distance, query, theirs, (own.clip, own.dense), covers, whole)
            parts = _on_pixels(tuple(within), size)
            nodes = [other.nodes for other in others if other.nodes is not None]
            if own.nodes is not None and nodes:
                structure = structure_distance(own.nodes, Nodes.together(nodes))
        cosines = normal.clip.embedding[beside] @ seen.clip.embedding[row]
        added = score_beside(reader.gate, 1 - cosines.amax(), structure)
        return summed(_on_pixels(whole, size), parts), added


def _on_pixels(distances: Sequence[Tensor], size: int) -> Tensor:
    """Distances of patches as maps ``(2, size, size)``."""
    return torch.cat([to_pixels(one[None], size, corners=True) for one in distances])


class UniVAD(AnomalyDetector):
    """UniVAD on one question.

    Args:
        normal: the normal images, shared with the other detectors.
        text: unit-length features of the normal and the abnormal words, ``(2, D)``.
        scale: cosines with them are multiplied by it.
        mean: whether an image's score is its map's mean, not its maximum.
    """

    has_maps = True
    needs_normal = True

    def __init__(self, normal: NormalImages, text: Tensor, scale: float, mean: bool) -> None:
        self.normal, self.text, self.scale, self.mean = normal, text, scale, mean

    def _fit(self, pixels: Tensor, abnormal: Tensor, masks: Sequence[Mask | None]) -> None:
        """Keep the normal images; everything else is ignored."""
        del masks
        self.normal.remember(pixels[~abnormal])

    @classmethod
    def fit_together(cls, detectors: Sequence[Any], lessons: Sequence[Lesson]) -> None:
        """All share the normal images of the first one's lesson."""
        first = lessons[0]
        detectors[0].fit(first.pixels, first.abnormal, first.masks)

    def score_pixels(self, pixels: Tensor) -> Tensor:
        """Abnormality ``(n,)``.

        Raises:
            InputError: if it is not fitted.
        """
        return self._scores(self.normal.compare(pixels))

    def support_scores(self, pixels: Tensor) -> Tensor:
        """Scores of the support images; a normal one is compared with the others only."""
        return self._scores(self.normal.compare_support(pixels))

    def compared_with_itself(self, pixels: Tensor) -> Tensor:
        """Which support images are the only normal one, boolean ``(n,)``."""
        return known_alone(self.normal.known.pixels, pixels)

    def map_pixels(self, pixels: Tensor) -> Tensor:
        """Where images are abnormal, ``(n, H, H)``.

        Raises:
            InputError: if it is not fitted.
        """
        return self._maps(self.normal.compare(pixels))

    def _scores(self, compared: Compared) -> Tensor:
        return image_scores(self._maps(compared), compared.beside, self.mean)

    def _maps(self, compared: Compared) -> Tensor:
        words = (self.scale * compared.local @ self.text.T).softmax(dim=-1)[..., 1]
        return fused(compared.maps, to_pixels(words, compared.maps.shape[-1], corners=True))


def published_models(build: Build, settings: UniVADSettings) -> Models:
    """The published models beside the compared backbone.

    Raises:
        InputError: if the backbone is no CLIP in plain torch.
        WeightsMissingError: if a model's weights cannot be had.
        ModelError: if a model's files cannot be used.
    """
    device = build.backbone.device
    clip = ClipReader(build.backbone, settings)
    detector = load_model(DETECTORS, settings.detector, build.seed, WORDS)
    segmenter = load_model(SEGMENTERS, settings.segmenter, build.seed)
    dense = load_model(DENSE, settings.dense, build.seed)
    context = load_model(CONTEXT, settings.context, build.seed)
    for loaded in (detector, segmenter, dense, context):
        loaded.model.to(device)
    question = settings.question(build.bank.modality)
    return Models(
        clip,
        TransformerPatches(dense, settings.size),
        TransformerPatches(context, settings.size),
        GroundedMasks(detector, segmenter, question, settings.background, settings.least),
    )


def stand_ins(build: Build, settings: UniVADSettings) -> Models:
    """What the embedded backbone has in the models' place.

    Raises:
        InputError: if the backbone is another.
    """
    trunk = TrunkPatches(build.backbone)
    finder = ClusteredMasks(trunk, build.seed)
    return Models(ClipReader(build.backbone, settings), trunk, trunk, finder)


def build_univad(build: Build, models: Models, settings: UniVADSettings) -> OnePerCategory:
    """One UniVAD for "is it abnormal at all", and one a category.

    All compare with the same normal images; a category's abnormal state is ``"object with
    CATEGORY"``.

    Args:
        build: bank and backbone.
        models: the frozen models.
        settings: what is published.

    Raises:
        InputError: if the backbone has no square of patches behind a class token.
    """
    backbone = build.backbone
    patches_a_side(backbone, "UniVAD")
    preprocessing = backbone.preprocessing
    brightness = Brightness(preprocessing.mean, preprocessing.std)
    normal = NormalImages(models, settings, brightness, build.seed)
    mean = settings.question(build.bank.modality).mean

    def encode(states: Sequence[str]) -> Tensor:
        sentences = compose(states, settings.templates, settings.thing)
        return mean_direction(backbone.encode_text(sentences))

    words = encode(settings.normal)

    def make(category: str | None) -> UniVAD:
        states = settings.abnormal if category is None else category_states(category)
        return UniVAD(normal, torch.stack([words, encode(states)]), settings.scale, mean)

    return OnePerCategory(build.bank.names, backbone, make)


SEARCHED = UniVADSettings(coreset=0.1, scale=25.0)
"""The best of eight on validation phantoms with the embedded backbone (docs/searched.md)."""

RECIPES = {
    "univad": Recipe(
        lambda build, settings: build_univad(build, published_models(build, settings), settings),
        UniVADSettings(),
    ),
    "univad-embedded": Recipe(
        lambda build, settings: build_univad(build, stand_ins(build, settings), settings),
        UniVADSettings(),
        SEARCHED,
    ),
}
