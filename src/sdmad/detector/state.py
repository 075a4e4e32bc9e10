"""Everything that a fit settles: what is saved, loaded and scored with."""

from __future__ import annotations

from dataclasses import dataclass

from sdmad.backbones import Backbone
from sdmad.detector.config import SDMADConfig
from sdmad.detector.head import SignHead
from sdmad.detector.patients import PatientHashes
from sdmad.detector.training import EpochLog, SignTexts
from sdmad.method.adapters import AdaptedTower
from sdmad.signs import SignBank


@dataclass(frozen=True)
class FittedState:
    """A fitted SD-MAD.

    Attributes:
        bank: the signs.
        backbone: the frozen model, where and in which type it runs.
        config: the settings of the training and of the decisions.
        seed: of the adapters' initial weights and the order of the images.
        image: the adapted image tower.
        texts: the bank's sentences in the adapted text tower.
        head: from embeddings to scores.
        log: one entry an epoch.
        notes: what a person should know about this fit.
        support_hashes: SHA-256 of each support image's content, sorted.
        support_patients: salted hashes of the support patients.
        threshold_hashes: SHA-256 of each normal image behind the thresholds, sorted.
    """

    bank: SignBank
    backbone: Backbone
    config: SDMADConfig
    seed: int
    image: AdaptedTower
    texts: SignTexts
    head: SignHead
    log: tuple[EpochLog, ...]
    notes: tuple[str, ...]
    support_hashes: tuple[str, ...]
    support_patients: PatientHashes
    threshold_hashes: tuple[str, ...] = ()
