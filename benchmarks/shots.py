"""``docs/shots.md``: how many shots it takes, every rival that fits in minutes beside the default.

Run ``make shots REALDATA=DIR``; it goes on where it was interrupted, one draw of everything after
the other, and the figures are of the draws that are whole. Phantoms in the test style with clean
and with noisy banks, and small real sets that the user has on disk; nothing is chosen here. With
``--images`` some of them are run alone: the figures of the others, CSV files in ``docs/shots``,
stay while they were made with the same. ``benchmarks/shots_page.py`` makes the page from them.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.made_with import record
from benchmarks.results_tables import (
    SHOT_FIGURES,
    SHOT_GAPS,
    SHOT_PARTS,
    Kind,
    Stored,
    kept_tables,
    store,
)
from sdmad.backbones import Backbone, load_backbone
from sdmad.backbones.base import Tower
from sdmad.baselines.registry import load_system
from sdmad.data.sets.table_data import TableData
from sdmad.detector.config import SDMADConfig
from sdmad.errors import SDMADError
from sdmad.evaluation.intervals import paired_difference, summarise_draws
from sdmad.evaluation.labelled_scores import LabelledScores
from sdmad.phantoms.cases import STUDIED
from sdmad.reporting.draw_tables import TOLD, gap_table
from sdmad.reporting.tables import METRIC_TITLES
from sdmad.signs import SignBank
from sdmad.signs.noise import MIXTURE, add_noise
from sdmad.studies.draw import Draw, Variant
from sdmad.studies.engine import Engine
from sdmad.studies.material import Material, phantom_data
from sdmad.table import Table

IMAGES, PHANTOM_SEED, SHOTS = 250, 9000, (1, 2, 4, 8, 16)
DRAWS, REAL_DRAWS, RESAMPLES = 10, 20, 500
DEFAULT = "sd-mad"
TOLD_SHOTS = (1, 4, 16)
"""Where the default is compared with each rival."""

NAMES = {"brain": "Brain", "chest": "Chest", "oct": "OCT"}
RIVALS = (
    *("clip-signs", "clip-signs-selected", "xplainer", "linear-probe", "linear-probe-searched"),
    *("tip-adapter-f", "coop"),
)
PARTS: dict[str, dict[str, Any]] = {
    "without sentences": {"text_weight": 0.0},
    "without signs' score": {"prior_weight": 0.0},
    "signs' score at full weight": {"prior_weight": 1.0},
    "signs seen in the whole image": {"sign_view": "image"},
    "a trunk's weight fitted": {"trunk_weight": "fitted"},
    "sentences and signs without image evidence": {
        "image_evidence": "none",
        "decision": "mean",
    },
    "adapters trained for 20 epochs": {"epochs": 20},
}
"""What is changed in the default, one at a time."""

PAPER = ("sd-mad-printed",)
PART_SHOTS, PART_DRAWS = (4,), 5
COUNTED = ("Draws", *(METRIC_TITLES[metric] for metric in TOLD))


@dataclass(frozen=True)
class Group:
    """Images that a table of the page is about.

    Attributes:
        key: for file names and commands; one of :data:`TITLES`.
        material: with its bank.
        draws: how many are asked for.
        shots: which numbers.
    """

    key: str
    material: Material
    draws: int
    shots: tuple[int, ...] = SHOTS

    @property
    def title(self) -> str:
        """For people."""
        return TITLES[self.key]

    @property
    def taken_apart(self) -> bool:
        """Whether the default's parts are changed one at a time on it."""
        return not self.key.endswith("-noisy")


@dataclass(frozen=True)
class RealSet:
    """A folder of the user's with a ``labels.csv``."""

    folder: str
    title: str
    bank: str
    shots: tuple[int, ...] = SHOTS
    whole: bool = False

    def group(self, data: Path) -> Group:
        """Its images; the set's own split is ignored where it is a shift of origin."""
        bank = SignBank.load(self.bank)
        opened: TableData = TableData(data / self.folder / "labels.csv", bank.names)
        if self.whole:
            opened.__dict__["table"] = replace(opened.table, splits=None)
        return Group(self.folder, Material(opened, bank), REAL_DRAWS, self.shots)


