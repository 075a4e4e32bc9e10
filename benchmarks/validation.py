"""Cells of validation phantoms on which settings are chosen, and the rule of ranks.

A cell is a modality, a style, a kind of bank or tower and a number of shots; what is chosen is
ranked in each (``docs/settings.md``).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from scipy.stats import rankdata

from sdmad.backbones import Backbone, load_backbone
from sdmad.backbones.base import Tower
from sdmad.data.table import LabelTable
from sdmad.detector.features import ImageFeatures, Wanted, finish
from sdmad.method.adapters import AdaptedTower
from sdmad.signs import SignBank
from sdmad.signs.noise import MIXTURE, add_noise
from sdmad.studies.material import Material, phantom_data

IMAGES, PHANTOM_SEED, DRAWS, SHOTS = 400, 2000, 10, (1, 2, 4, 8, 16)
KINDS = ("validation", "distant")
FOREIGN = {"brain": "chest", "chest": "brain", "oct": "breast"}
FAR = "-foreign-"
BLIND, BLIND_SEED = "-unschooled-", 0
NEAR = 0.2


@dataclass(frozen=True)
class Set:
    """Validation phantoms of a modality in one style, embedded once.

    Attributes:
        modality: of the phantoms.
        style: of their acquisition.
        material: images, labels, bank.
        backbone: what embeds them.
    """

    modality: str
    style: str
    material: Material
    backbone: Backbone

    @property
    def table(self) -> LabelTable:
        """The labels, in the bank's order."""
        return self.material.table

    @cached_property
    def features(self) -> ImageFeatures:
        """Of every image, without adapters."""
        return embed(self.backbone, AdaptedTower(self.backbone.image, {}), self.table.files)

    @cached_property
    def unschooled(self) -> Set:
        """The same images seen by a tower whose transformer was never trained."""
        blind = load_backbone("lite")
        unlearn(blind.image, BLIND_SEED)
        return replace(self, backbone=blind)

    def kinds(self) -> dict[str, tuple[Set, SignBank]]:
        """What is seen, and said, by kind of cell.

        The clean bank, the noisy one, one whose words say nothing of these images; and the clean
        one with an unschooled tower.
        """
        bank = self.material.bank
        noisy = add_noise(bank, MIXTURE, 2, seed=0).bank
        return {
            "clean": (self, bank),
            "noisy": (self, noisy),
            "foreign": (self, foreign(bank, FOREIGN[self.modality])),
            "unschooled": (self.unschooled, bank),
        }


def unlearn(tower: Tower, seed: int) -> None:
    """Draw the matrices of all blocks of a tower anew, normal, each as large as it was."""
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for block in tower.blocks:
            for weight in block.parameters():
                if weight.ndim > 1:
                    drawn = torch.randn(weight.shape, generator=rng, dtype=weight.dtype)
                    weight.copy_(drawn * weight.std())


def foreign(bank: SignBank, modality: str) -> SignBank:
    """A bank with the categories of one and, in their order, the signs of another modality's."""
    signs = itertools.cycle(SignBank.load(modality).categories.values())
    return SignBank(
        bank.name, bank.modality, bank.normal, dict(zip(bank.names, signs, strict=False))
    )


@torch.no_grad()
def embed(backbone: Backbone, tower: AdaptedTower, files: Sequence[Path]) -> ImageFeatures:
    """All that a head may read of some images."""
    parts = []
    for start in range(0, len(files), 32):
        pixels = backbone.preprocessing(files[start : start + 32]).to(backbone.dtype)
        hidden, state = backbone.image.embed(pixels)
        frozen = tower.frozen_part(hidden, state)
        parts.append(finish(tower, frozen, state, Wanted(evidence=True, patches=True)))
    return ImageFeatures.join(parts)


def sets(folder: Path, modalities: Sequence[str]) -> Iterator[Set]:
    """The phantoms, drawn unless they are there."""
    backbone = load_backbone("lite")
    for modality, style in itertools.product(modalities, KINDS):
        data = phantom_data(modality, folder, IMAGES, PHANTOM_SEED, style, print)
        yield Set(modality, style, Material(data, SignBank.load(modality)), backbone)


Figures = dict[str, list[float]]


"""Candidate to AUROC, subset accuracy and macro F1."""


def ranks(cells: Mapping[str, Figures]) -> dict[str, float]:
    """Mean rank of each candidate over cells and metrics; 1 is the best.

    Args:
        cells: ``modality-style-bank-shots-draw`` to the figures.
    """
    names = list(next(iter(cells.values())))
    groups: dict[str, list[Figures]] = {}
    for key, figures in cells.items():
        groups.setdefault(key.rpartition("-")[0], []).append(figures)
    found = []
    for draws in groups.values():
        values = np.array([[one[name] for name in names] for one in draws]).mean(axis=0)
        found.append(np.apply_along_axis(rankdata, 0, -values.round(9)))
    means = np.mean(found, axis=(0, 2))
    return dict(zip(names, means.tolist(), strict=True))


def choose(figures: Mapping[str, float]) -> str:
    """The first of the list within :data:`NEAR` of the least mean rank."""
    least = min(figures.values())
    return next(name for name, figure in figures.items() if figure <= least + NEAR)


def styles(cells: Iterable[str]) -> dict[str, list[str]]:
    """The cells by style, and apart where words or tower say nothing; groups that have cells."""
    apart = {"foreign words": FAR, "unschooled tower": BLIND}
    groups = {name: [k for k in cells if mark in k] for name, mark in apart.items()}
    beside = set(cells).difference(*groups.values())
    groups = {style: [k for k in beside if f"-{style}-" in k] for style in KINDS} | groups
    return {name: keys for name, keys in groups.items() if keys}
