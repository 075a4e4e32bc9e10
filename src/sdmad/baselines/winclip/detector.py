"""WinCLIP: small windows of the image are compared with prompts, and with those of normal images.

Jeong et al., WinCLIP: Zero-/Few-Shot Anomaly Classification and Segmentation, CVPR 2023. A window
is a square of patches; its tokens and the class token go through the image tower without the rest
of the image. Nothing is trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from sdmad.backbones import Backbone
from sdmad.baselines.components.anomaly import AnomalyDetector, Lesson, OnePerCategory
from sdmad.baselines.components.nearest import nearest_distance
from sdmad.baselines.components.once import Once
from sdmad.baselines.components.patch_maps import patches_a_side
from sdmad.baselines.components.remembered import known_alone, unlike
from sdmad.baselines.components.state_prompts import (
    NORMAL_STATES,
    Phrases,
    category_states,
    compose,
    mean_direction,
)
from sdmad.baselines.registry import Build, Recipe
from sdmad.detector.base import Mask
from sdmad.errors import InputError

WINDOW_BATCH = 512  # windows that go through the tower together
KINDS = (
    "cropped",
    "close-up",
    "bright",
    "dark",
    "jpeg corrupted",
    "blurry",
    "plain",
    "small",
    "large",
)
PURPOSES = ("visual inspection", "anomaly detection")


@dataclass(frozen=True)
class WinCLIPSettings:
    """What is published.

    Attributes:
        windows: sides of the windows in patches.
        temperature: of the softmax over the normal and the abnormal prompts, as the public
            reimplementations have it; the authors' code is not public.
        normal: how a normal thing is called.
        abnormal: how an abnormal thing is called.
        templates: sentences around a thing.
    """

    windows: tuple[int, ...] = (2, 3)
    temperature: float = 0.07
    normal: Phrases = NORMAL_STATES
    abnormal: Phrases = ("damaged {}", "{} with flaw", "{} with defect", "{} with damage")
    templates: Phrases = (
        *(f"a {kind} photo of {a} {{}}." for kind in KINDS for a in ("a", "the")),
        *(f"a photo of {a} {{}} for {purpose}." for purpose in PURPOSES for a in ("a", "the")),
    )


@dataclass(frozen=True)
class Views:
    """What the frozen image tower says of n images; every vector has unit length.

    Attributes:
        whole: embeddings of the images, ``(n, D)``.
        windows: embeddings of the windows of each size, ``(n, M, D)`` each, row by row.
        patches: the last block's patch tokens, ``(n, P, W)``.
    """

    whole: Tensor
    windows: tuple[Tensor, ...]
    patches: Tensor

    def rows(self, choice: Tensor) -> Views:
        """Some of the images."""
        windows = tuple(part[choice] for part in self.windows)
        return Views(self.whole[choice], windows, self.patches[choice])


def window_patches(side: int, size: int) -> Tensor:
    """The patches of every square window in a square grid, at steps of one patch.

    >>> window_patches(3, 2).tolist()
    [[0, 1, 3, 4], [1, 2, 4, 5], [3, 4, 6, 7], [4, 5, 7, 8]]

    Args:
        side: of the grid.
        size: of a window.

    Returns:
        Patch numbers, ``(M, size * size)``, int64.
    """
    grid = torch.arange(side * side).reshape(side, side)
    return grid.unfold(0, size, 1).unfold(1, size, 1).reshape(-1, size * size)


class WindowReader:
    """Runs images and their windows through the frozen image tower.

    Args:
        backbone: with a class token before a square of patches.
        sizes: of the windows.

    Raises:
        InputError: if the tower is none of these, or its grid is smaller than a window.
    """

    def __init__(self, backbone: Backbone, sizes: Sequence[int]) -> None:
        self.backbone = backbone
        self.side = patches_a_side(backbone, "WinCLIP")
        if self.side < max(sizes):
            raise InputError(
                f"WinCLIP needs {max(sizes)} x {max(sizes)} patches or more, but {backbone.name} "
                f"at {backbone.preprocessing.size} px has {self.side} a side"
            )
        self.members = tuple(window_patches(self.side, s).to(backbone.device) for s in sizes)

    @torch.no_grad()
    def __call__(self, pixels: Tensor) -> Views:
        """Read preprocessed images ``(n, 3, H, W)``."""
        tower = self.backbone.image
        tokens, state = tower.embed(pixels.to(self.backbone.device))
        windows = tuple(self._windows(tokens, members, state) for members in self.members)
        last = self._blocks(tokens, state)
        patches = normalize(last[:, 1:].float(), dim=-1)
        return Views(tower.pool(last, state), windows, patches)

    def _windows(self, tokens: Tensor, members: Tensor, state: Any) -> Tensor:
        first = torch.zeros(len(members), 1, dtype=torch.int64, device=members.device)
        kept = torch.cat([first, members + 1], dim=1)  # the class token comes first
        sequences = tokens[:, kept].flatten(0, 1)
        parts = [
            self.backbone.image.pool(self._blocks(part, state), state)
            for part in sequences.split(WINDOW_BATCH)
        ]
        return torch.cat(parts).unflatten(0, (len(tokens), len(members)))

    def _blocks(self, hidden: Tensor, state: Any) -> Tensor:
        for index in range(1, self.backbone.image.depth + 1):
            hidden = self.backbone.image.block(index, hidden, state)
        return hidden


def harmonic_map(scores: Tensor, members: Tensor, patches: int) -> Tensor:
    """For each patch, the harmonic mean of the scores of the windows that cover it.

    >>> scores, members = torch.tensor([[1.0, 0.5]]), torch.tensor([[0, 1], [1, 2]])
    >>> [round(v, 4) for v in harmonic_map(scores, members, 3)[0].tolist()]
    [1.0, 0.6667, 0.5]

    Args:
        scores: of the windows, 0 or more, ``(n, M)``.
        members: the patches of each window, ``(M, k)``, int64.
        patches: number P of patches, each of them in some window.

    Returns:
        Shape ``(n, P)``.
    """
    covers = torch.zeros(len(members), patches, device=scores.device)
    covers.scatter_(1, members, 1.0)
    # 1 / 0 is infinite, and infinite times 0 no number: a score of 0 counts as the least number.
    inverse = 1 / scores.clamp(min=torch.finfo(scores.dtype).tiny)
    return covers.sum(dim=0) / (inverse @ covers)


def reference_distance(query: Tensor, references: Tensor) -> Tensor:
    """Half the cosine distance of each vector to the nearest one of the references.

    Args:
        query: unit length, ``(n, M, D)``.
        references: unit length, ``(r, M, D)``; all ``r x M`` are compared.

    Returns:
        Shape ``(n, M)``, from 0 to 1.
    """
    bank = references.flatten(0, 1)
    near = torch.stack([nearest_distance(image, bank) for image in query])
    return (near / 2).clamp(min=0)


class NormalViews:
    """The support set's normal images, which all detectors of one system share.

    Attributes:
        views: None before the first detector is fitted.
        pixels: of the same images, to know them by.
    """

    def __init__(self) -> None:
        self.views: Views | None = None
        self.pixels = torch.zeros(0)


class WinCLIP(AnomalyDetector):
    """WinCLIP on one question.

    Args:
        reader: of images and windows, remembering the last images.
        text: unit-length features of the normal and the abnormal prompts, ``(2, D)``.
        temperature: of the softmax over the two.
        references: what the normal images of the support set are kept in, which makes this the
            few-shot form; None for zero-shot. Once filled it is not filled again.
    """

    has_maps = True

    def __init__(
        self,
        reader: Once[Views],
        members: tuple[Tensor, ...],
        text: Tensor,
        temperature: float,
        references: NormalViews | None = None,
    ) -> None:
        self.reader, self.members, self.text = reader, members, text
        self.temperature, self.references = temperature, references

    def _fit(self, pixels: Tensor, abnormal: Tensor, masks: Sequence[Mask | None]) -> None:
        """Keep the normal images' views, in the few-shot form; everything else is ignored."""
        del masks
        if self.references is not None and self.references.views is None:
            if abnormal.all():
                raise InputError(
                    "WinCLIP with normal images needs a normal image in the support set; the "
                    "zero-shot form needs none"
                )
            self.references.views = self.reader(pixels[~abnormal])
            self.references.pixels = pixels[~abnormal]

    @classmethod
    def fit_together(cls, detectors: Sequence[Any], lessons: Sequence[Lesson]) -> None:
        """As of every detector; the normal images are this support set's, not an earlier one's."""
        for detector in detectors:
            if detector.references is not None:
                detector.references.views = None
        super().fit_together(detectors, lessons)

    def _abnormal(self, embeddings: Tensor) -> Tensor:
        """Probability of the abnormal prompts, ``(...)`` of embeddings ``(..., D)``."""
        return (embeddings @ self.text.T / self.temperature).softmax(dim=-1)[..., 1]

    def _zero_shot_map(self, views: Views) -> Tensor:
        """Harmonic mean of the windows' maps and the whole image's probability, ``(n, P)``."""
        patches = views.patches.shape[1]
        maps = [
            harmonic_map(self._abnormal(windows), members, patches)
            for windows, members in zip(views.windows, self.members, strict=True)
        ]
        maps.append(self._abnormal(views.whole)[:, None].expand_as(maps[0]))
        return len(maps) / torch.stack([1 / part for part in maps]).sum(dim=0)

    def _distance_map(self, views: Views, normal: Views) -> Tensor:
        """Mean over window sizes and patches of the distances to normal ones, ``(n, P)``."""
        patches = views.patches.shape[1]
        maps = [reference_distance(views.patches, normal.patches)]
        for own, theirs, members in zip(views.windows, normal.windows, self.members, strict=True):
            maps.append(harmonic_map(reference_distance(own, theirs), members, patches))
        return torch.stack(maps).mean(dim=0)

    def score_pixels(self, pixels: Tensor) -> Tensor:
        """Abnormality ``(n,)``: the image's, in the few-shot form averaged with the map's maximum.

        Raises:
            InputError: in the few-shot form, if it is not fitted.
        """
        return self._scores(self.reader(pixels), self._normal())

    def _scores(self, views: Views, normal: Views | None) -> Tensor:
        text = self._abnormal(views.whole)
        if normal is None:
            return text
        return (text + self._distance_map(views, normal).amax(dim=1)) / 2

    def support_scores(self, pixels: Tensor) -> Tensor:
        """Scores of the support images; a normal one is compared with the others only.

        The only normal image is compared with itself.
        """
        views, normal = self.reader(pixels), self._normal()
        if normal is None or self.references is None:
            return self._scores(views, None)
        found = []
        for row in range(len(pixels)):
            others = unlike(self.references.pixels, pixels[row])
            beside = normal.rows(others) if others.any() else normal
            found.append(self._scores(views.rows(torch.tensor([row])), beside))
        return torch.cat(found)

    def compared_with_itself(self, pixels: Tensor) -> Tensor:
        """Which support images are the only normal one, boolean ``(n,)``; zero-shot none is."""
        if self.references is None:
            return super().compared_with_itself(pixels)
        return known_alone(self.references.pixels, pixels)

    def map_pixels(self, pixels: Tensor) -> Tensor:
        """Where images are abnormal, ``(n, h, w)`` by patches; few-shot: the mean of both maps.

        Raises:
            InputError: in the few-shot form, if it is not fitted.
        """
        views = self.reader(pixels)
        found = self._zero_shot_map(views)
        normal = self._normal()
        if normal is not None:
            found = (found + self._distance_map(views, normal)) / 2
        side = round(found.shape[1] ** 0.5)
        return found.unflatten(1, (side, side))

    def _normal(self) -> Views | None:
        if self.references is None:
            return None
        if self.references.views is None:
            raise InputError("this WinCLIP has seen no normal image yet: call fit")
        return self.references.views


