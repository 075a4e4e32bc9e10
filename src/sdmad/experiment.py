"""Several systems on one episode: the same support set, the same test images, one interface."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sdmad.backbones import Backbone
from sdmad.baselines import LinearProbeDetector, ZeroShotCLIP, name_bank
from sdmad.config import SDMADConfig
from sdmad.data.fewshot import SupportSet
from sdmad.data.images import ImageSource
from sdmad.data.table import LabelTable
from sdmad.detector import SDMAD
from sdmad.evaluation.scored import ScoredImages, scored_images
from sdmad.interface import BATCH_SIZE, Detector, ImageScores
from sdmad.signs import SignBank

NAMES = "zero-shot CLIP, category names"
SIGNS = "zero-shot CLIP, signs"
SELECTED = "zero-shot CLIP, signs, selection"
PROBE = "linear probe"
PRINTED = "SD-MAD as printed, no selection"
PRINTED_SELECTED = "SD-MAD as printed"
RECOMMENDED = "SD-MAD recommended"
SYSTEMS = (NAMES, SIGNS, SELECTED, PROBE, PRINTED, PRINTED_SELECTED, RECOMMENDED)


@dataclass(frozen=True)
class Episode:
    """What one comparison is made on.

    Attributes:
        bank: the signs; its categories are the columns of the labels.
        images: support images.
        labels: of the support, 1, 0 or NaN, shape ``(n, K)``.
        pixels: preprocessed test images, shape ``(m, 3, H, W)``.
        test_labels: shape ``(m, K)``.
        normal: test images that are declared normal, boolean ``(m,)``.
        patients: of the test images, m of them.
        seed: of the training.
    """

    bank: SignBank
    images: Sequence[ImageSource]
    labels: NDArray[np.float64]
    pixels: Tensor
    test_labels: NDArray[np.float64]
    normal: NDArray[np.bool_]
    patients: Sequence[str]
    seed: int


def score_prepared(detector: Detector, pixels: Tensor) -> ImageScores:
    """Score preprocessed images ``(m, 3, H, W)`` in batches."""
    return ImageScores.join([detector.score_pixels(part) for part in pixels.split(BATCH_SIZE)])


def fit_systems(
    episode: Episode, backbone: Backbone, systems: Sequence[str] = SYSTEMS
) -> Iterator[tuple[str, Detector]]:
    """Fit the systems on an episode's support set, one after the other.

    Args:
        episode: what to fit on.
        backbone: the frozen model.
        systems: names from :data:`SYSTEMS`.
    """
    bank, seed = episode.bank, episode.seed
    zero_shot = {NAMES: (name_bank(bank), "none"), SIGNS: (bank, "none"), SELECTED: (bank, "paper")}
    for name, (sentences, selection) in zero_shot.items():
        if name in systems:
            yield name, ZeroShotCLIP(sentences, backbone, selection)
    if PROBE in systems:
        probe = LinearProbeDetector(bank.names, backbone)
        yield PROBE, probe.fit(episode.images, episode.labels)
    if PRINTED in systems or PRINTED_SELECTED in systems:
        printed = SDMAD(bank, backbone, SDMADConfig.paper(), seed)
        printed.fit(episode.images, episode.labels)
        if PRINTED in systems:
            yield PRINTED, printed.with_inference(selection="none")
        if PRINTED_SELECTED in systems:
            yield PRINTED_SELECTED, printed
    if RECOMMENDED in systems:
        recommended = SDMAD(bank, backbone, SDMADConfig(), seed)
        yield RECOMMENDED, recommended.fit(episode.images, episode.labels)


def judged(episode: Episode, scores: ImageScores) -> ScoredImages:
    """Put a system's scores beside the truth."""
    return scored_images(
        episode.test_labels,
        scores.scores,
        scores.decisions,
        scores.abnormality,
        episode.normal,
        episode.patients,
    )


def prepare(backbone: Backbone, images: Sequence[ImageSource]) -> Tensor:
    """Read and preprocess m images once for all systems: ``(m, 3, H, W)``."""
    starts = range(0, len(images), BATCH_SIZE)
    return torch.cat([backbone.preprocessing(images[s : s + BATCH_SIZE]) for s in starts])


def table_episode(
    bank: SignBank, backbone: Backbone, table: LabelTable, support: SupportSet, seed: int
) -> Episode:
    """The episode of one draw from a label table.

    Args:
        bank: the signs, whose categories are the table's.
        backbone: whose preprocessing prepares the test images.
        table: the whole table.
        support: the draw; neither it nor its patients are judged.
        seed: of the training.
    """
    drawn = table.subset(support.indices)
    rest = table.subset(support.evaluation(table))
    return Episode(
        bank,
        drawn.files,
        drawn.labels,
        prepare(backbone, rest.files),
        rest.labels,
        rest.normal,
        rest.patient_keys(),
        seed,
    )
