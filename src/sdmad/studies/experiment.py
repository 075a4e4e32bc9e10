"""Several systems on one episode: the same support set, the same test images, one interface."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sdmad.backbones import Backbone
from sdmad.baselines import LinearProbeDetector, ZeroShotCLIP, name_bank
from sdmad.data.fewshot import SupportSet
from sdmad.data.images import ImageSource
from sdmad.data.table import LabelTable
from sdmad.detector.base import BATCH_SIZE, Detector
from sdmad.detector.config import SDMADConfig
from sdmad.detector.scores import ImageScores
from sdmad.detector.sdmad import SDMAD
from sdmad.evaluation.labelled_scores import LabelledScores, labelled_scores
from sdmad.progress import track
from sdmad.signs import SignBank

NAMES = "zero-shot CLIP, category names"
SIGNS = "zero-shot CLIP, signs"
SELECTED = "zero-shot CLIP, signs, selection"
PROBE = "linear probe"
PRINTED = "SD-MAD as printed, no selection"
PRINTED_SELECTED = "SD-MAD as printed"
RECOMMENDED = "SD-MAD recommended"
MEDCLIP = "zero-shot MedCLIP, signs"
SYSTEMS = (NAMES, SIGNS, SELECTED, PROBE, PRINTED, PRINTED_SELECTED, RECOMMENDED)


@dataclass(frozen=True)
class Episode:
    """What one comparison is made on.

    Attributes:
        bank: the signs; its categories are the columns of the labels.
        images: support images.
        labels: of the support, 1, 0 or NaN, shape ``(n, K)``.
        support_patients: of the support, n of them, or None.
        test_images: m paths, Pillow images or arrays; read when they are scored.
        test_labels: shape ``(m, K)``.
        normal: test images that are declared normal, boolean ``(m,)``.
        patients: of the test images, m of them.
        seed: of the training.
    """

    bank: SignBank
    images: Sequence[ImageSource]
    labels: NDArray[np.float64]
    support_patients: Sequence[str] | None
    test_images: Sequence[ImageSource]
    test_labels: NDArray[np.float64]
    normal: NDArray[np.bool_]
    patients: Sequence[str]
    seed: int


def score_systems(
    systems: Mapping[str, Detector], images: Sequence[ImageSource], progress: str | None = None
) -> dict[str, ImageScores]:
    """Score images with several systems; each image is read once for all that prepare it alike.

    Args:
        systems: fitted detectors by name.
        images: m paths, Pillow images or arrays.
        progress: what to call the work on a progress bar; none when not given.

    Raises:
        ImageError: if an image cannot be read.
    """
    parts: dict[str, list[ImageScores]] = {name: [] for name in systems}
    for start in track(range(0, len(images), BATCH_SIZE), progress):
        batch = images[start : start + BATCH_SIZE]
        prepared = {
            preprocessing: preprocessing(batch)
            for preprocessing in {system.preprocessing for system in systems.values()}
        }
        for name, system in systems.items():
            parts[name].append(system.score_pixels(prepared[system.preprocessing]))
    return {name: ImageScores.join(found) for name, found in parts.items()}


def fit_systems(
    episode: Episode,
    backbone: Backbone,
    systems: Sequence[str] = SYSTEMS,
    medclip: Backbone | None = None,
) -> Iterator[tuple[str, Detector]]:
    """Fit the systems on an episode's support set, one after the other.

    Args:
        episode: what to fit on.
        backbone: the frozen model.
        systems: names from :data:`SYSTEMS`, and :data:`MEDCLIP`.
        medclip: the backbone of :data:`MEDCLIP`, which is left out without it.
    """
    bank, seed = episode.bank, episode.seed
    zero_shot = {NAMES: (name_bank(bank), "none"), SIGNS: (bank, "none"), SELECTED: (bank, "paper")}
    for name, (sentences, selection) in zero_shot.items():
        if name in systems:
            yield name, ZeroShotCLIP(sentences, backbone, selection)
    if MEDCLIP in systems and medclip is not None:
        yield MEDCLIP, ZeroShotCLIP(bank, medclip)
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
        yield (
            RECOMMENDED,
            recommended.fit(episode.images, episode.labels, patients=episode.support_patients),
        )


def judged(episode: Episode, scores: ImageScores) -> LabelledScores:
    """Put a system's scores beside the truth."""
    return labelled_scores(
        episode.test_labels,
        scores.scores,
        scores.decisions,
        scores.abnormality,
        episode.normal,
        episode.patients,
    )


def table_episode(bank: SignBank, table: LabelTable, support: SupportSet, seed: int) -> Episode:
    """The episode of one draw from a label table.

    Args:
        bank: the signs, whose categories are the table's.
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
        drawn.patients,
        rest.files,
        rest.labels,
        rest.normal,
        rest.patient_keys(),
        seed,
    )
