"""Fit on banks with growing noise, judge by both selection rules, keep every draw on disk."""

from __future__ import annotations

import hashlib
import io
import json
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sdmad._version import __version__
from sdmad.backbones import Backbone, load_backbone
from sdmad.baselines import ZeroShotCLIP
from sdmad.data.fewshot import draw_support
from sdmad.data.labels import canonical_name
from sdmad.data.table import LabelTable, read_label_table
from sdmad.detector.base import BATCH_SIZE
from sdmad.detector.config import SELECTIONS, SDMADConfig
from sdmad.detector.head import SignHead, TextFeatures
from sdmad.detector.precision import choose_device
from sdmad.detector.scores import ImageScores
from sdmad.detector.sdmad import SDMAD
from sdmad.errors import InputError
from sdmad.evaluation.labelled_scores import LabelledScores
from sdmad.output import results_folder, write_bytes
from sdmad.phantoms.cases import MODALITIES, load_modality
from sdmad.phantoms.files import write_phantoms
from sdmad.progress import track
from sdmad.signs import SignBank
from sdmad.signs.noise import KINDS, NoisyBank, add_noise, noise_hash
from sdmad.studies.experiment import Episode, judged, table_episode
from sdmad.studies.study import PARTS, Setting, counted, read_draws

COUNTS = (2, 4, 8)
"""Sentences added to each category."""

CLEAN = "clean"
ZERO_SHOT, PRINTED, RECOMMENDED = "zero-shot CLIP", "SD-MAD as printed", "SD-MAD recommended"
CONFIGS: dict[str, Callable[[], SDMADConfig]] = {
    ZERO_SHOT: SDMADConfig.paper,
    PRINTED: SDMADConfig.paper,
    RECOMMENDED: SDMADConfig,
}
"""The systems; of the zero-shot one the settings say only how it scores and decides."""

PHANTOM_IMAGES = {"brain": 300, "chest": 400, "oct": 300}
PHANTOM_SEED = 6000
STYLE = "test"

Say = Callable[[str], None]


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
    backbone: str = "nano"
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
        table, source = (
            _phantoms(bank, request.out, say),
            f"{bank.modality} phantoms, {STYLE} style",
        )
    else:
        table, source = read_label_table(request.data, bank.names), request.data.name
    backbone = load_backbone(request.backbone).to(choose_device("auto"))
    folder = request.out / "draws" / f"{bank.name}-{_digest(bank, table, backbone)}"
    plan = [(CLEAN, 0), *((kind, count) for kind in KINDS for count in COUNTS)]
    notes: dict[str, None] = dict.fromkeys(table.notes)
    levels = []
    for place, (kind, count) in enumerate(plan, start=1):
        noisy = [
            add_noise(bank, KINDS[0] if kind == CLEAN else kind, count, seed)
            for seed in range(request.seeds)
        ]
        setting = Setting(f"{kind}-{count}", bank, table, request.shots)
        for seed, spoilt in enumerate(noisy):
            if not setting.draw_file(folder, seed).exists():
                say(
                    f"{kind}, {count} added a category ({place} of {len(plan)}): "
                    f"draw {seed + 1} of {request.seeds}"
                )
            told = _run_draw(setting, spoilt, seed, backbone, folder)
            notes |= dict.fromkeys(f"draw {seed}: {note}" for note in told)
        levels.append(_read(setting, folder, kind, count, noisy))
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


def _phantoms(bank: SignBank, out: Path, say: Say) -> LabelTable:
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
    folder = out / "phantoms" / f"{name}-{STYLE}"
    if not (folder / "labels.csv").is_file():
        say(f"drawing {PHANTOM_IMAGES[name]} phantoms: {bank.modality}")
        write_phantoms(modality, folder, PHANTOM_IMAGES[name], PHANTOM_SEED, STYLE, force=True)
    return read_label_table(folder / "labels.csv", bank.names)


def _digest(bank: SignBank, table: LabelTable, backbone: Backbone) -> str:
    """Of all that a draw depends on, besides kind, count, shots and seed."""
    depends = {
        "sdmad": __version__,
        "bank": bank.to_yaml(),
        "noise": noise_hash(),
        "files": [os.path.relpath(file, table.folder) for file in table.files],
        "splits": table.splits,
        "patients": table.patients,
        "labels": hashlib.sha256(table.labels.tobytes()).hexdigest(),
        "normal": table.normal.tolist(),
        "backbone": backbone.weights_hash,
        "preprocessing": backbone.preprocessing.to_dict(),
        "configs": {name: config().to_dict() for name, config in CONFIGS.items()},
    }
    return hashlib.sha256(json.dumps(depends, sort_keys=True).encode()).hexdigest()[:12]