REAL = (
    RealSet("oct2017_val32", "Real OCT", "oct", (1, 2, 4)),
    RealSet("brain_mri_tumor4", "Real brain tumours", "brain_tumor", whole=True),
    RealSet("nih_cxr14_64px", "Real chest, 64 px", "chest"),
)
TITLES = {
    f"{modality}-{kind}": f"{NAMES[modality]} phantoms, {kind} bank"
    for modality in STUDIED
    for kind in ("clean", "noisy")
} | {real.folder: real.title for real in REAL}
"""What the images of each key are called, in the page's order."""


@lru_cache(maxsize=1)
def backbone() -> Backbone:
    """The embedded backbone, once."""
    return load_backbone("lite")


def groups(folder: Path, data: Path | None) -> Iterator[Group]:
    """Phantoms with clean and noisy banks, then the real sets that are there."""
    for modality in STUDIED:
        drawn = phantom_data(modality, folder, IMAGES, PHANTOM_SEED, "test", print)
        bank = SignBank.load(modality)
        noisy = add_noise(bank, MIXTURE, 2, seed=0).bank
        for kind, used in (("clean", bank), ("noisy", noisy)):
            yield Group(f"{modality}-{kind}", Material(drawn, used), DRAWS)
    for real in REAL:
        if data is not None and (data / real.folder / "labels.csv").exists():
            yield real.group(data)


@contextmanager
def each_image_once(tower: Tower) -> Iterator[None]:
    """Embed an image once for all draws and systems, by its pixels."""
    plain: Callable[[Tensor], tuple[Tensor, Any]] = tower.embed
    kept: dict[bytes, tuple[Tensor, Tensor]] = {}

    def embed(inputs: Tensor) -> tuple[Tensor, Any]:
        keys = [hashlib.blake2b(row.numpy().tobytes()).digest() for row in inputs]
        new = [i for i, key in enumerate(keys) if key not in kept]
        if new:
            hidden, state = plain(inputs[new])
            kept.update({keys[i]: (hidden[j], state[j]) for j, i in enumerate(new)})
        rows = [kept[key] for key in keys]
        return torch.stack([row[0] for row in rows]), torch.stack([row[1] for row in rows])

    tower.__dict__["embed"] = embed
    try:
        yield
    finally:
        del tower.__dict__["embed"]


def variants() -> list[Variant]:
    """The default and its rivals."""
    return [Variant(load_system(name)) for name in (*RIVALS, DEFAULT)]


def parts() -> list[Variant]:
    """The default with one thing changed, and the paper to the letter."""
    system = load_system(DEFAULT)
    changed = [Variant(system, SDMADConfig(**one), name) for name, one in PARTS.items()]
    return [*changed, *(Variant(load_system(name)) for name in PAPER)]


@dataclass(frozen=True)
class Study:
    """Outcomes of one group, kept on disk."""

    group: Group
    folder: Path

    @property
    def engine(self) -> Engine:
        """What runs the group's draws."""
        return Engine(backbone(), self.folder / "draws" / self.group.key, print)

    def run(self, asked: Sequence[Variant], shots: int, seed: int) -> None:
        """One draw; a draw that the images do not give is told and left out."""
        try:
            self.engine.run(asked, [Draw(self.group.material, shots, seed)], self.group.title)
        except SDMADError as error:
            print(f"{self.group.title}, {shots} shots, draw {seed}: {error}")

    def outcomes(self, variant: Variant, shots: int, draws: int) -> list[LabelledScores]:
        """A variant's draws, up to the first that is not there."""
        found = []
        for seed in range(draws):
            kept = self.engine.stored(variant, Draw(self.group.material, shots, seed))
            if kept is None:
                break
            found.append(kept.scored)
        return found

    @cached_property
    def compared(self) -> dict[int, dict[str, list[LabelledScores]]]:
        """By shots and system the draws that there are; systems without any are left out."""
        found = {}
        for shots in self.group.shots:
            rows = {v.system.title: self.outcomes(v, shots, self.group.draws) for v in variants()}
            there = {name: draws for name, draws in rows.items() if draws}
            if load_system(DEFAULT).title in there:
                found[shots] = there
        return found


