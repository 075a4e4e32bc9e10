"""How good the embedded backbone is without a head of ours: zero-shot signs, a linear probe.

Run ``make embedded REALDATA=DIR``. On phantoms of the test style, and on small real sets that the
user has on disk, which nothing was chosen on. The figures go into the backbone's card.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.results import IMAGES, PHANTOM_SEED
from pretraining.card import write_card
from sdmad.backbones import LITE_FOLDER, Backbone, load_backbone
from sdmad.data.sets.table_data import TableData
from sdmad.data.table import LabelTable
from sdmad.evaluation.intervals import DrawSummary, summarise_draws
from sdmad.output import write_json
from sdmad.phantoms.cases import STUDIED
from sdmad.reporting.draw_tables import counted
from sdmad.signs import SignBank
from sdmad.studies.draw import draws_of, variants_of
from sdmad.studies.engine import Engine
from sdmad.studies.material import Material, phantom_data

SYSTEMS = ("clip-signs", "linear-probe")
PHANTOM_DRAWS = 5


@dataclass(frozen=True)
class Plan:
    """What is measured.

    Attributes:
        name: of the data.
        material: the data with a bank.
        shots: images a category.
        draws: of the support set.
    """

    name: str
    material: Material
    shots: int
    draws: int


REAL = (
    ("brain_mri_tumor4", "brain_tumor", False, ((4, 6), (16, 6))),
    ("brain_mri_tumor4", "brain_tumor", True, ((4, 6), (16, 6))),
    ("oct2017_val32", "oct", True, ((1, 20), (4, 20))),
    ("nih_cxr14_64px", "chest", True, ((4, 5),)),
)
"""Folder, bank, whether the set's own split holds, and shots with draws.

The brain set's two sides come from different places, so it is measured both ways.
"""


class Unsplit(TableData):
    """A label table whose split is ignored: support images are drawn from all of it."""

    def _read(self) -> LabelTable:
        return replace(super()._read(), splits=None)


def plans(folder: Path, real: Path) -> Iterator[Plan]:
    """Phantoms, then the real sets that are there."""
    for modality in STUDIED:
        data = phantom_data(modality, folder, IMAGES, PHANTOM_SEED, "test", print)
        material = Material(data, SignBank.load(modality))
        yield Plan(f"phantom-{modality}", material, 4, PHANTOM_DRAWS)
    for name, bank_name, split, settings in REAL:
        labels, bank = real / name / "labels.csv", SignBank.load(bank_name)
        if not labels.exists():
            print(f"{name}: no {labels}; left out")
            continue
        for shots, draws in settings:
            data = (TableData if split else Unsplit)(labels, bank.names)
            title = name if split else f"{name}, split ignored"
            yield Plan(title, Material(data, bank), shots, draws)


def measure(plan: Plan, backbone: Backbone, folder: Path) -> dict[str, object]:
    """Mean category AUROC and subset accuracy of each system, percent, with 95% intervals."""
    engine = Engine(backbone, folder / "draws" / plan.name, print)
    asked = draws_of(plan.material, plan.shots, plan.draws)
    outcomes = engine.run(variants_of(SYSTEMS), asked, f"{plan.name}, {counted(plan.shots)}")
    found: dict[str, object] = {"data": plan.name, "shots": plan.shots, "draws": plan.draws}
    for name, draws in outcomes.items():
        told = summarise_draws([one.scored for one in draws])
        found[name] = {
            metric: [round(100 * value, 1) for value in _estimate(told[metric])]
            for metric in ("mean_auroc", "subset_accuracy")
        }
    return found


def _estimate(summary: DrawSummary) -> tuple[float, float, float]:
    return summary.mean, summary.low, summary.high


def main() -> None:
    """Run what is missing, print, and write the card."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds the real sets")
    parser.add_argument("--out", type=Path, default=Path("out/embedded"))
    parser.add_argument("--backbone", type=Path, default=LITE_FOLDER, help="folder of weights")
    parser.add_argument("--no-card", action="store_true", help="print only")
    options = parser.parse_args()
    backbone = load_backbone("lite" if options.backbone == LITE_FOLDER else options.backbone)
    found = []
    for plan in plans(options.out, options.data):
        found.append(measure(plan, backbone, options.out))
        print(json.dumps(found[-1]), flush=True)
    phantoms = [one for one in found if str(one["data"]).startswith("phantom")]
    for system in SYSTEMS:
        means = [one[system]["mean_auroc"][0] for one in phantoms]  # type: ignore[index]
        print(f"{system}, mean over {len(means)} kinds of phantoms: {np.mean(means):.1f}")
    if not options.no_card:
        write_json(options.backbone / "measured.json", {"found": found})
        write_card(options.backbone)


if __name__ == "__main__":
    main()