@dataclass(frozen=True)
class _Judge:
    """One training seen through one selection rule."""

    head: SignHead

    def __call__(self, features: Tensor) -> ImageScores:
        """Score embeddings ``(n, D)`` of the training's image tower."""
        return self.head(features)


@dataclass(frozen=True)
class _Trained:
    """One training: how it embeds pixels ``(n, 3, H, W)``, and a judge for each rule."""

    embed: Callable[[Tensor], Tensor]
    judges: dict[str, _Judge]


def _train(episode: Episode, backbone: Backbone) -> Iterator[tuple[str, _Trained]]:
    """Every system, trained once, judged by every rule; the rules differ in nothing else."""
    pixels = backbone.preprocessing(episode.images)
    for system, make in CONFIGS.items():
        config = make()
        embed: Callable[[Tensor], Tensor] = backbone.encode_image
        if system == ZERO_SHOT:
            head = ZeroShotCLIP(episode.bank, backbone).head
        else:
            detector = SDMAD(episode.bank, backbone, config, episode.seed, str(backbone.device))
            detector.fit(episode.images, episode.labels, progress=f"training {system}")
            head, embed = detector.head_, detector.image_features
        text = TextFeatures(head.signs, head.anchor)
        support = torch.cat([embed(part) for part in pixels.split(BATCH_SIZE)])
        judges = {}
        for rule in SELECTIONS:
            chosen = replace(config, selection=rule)
            ruled = SignHead.build(text, episode.bank, chosen)
            judges[rule] = _Judge(ruled.with_evidence(support, episode.labels))
        yield system, _Trained(embed, judges)


def _run_draw(
    setting: Setting, noisy: NoisyBank, seed: int, backbone: Backbone, folder: Path
) -> tuple[str, ...]:
    """Train and judge one draw of one level, unless that was done already; returns its notes."""
    path = setting.draw_file(folder, seed)
    if path.exists():
        with np.load(path, allow_pickle=False) as kept:
            return tuple(kept["notes"].tolist())
    support = draw_support(setting.table, setting.shots, seed)
    episode = table_episode(noisy.bank, setting.table, support, seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the printed loss's collapse the pages tell
        trained = dict(_train(episode, backbone))
    scores = _score(trained, backbone, episode, f"scoring {path.stem}")
    stored: dict[str, Any] = {
        "patients": np.array(episode.patients),
        "notes": np.array(support.notes, dtype=np.str_),
        "systems": np.array(list(scores), dtype=np.str_),
    }
    for name, found in scores.items():
        scored = judged(episode, found)
        stored |= {f"{name}/{part}": getattr(scored, part) for part in PARTS}
    for system, one in trained.items():
        stored[f"{system}/keep"] = one.judges["paper"].head.keep.cpu().numpy()
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **stored)
    results_folder(folder)
    write_bytes(path, buffer.getvalue())
    return support.notes


@torch.no_grad()
def _score(
    trained: dict[str, _Trained], backbone: Backbone, episode: Episode, title: str
) -> dict[str, ImageScores]:
    """Score the test images; each is read once, and seen once by each image tower."""
    images, parts = episode.test_images, dict[str, list[ImageScores]]()
    for start in track(range(0, len(images), BATCH_SIZE), title):
        pixels = backbone.preprocessing(images[start : start + BATCH_SIZE])
        for system, one in trained.items():
            features = one.embed(pixels)
            for rule, judge in one.judges.items():
                parts.setdefault(key(system, rule), []).append(judge(features))
    return {name: ImageScores.join(found) for name, found in parts.items()}


def _read(
    setting: Setting, folder: Path, kind: str, count: int, noisy: Sequence[NoisyBank]
) -> Level:
    """One level from its files; every draw adds as many sentences in the same places."""
    keep: dict[str, list[NDArray[np.bool_]]] = {system: [] for system in CONFIGS}
    for seed in range(len(noisy)):
        with np.load(setting.draw_file(folder, seed), allow_pickle=False) as stored:
            for system in CONFIGS:
                keep[system].append(stored[f"{system}/keep"])
    draws = read_draws(setting, range(len(noisy)), folder)
    return Level(kind, count, draws, keep, noisy[0].added)