def means(draws: Sequence[LabelledScores]) -> list[str]:
    """The three metrics, in percent."""
    found = summarise_draws(list(draws), 0)
    return [f"{100 * found[metric].mean:.1f}" for metric in TOLD]


def figures(rows: Mapping[str, Sequence[LabelledScores]]) -> Table:
    """One row a system, of its own draws.

    Args:
        rows: draws with one number of shots, by the system's title.
    """
    body = [(name, str(len(draws)), *means(draws)) for name, draws in rows.items()]
    return Table("", ("System", *COUNTED), tuple(body))


def gaps(rows: Mapping[str, Sequence[LabelledScores]]) -> Table:
    """The default less each rival, on the draws that both have; of the rows of :func:`figures`."""
    mine, found = rows[load_system(DEFAULT).title], {}
    for name, draws in rows.items():
        if draws is not mine:
            both = min(len(mine), len(draws))
            found[name] = paired_difference(mine[:both], draws[:both], RESAMPLES)
    return gap_table("", "The default less", found)


def changed_parts(study: Study) -> Table:
    """The default with one thing changed, on the draws that all have."""
    asked = [Variant(load_system(DEFAULT)), *parts()]
    there = {v: study.outcomes(v, PART_SHOTS[0], PART_DRAWS) for v in asked}
    there = {variant: draws for variant, draws in there.items() if draws}
    whole = min(map(len, there.values()), default=0)
    rows = [
        (variant.title or variant.system.title, str(whole), *means(draws[:whole]))
        for variant, draws in there.items()
    ]
    return Table("", ("Default", *COUNTED), tuple(rows))


def run(studies: Sequence[Study], draws: int) -> None:
    """Everything that is missing, one draw of all after the other."""
    for seed in range(draws):
        for study in studies:
            if seed >= study.group.draws:
                continue
            with each_image_once(backbone().image):
                for shots in study.group.shots:
                    study.run(variants(), shots, seed)
                    if study.group.taken_apart and shots in PART_SHOTS and seed < PART_DRAWS:
                        study.run(parts(), shots, seed)


def write_tables(folder: Path, studies: Sequence[Study]) -> None:
    """Write the figures of some images as CSV, beside those of the others that are as new.

    Args:
        folder: of the CSV files.
        studies: with their outcomes.
    """
    studies = [study for study in studies if study.compared]
    keys = [study.group.key for study in studies]
    made: dict[Kind, Stored] = {SHOT_FIGURES: {}, SHOT_GAPS: {}, SHOT_PARTS: {}}
    for study in studies:
        for shots, rows in study.compared.items():
            made[SHOT_FIGURES][study.group.key, str(shots)] = figures(rows)
            if shots in TOLD_SHOTS:
                made[SHOT_GAPS][study.group.key, str(shots)] = gaps(rows)
        if study.group.taken_apart:
            made[SHOT_PARTS][study.group.key,] = changed_parts(study)
    order = list(TITLES)
    for kind, mine in made.items():
        both = kept_tables(folder, kind, keys) | mine
        if both:
            store(folder, kind, sorted(both.items(), key=lambda one: order.index(one[0][0])))
    for key in keys:
        record(folder, key)


def main() -> None:
    """Run the study and write its figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder that holds the real sets")
    parser.add_argument("--out", type=Path, default=Path("out/shots"))
    parser.add_argument("--docs", type=Path, default=Path("docs/shots"))
    parser.add_argument("--images", action="append", choices=TITLES, help="these only")
    parser.add_argument("--draws", type=int, default=REAL_DRAWS, help="at most so many of each")
    parser.add_argument("--write", action="store_true", help="run nothing, write what is there")
    options = parser.parse_args()
    found = [Study(group, options.out) for group in groups(options.out, options.data)]
    studies = [one for one in found if one.group.key in (options.images or TITLES)]
    if not options.write:
        run(studies, options.draws)
    write_tables(options.docs, studies)


if __name__ == "__main__":
    main()
