"""``docs/shots.md``: how many shots it takes, every rival that fits in minutes beside the default.

Run ``make shots REALDATA=DIR``; it goes on where it was interrupted, one draw of everything after
the other, and the page is of the draws that are whole. Phantoms in the test style with clean and
with noisy banks, and small real sets that the user has on disk; nothing is chosen here.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.made_with import write_page
from sdmad.backbones import Backbone, load_backbone
from sdmad.backbones.base import Tower
from sdmad.baselines.registry import load_system
from sdmad.data.sets.table_data import TableData
from sdmad.detector.config import SDMADConfig
from sdmad.errors import SDMADError
from sdmad.evaluation.intervals import PairedDifference, paired_difference, summarise_draws
from sdmad.evaluation.labelled_scores import LabelledScores
from sdmad.output import write_bytes
from sdmad.phantoms.cases import STUDIED
from sdmad.reporting.draw_tables import TOLD, counted, difference_cell, gap_table
from sdmad.reporting.plots import DASHES, PALETTE, new_figure, save_figure, style_axes
from sdmad.reporting.tables import METRIC_TITLES
from sdmad.signs import SignBank
from sdmad.signs.noise import MIXTURE, add_noise
from sdmad.studies.draw import Draw, Variant
from sdmad.studies.engine import Engine
from sdmad.studies.material import Material, phantom_data
from sdmad.table import MISSING, Table

IMAGES, PHANTOM_SEED, SHOTS = 250, 9000, (1, 2, 4, 8, 16)
DRAWS, REAL_DRAWS, RESAMPLES = 10, 20, 500
DEFAULT = "sd-mad"
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

HEAD = """# How many shots it takes
Written by `make shots`; do not edit by hand. On the embedded backbone. Phantoms: {images} images in
the test style, seed {seed}, 10 draws asked; clean banks, and banks with two sentences of noise a
category. Small real sets: 20 draws asked; nothing was chosen on them. A system's settings on this
backbone are those of [searched.md](searched.md), the default's those of [settings.md](settings.md).
The figures are means over the draws in percent; a system with fewer draws than the others says so,
and is compared on those that both have.

The real sets: 32 OCT images of 25 patients (bank `oct`); 280 brain MRI with tumours (bank
`brain_tumor`), whose own split, a shift of origin, is ignored, and whose patients are unknown; 651
chest radiographs of 64 px (bank `chest`), so the figures say nothing about radiographs.

![AUROC, subset accuracy and macro F1 against shots](shots.png)

