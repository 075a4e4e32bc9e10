"""``docs/searched.md``: every trained system's settings on lite, from equal budgets.

Run ``make searched``. The authors' hyper-parameters are for large backbones that were trained
elsewhere; a rival left with them on a small one would prove nothing. So each gets eight settings,
the published ones among them, on validation phantoms that no reported table uses. The rule was
fixed before the first run: the best mean image AUROC of the three modalities; the published
settings where they are within half a point of it.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from sdmad.backbones import Backbone, load_backbone
from sdmad.baselines.registry import load_system
from sdmad.evaluation.metrics import category_auroc, image_auroc, mean_of_defined
from sdmad.output import write_text
from sdmad.phantoms.cases import STUDIED
from sdmad.signs import SignBank
from sdmad.studies.draw import Draw, Variant
from sdmad.studies.engine import Engine
from sdmad.studies.material import Material, Say, phantom_data
from sdmad.studies.outcome import Outcome
from sdmad.table import Table

IMAGES, PHANTOM_SEED, SHOTS, DRAW, NEAR = 240, 8000, 2, 100, 0.5
GRIDS: dict[str, dict[str, tuple[Any, Any]]] = {
    "sd-mad-searched": {"learning_rate": (1e-3, 3e-4), "epochs": (50, 20), "lam": (0.8, 0.5)},
    "mvfa": {"learning_rate": (1e-3, 3e-4), "epochs": (50, 15), "scale": (100.0, 25.0)},
    "aa-clip": {"text_rate": (1e-5, 1e-3), "image_rate": (5e-4, 2e-3), "scale": (100.0, 25.0)},
    "anomaly-clip": {
        "learning_rate": (1e-3, 1e-2),
        "temperature": (0.07, 0.025),
        "epochs": (15, 45),
    },
    "inctrl": {"learning_rate": (1e-3, 1e-4), "temperature": (100.0, 25.0), "epochs": (10, 3)},
    "bgad-patches": {
        "learning_rate": (2e-4, 1e-3),
        "epochs": (25, 8),
        "quantile": (0.05, 0.01),
    },
    "dra-patches": {"learning_rate": (2e-4, 5e-5), "epochs": (30, 10), "rotation": (180.0, 15.0)},
    "linear-probe-searched": {"regularisation": (1.0, 0.01, 0.03, 0.1, 0.3, 3.0, 10.0, 30.0)},
    "coop": {
        "learning_rate": (2e-3, 2e-2),
        "scale": (100.0, 25.0),
        "class_specific": (True, False),
    },
    "tip-adapter": {"alpha": (1.17, 10.0, 100.0, 300.0), "beta": (1.0, 5.5)},
    "tip-adapter-f": {"alpha": (1.17, 100.0), "beta": (1.0, 5.5), "epochs": (20, 400)},
}
"""Eight settings of each; the first value of each is published, or usual."""

CATEGORIES = ("linear-probe-searched", "coop", "tip-adapter", "tip-adapter-f")
"""Systems for categories, which are judged by the mean AUROC of these."""

HEAD = """# Settings of the compared systems on the embedded backbone
Written by `make searched`; do not edit by hand. Authors chose their hyper-parameters for large
backbones; on it each trained system gets the same budget of eight settings, the published
ones among them: {images} phantoms a modality in the *validation* style (other seeds and another
acquisition than every reported table), {shots} shots, one draw, the one question whether an image
is abnormal. The rule was fixed before the first run: the best mean image AUROC of the three
modalities, in percent, but the published settings where they come within {near} of it. What was
chosen is what `sdmad compare` uses on it; on any other backbone it uses the published ones.

{missing}
The linear probe, CoOp and both Tip-Adapters, which know categories and not one question, are judged
by the mean AUROC of the categories instead. SD-MAD + MVFA takes MVFA's settings. SD-MAD as printed
and the linear probe with scikit-learn's usual penalty stay as they are, beside rows of their own
with searched settings. SD-MAD's recommended settings had a larger budget, 6 trainings with 20 ways
to score each ([docs/settings.md](settings.md)).