def build_winclip(
    build: Build, few_shot: bool, settings: WinCLIPSettings | None = None
) -> OnePerCategory:
    """One WinCLIP for "is it abnormal at all", and one a category.

    The thing in the prompts is the bank's modality. The first detector has the published abnormal
    states; a category's has one, ``"MODALITY with CATEGORY"``.

    Args:
        build: bank and backbone.
        few_shot: whether the support set's normal images are compared with.
        settings: what is published.

    Raises:
        InputError: if the backbone has no square of patches behind a class token.
    """
    settings = settings or WinCLIPSettings()
    backbone, thing = build.backbone, build.bank.modality
    reader = WindowReader(backbone, settings.windows)
    shared, references = Once(reader), NormalViews() if few_shot else None

    def encode(states: Sequence[str]) -> Tensor:
        sentences = compose(states, settings.templates, thing)
        return mean_direction(backbone.encode_text(sentences))

    normal = encode(settings.normal)

    def make(category: str | None) -> WinCLIP:
        states = settings.abnormal if category is None else category_states(category)
        text = torch.stack([normal, encode(states)])
        return WinCLIP(shared, reader.members, text, settings.temperature, references)

    return OnePerCategory(build.bank.names, backbone, make)


RECIPES = {
    "winclip": Recipe(
        lambda build, settings: build_winclip(build, few_shot=False, settings=settings),
        WinCLIPSettings(),
    ),
    "winclip-few": Recipe(
        lambda build, settings: build_winclip(build, few_shot=True, settings=settings),
        WinCLIPSettings(),
    ),
}