"""


@dataclass(frozen=True)
class Group:
    """Images that a line of the page is about.

    Attributes:
        key: for file names.
        title: for people.
        material: with its bank.
        draws: how many are asked for.
        shots: which numbers.
    """

    key: str
    title: str
    material: Material
    draws: int
    shots: tuple[int, ...] = SHOTS

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
        return Group(self.folder, self.title, Material(opened, bank), REAL_DRAWS, self.shots)


REAL = (
    RealSet("oct2017_val32", "Real OCT", "oct", (1, 2, 4)),
    RealSet("brain_mri_tumor4", "Real brain tumours", "brain_tumor", whole=True),
    RealSet("nih_cxr14_64px", "Real chest, 64 px", "chest"),
)


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
            title = f"{NAMES[modality]} phantoms, {kind} bank"
            yield Group(f"{modality}-{kind}", title, Material(drawn, used), DRAWS)
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


def means(draws: Sequence[LabelledScores]) -> list[float]:
    """The three metrics, in percent."""
    found = summarise_draws(list(draws), 0)
    return [100 * found[metric].mean for metric in TOLD]


def figures(study: Study) -> Table:
    """One row a system: AUROC / subset accuracy / macro F1 by shots."""
    compared, rows = study.compared, []
    most = {shots: max(map(len, found.values())) for shots, found in compared.items()}
    for name in (v.system.title for v in variants()):
        cells = []
        for shots in study.group.shots:
            draws = compared.get(shots, {}).get(name, [])
            told = " / ".join(f"{value:.1f}" for value in means(draws)) if draws else MISSING
            fewer = f" ({counted(len(draws), 'draw')})" if 0 < len(draws) < most[shots] else ""
            cells.append(told + fewer)
        rows.append((name, *cells))
    header = [f"{counted(s)} ({counted(most.get(s, 0), 'draw')})" for s in study.group.shots]
    caption = "Mean AUROC of the categories / subset accuracy / macro F1, by shots a category."
    return Table(study.group.title, ("", *header), tuple(rows), caption)


Gaps = dict[str, dict[str, PairedDifference]]


def gaps(study: Study, shots: int) -> Gaps:
    """The default less each rival, on the draws that both have, with intervals."""
    rows = study.compared[shots]
    title = load_system(DEFAULT).title
    found = {}
    for name, draws in rows.items():
        if name != title:
            mine = rows[title]
            both = min(len(mine), len(draws))
            found[name] = paired_difference(mine[:both], draws[:both], RESAMPLES)
    return found


def verdict(found: Mapping[str, Gaps]) -> str:
    """How often the default is ahead and behind, by intervals clear of zero."""
    lines = []
    for metric in TOLD:
        ahead = behind = even = 0
        worst: list[str] = []
        for title, rivals in found.items():
            for name, one in rivals.items():
                gap = one[metric]
                if gap.low > 0:
                    ahead += 1
                elif gap.high < 0:
                    behind += 1
                    worst.append(f"{name} on {title} ({difference_cell(gap)})")
                else:
                    even += 1
        told = f"; behind {'; '.join(worst)}" if worst else ""
        lines.append(
            f"- {METRIC_TITLES[metric]}: ahead of the rival in {ahead} comparisons, behind in "
            f"{behind}, not told apart in {even}{told}."
        )
    return "\n".join(lines) + "\n"


def picture(studies: Sequence[Study]) -> bytes:
    """A row a group of images, a column a metric, a line a system."""
    shown = [study for study in studies if study.compared]
    figure = new_figure(3.4 * len(TOLD), 2.5 * len(shown) + 0.6)
    axes = figure.subplots(len(shown), len(TOLD), squeeze=False)
    mine = load_system(DEFAULT).title
    for study, line in zip(shown, axes, strict=True):
        for column, (metric, axis) in enumerate(zip(TOLD, line, strict=True)):
            for number, variant in enumerate(variants()):
                name = variant.system.title
                known = {n: rows[name] for n, rows in study.compared.items() if name in rows}
                values = [means(draws)[column] for draws in known.values()]
                axis.plot(
                    list(known), values, label=name, marker="o", markersize=3,
                    linewidth=2.6 if name == mine else 1.1, color=PALETTE[number % len(PALETTE)],
                    linestyle=DASHES[number % len(DASHES)] if name != mine else "-",
                )  # fmt: skip
            style_axes(axis)
            axis.set_xscale("log", base=2)
            axis.set_xticks(list(study.compared), [str(s) for s in study.compared])
            axis.set_title(f"{study.group.title}\n{METRIC_TITLES[metric]}", fontsize=8)
    for axis in axes[-1]:
        axis.set_xlabel("shots a category")
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    return save_figure(figure, "png")


def part_table(studies: Sequence[Study]) -> Table:
    """The default with one thing changed, on the draws that all have, without noisy banks."""
    shots = PART_SHOTS[0]
    clean = [study for study in studies if study.group.taken_apart]
    asked = [Variant(load_system(DEFAULT)), *parts()]
    there = {v: [study.outcomes(v, shots, PART_DRAWS) for study in clean] for v in asked}
    there = {variant: found for variant, found in there.items() if all(found)}
    whole = min((len(draws) for found in there.values() for draws in found), default=0)
    rows = []
    for variant, found in there.items():
        values = [means(draws[:whole]) for draws in found]
        cells = [" / ".join(f"{v:.1f}" for v in one) for one in (np.mean(values, axis=0), *values)]
        rows.append((variant.title or variant.system.title, *cells))
    header = ("", "Mean", *(study.group.title for study in clean))
    title = f"The default with one thing changed, {counted(shots)}, {counted(whole, 'draw')}"
    caption = "Mean AUROC of the categories / subset accuracy / macro F1."
    return Table(title, header, tuple(rows), caption)


def page(studies: Sequence[Study]) -> str:
    """The document."""
    text = [HEAD.format(images=IMAGES, seed=PHANTOM_SEED)]
    for shots in (1, 4, 16):
        found = {s.group.title: gaps(s, shots) for s in studies if shots in s.compared}
        if found:
            text.append(f"**{counted(shots)}**, by 95% intervals of paired differences:\n")
            text.append(verdict(found))
    text += [figures(study).markdown() for study in studies if study.compared]
    text.append(part_table(studies).markdown())
    text.append("## Paired differences\nIn points of percent, [95% over draws and patients].\n")
    for study, shots in itertools.product(studies, (1, 4, 16)):
        if shots in study.compared:
            title = f"{study.group.title}, {counted(shots)}"
            text.append(gap_table(title, "The default less", gaps(study, shots)).markdown())
    return "\n".join(text)


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


def main() -> None:
    """Run the study and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder that holds the real sets")
    parser.add_argument("--out", type=Path, default=Path("out/shots"))
    parser.add_argument("--docs", type=Path, default=Path("docs"))
    parser.add_argument("--draws", type=int, default=REAL_DRAWS, help="at most so many of each")
    parser.add_argument("--page-only", action="store_true", help="of what is there")
    options = parser.parse_args()
    studies = [Study(group, options.out) for group in groups(options.out, options.data)]
    if not options.page_only:
        run(studies, options.draws)
    write_bytes(options.docs / "shots.png", picture(studies))
    write_page(options.docs / "shots.md", page(studies))


if __name__ == "__main__":
    main()