"""


def candidates(name: str) -> list[dict[str, Any]]:
    """Eight settings of a system, the published ones first."""
    grid = GRIDS[name]
    return [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]


@lru_cache(maxsize=1)
def backbone() -> Backbone:
    """The embedded backbone, once."""
    return load_backbone("lite")


def engine(folder: Path, modality: str, say: Say) -> Engine:
    """Keeps the outcomes on a modality."""
    return Engine(backbone(), folder / "outcomes" / modality, say, general_only=True)


@lru_cache(maxsize=3)
def draw(folder: Path, modality: str) -> Draw:
    """The one draw of a modality's validation phantoms."""
    data = phantom_data(modality, folder, IMAGES, PHANTOM_SEED, "validation", print)
    return Draw(Material(data, SignBank.load(modality)), SHOTS, DRAW)


def variants(name: str) -> list[Variant]:
    """The candidates of a system."""
    system = load_system(name)
    return [Variant(system, replace(system.published, **one), str(one)) for one in candidates(name)]


def run(folder: Path, names: Sequence[str]) -> dict[str, list[dict[str, float]]]:
    """Image AUROC of every candidate on every modality; what is there is not run again."""
    found = {}
    for name in names:
        rows = []
        for tried in variants(name):
            row = {}
            for modality in STUDIED:
                doing = f"{name}, {tried.key}, {modality}"
                runs = engine(folder, modality, print).run([tried], [draw(folder, modality)], doing)
                row[modality] = 100 * judged(name, runs[tried.key][0])
            rows.append(row)
        found[name] = rows
    return found


def judged(name: str, outcome: Outcome) -> float:
    """The AUROC by which a system is judged."""
    scored = outcome.scored
    if name in CATEGORIES:
        return mean_of_defined(category_auroc(scored.labels, scored.scores))
    return image_auroc(scored.abnormal, scored.abnormality)


def done(folder: Path, name: str) -> bool:
    """Whether every candidate of a system was judged."""
    return all(
        engine(folder, modality, lambda _: None).stored(tried, draw(folder, modality))
        for tried in variants(name)
        for modality in STUDIED
    )


def choose(rows: Sequence[dict[str, float]]) -> int:
    """The number of the chosen candidate, by the rule."""
    means = [float(np.mean(list(row.values()))) for row in rows]
    best = int(np.argmax(means))
    return 0 if means[best] - means[0] <= NEAR else best


def table_of(name: str, rows: Sequence[dict[str, float]]) -> Table:
    """The candidates of one system, the chosen one marked."""
    chosen, body = choose(rows), []
    for number, (changes, row) in enumerate(zip(candidates(name), rows, strict=True)):
        mark = "chosen" if number == chosen else ""
        mean = float(np.mean(list(row.values())))
        body.append(
            (mark, *(f"{v:g}" for v in changes.values()), *(f"{v:.1f}" for v in row.values()),
             f"{mean:.1f}")
        )  # fmt: skip
    header = ("", *GRIDS[name], *STUDIED, "mean")
    return Table(load_system(name).title, header, tuple(body), "")


def main() -> None:
    """Run the study and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("out/searched"))
    parser.add_argument("--docs", type=Path, default=Path("docs/searched.md"))
    parser.add_argument("--system", action="append", help="run these only")
    options = parser.parse_args()
    run(options.out, options.system or tuple(GRIDS))
    whole = [name for name in GRIDS if done(options.out, name)]
    found = run(options.out, whole)
    for name, rows in found.items():
        print(name, candidates(name)[choose(rows)])
    lacking = [load_system(name).title for name in GRIDS if name not in found]
    missing = f"Not searched so far, and used as published: {', '.join(lacking)}.\n\n"
    head = HEAD.format(
        images=IMAGES, shots=SHOTS, near=f"{NEAR:g}", missing=missing if lacking else ""
    )
    parts = [head, *(table_of(name, rows).markdown() for name, rows in found.items())]
    write_text(options.docs, "\n".join(parts))


if __name__ == "__main__":
    main()
