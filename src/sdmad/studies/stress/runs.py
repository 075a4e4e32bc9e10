"""Judge systems by both selection rules on a bank with growing noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sdmad._version import __version__
from sdmad.backbones import Backbone, load_backbone
from sdmad.baselines.registry import load_system
from sdmad.choices import EMBEDDED
from sdmad.data.labels import canonical_name
from sdmad.data.sets.base import DataSet
from sdmad.data.sets.table_data import TableData
from sdmad.detector.config import SDMADConfig
from sdmad.detector.precision import choose_device
from sdmad.errors import InputError
from sdmad.evaluation.labelled_scores import LabelledScores
from sdmad.method.choices import Selection
from sdmad.output import results_folder
from sdmad.phantoms.cases import MODALITIES, load_modality
from sdmad.reporting.draw_tables import counted
from sdmad.signs import SignBank
from sdmad.signs.noise import KINDS, add_noise
from sdmad.studies.draw import Draw, Variant
from sdmad.studies.engine import Engine
from sdmad.studies.material import PHANTOM_SEED, Material, Say, phantom_data

COUNTS = (2, 4, 8)
"""Sentences added to each category."""

CLEAN = "clean"
RULES: tuple[Selection, ...] = ("none", "paper")
ZERO_SHOT, PRINTED, RECOMMENDED = "zero-shot CLIP", "SD-MAD as printed", "SD-MAD recommended"
STRESSED = {
    ZERO_SHOT: ("clip-signs", "clip-signs-selected"),
    PRINTED: ("sd-mad-unselected", "sd-mad-printed"),
    RECOMMENDED: ("sd-mad", "sd-mad"),
}
"""The systems, and by what names the registry knows them with selection none and paper."""

PHANTOM_IMAGES = {name: 400 if name == "chest" else 300 for name in MODALITIES}
STYLE = "test"


@dataclass(frozen=True)
class StressRequest:
    """What to stress.

    Attributes:
        bank: a packaged bank's name or a YAML file.
        out: folder for the results and the draws behind them.
        data: a label table; None draws phantoms of the bank's modality.
        backbone: what :func:`~sdmad.load_backbone` takes.
        shots: images a category.
        seeds: number of draws, each with noise of its own.
    """

    bank: str
    out: Path
    data: Path | None = None
    backbone: str = EMBEDDED
    shots: int = 4
    seeds: int = 3


@dataclass(frozen=True)
class Level:
    """One kind of noise in one amount, and what was found with it.

    Attributes:
        kind: of :data:`~sdmad.signs.noise.KINDS`, or ``"clean"``.
        count: sentences added to each category.
        draws: what each system said under each rule, a list over the draws, by :func:`key`.
        keep: signs that Eq. 6 kept, a list over the draws of boolean ``(S,)``, by system.
        marks: what was added, as in :class:`~sdmad.signs.noise.NoisyBank`, S of them.
    """

    kind: str
    count: int
    draws: dict[str, list[LabelledScores]]
    keep: dict[str, list[NDArray[np.bool_]]]
    marks: tuple[str, ...]


@dataclass(frozen=True)
class Study:
    """Every level, and lines on what was run."""

    bank: SignBank
    levels: tuple[Level, ...]
    head: tuple[str, ...]


def key(system: str, rule: str) -> str:
    """What a system judged by a selection rule is called.

    >>> key("zero-shot CLIP", "none")
    'zero-shot CLIP, selection none'
    """
    return f"{system}, selection {rule}"


def variants() -> list[Variant]:
    """Every system by both rules, which differ in nothing else."""
    return [
        Variant(
            load_system(name),
            SDMADConfig(selection=rule) if system == RECOMMENDED else None,
            key(system, rule),
        )
        for system, names in STRESSED.items()
        for rule, name in zip(RULES, names, strict=True)
    ]


def run_levels(request: StressRequest, say: Say) -> Study:
    """Run what is missing and read it all.

    Raises:
        SDMADError: if something given cannot be used.
    """
    if request.seeds < 1:
        raise InputError(f"--seeds must be 1 or more, got {request.seeds}")
    bank = SignBank.load(request.bank)
    results_folder(request.out)
    if request.data is None:
        data: DataSet = _phantoms(bank, request.out, say)
        source = f"{bank.modality} phantoms, {STYLE} style"
    else:
        data, source = TableData(request.data, bank.names), request.data.name
    table = Material(data, bank).table
    backbone = load_backbone(request.backbone).to(choose_device("auto"))
    plan = [(CLEAN, 0), *((kind, count) for kind in KINDS for count in COUNTS)]
    notes: dict[str, None] = dict.fromkeys(table.notes)
    levels = []
    for number, (kind, count) in enumerate(plan, start=1):
        doing = f"{kind}, {count} added a category ({number} of {len(plan)})"
        level, draws = _run_level(request, data, bank, backbone, (kind, count), doing, say)
        levels.append(level)
        for draw in draws:
            notes |= dict.fromkeys(f"draw {draw.seed}: {note}" for note in draw.support.notes)
    head = (
        f"bank: {bank.name}, {len(bank.sentences)} signs of {len(bank.names)} categories",
        f"images: {source}, {len(table)} in all",
        f"backbone: {backbone.name}, {backbone.preprocessing.size} px, weights "
        f"{backbone.weights_hash[:12]}",
        f"{counted(request.shots)}; draws: {request.seeds}, each with noise of its own",
        f"sdmad {__version__}",
        *notes,
    )
    return Study(bank, tuple(levels), head)


def _run_level(
    request: StressRequest,
    data: DataSet,
    bank: SignBank,
    backbone: Backbone,
    noise: tuple[str, int],
    doing: str,
    say: Say,
) -> tuple[Level, Sequence[Draw]]:
    """One level; every draw adds as many sentences in the same places."""
    kind, count = noise
    noisy = [
        add_noise(bank, KINDS[0] if kind == CLEAN else kind, count, seed)
        for seed in range(request.seeds)
    ]
    draws = [
        Draw(Material(data, spoilt.bank), request.shots, seed) for seed, spoilt in enumerate(noisy)
    ]
    folder = request.out / "draws" / bank.name / f"{kind}-{count}"
    found = Engine(backbone, folder, say).run(variants(), draws, doing)
    selected = {system: found[key(system, "paper")] for system in STRESSED}
    keep = {
        system: [one.kept_signs for one in outcomes if one.kept_signs is not None]
        for system, outcomes in selected.items()
    }
    scored = {name: [one.scored for one in outcomes] for name, outcomes in found.items()}
    return Level(kind, count, scored, keep, noisy[0].added), draws


def _phantoms(bank: SignBank, out: Path, say: Say) -> DataSet:
    """Phantoms of the bank's modality, drawn unless they are there."""
    titles = {canonical_name(load_modality(name).title): name for name in MODALITIES}
    name = titles.get(canonical_name(bank.modality))
    if name is None:
        shown = ", ".join(load_modality(known).title for known in MODALITIES)
        raise InputError(
            f"there are no phantoms of {bank.modality!r} (only {shown}); give --data LABELS.csv"
        )
    modality = load_modality(name)
    known = {canonical_name(category) for category in modality.categories}
    if {canonical_name(category) for category in bank.names} != known:
        raise InputError(
            f"bank {bank.name!r} has other categories than the {bank.modality} phantoms "
            f"({', '.join(modality.categories)}); give --data LABELS.csv"
        )
    return phantom_data(name, out, PHANTOM_IMAGES[name], PHANTOM_SEED, STYLE, say)
