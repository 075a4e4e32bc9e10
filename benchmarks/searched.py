"""``docs/searched.md``: the compared systems' settings on lite, from equal budgets.

Run ``make searched``; it goes on where it was interrupted. With ``--system`` one search is run
alone: what the page tells of the others, of the same grids and backbone, stays.

The authors' hyper-parameters are for large backbones that were trained elsewhere; a rival left with
them on a small one would prove nothing. So each gets eight settings, the published ones among them,
and the rule by which ``SDMADConfig()`` was chosen (:mod:`benchmarks.choose`). It was fixed before
the first run.
"""

from __future__ import annotations

import argparse
import itertools
import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.choose import CANDIDATES
from benchmarks.made_with import LINE, changed, write_page
from benchmarks.validation import KINDS, NEAR, Figures, choose, ranks
from sdmad.backbones import Backbone, load_backbone
from sdmad.baselines.registry import load_system
from sdmad.evaluation.metrics import image_auroc, macro_f1, mean_auroc, subset_accuracy
from sdmad.phantoms.cases import STUDIED
from sdmad.signs import SignBank
from sdmad.studies.draw import Draw, Variant
from sdmad.studies.engine import Engine
from sdmad.studies.material import Material, Say, phantom_data
from sdmad.studies.outcome import Outcome
from sdmad.table import Table, escaped

IMAGES, PHANTOM_SEED, DRAW = 240, 8000, 100
GRIDS: dict[str, dict[str, tuple[Any, ...]]] = {
    "sd-mad-searched": {"learning_rate": (1e-3, 3e-4), "epochs": (50, 20), "lam": (0.8, 0.5)},
    "mvfa": {"learning_rate": (1e-3, 3e-4), "epochs": (50, 15), "scale": (100.0, 25.0)},
    "aa-clip": {"text_rate": (1e-5, 1e-3), "image_rate": (5e-4, 2e-3), "scale": (100.0, 25.0)},
    "anomaly-clip": {
        "learning_rate": (1e-3, 1e-2),
        "temperature": (0.07, 0.025),
        "epochs": (15, 45),
    },
    "inctrl": {"learning_rate": (1e-3, 1e-4), "temperature": (100.0, 25.0), "epochs": (10, 3)},
    "bgad-imagenet": {
        "learning_rate": (2e-4, 1e-3),
        "epochs": (25, 8),
        "quantile": (0.05, 0.01),
    },
    "dra-imagenet": {"learning_rate": (2e-4, 5e-5), "epochs": (30, 10), "rotation": (180.0, 15.0)},
    "patchcore": {"kept": (0.1, 1.0), "neighbours": (9, 1), "size": (240, 336)},
    "anomaly-dino": {"rotations": (8, 1), "top": (0.01, 0.1), "block": (24, 12)},
    "univad-embedded": {"clusters": (2, 5), "coreset": (0.01, 0.1), "scale": (100.0, 25.0)},
    "linear-probe-searched": {"regularisation": (1.0, 0.01, 0.03, 0.1, 0.3, 3.0, 10.0, 30.0)},
    "coop": {
        "learning_rate": (2e-3, 2e-2),
        "scale": (100.0, 25.0),
        "class_specific": (True, False),
    },
    "tip-adapter": {"alpha": (1.17, 10.0, 100.0, 300.0), "beta": (1.0, 5.5)},
    "tip-adapter-f": {"alpha": (1.17, 100.0), "beta": (1.0, 5.5), "epochs": (20, 400)},
    "cross-modal": {
        "learning_rate": (1e-3, 1e-4),
        "weight_decay": (0.0, 0.01),
        "scale": (100.0, 25.0),
    },
    "ape": {"alpha": (2.0, 10.0, 100.0, 300.0), "beta": (1.0, 5.5)},
    "ape-t": {"alpha": (2.0, 100.0), "beta": (1.0, 5.5), "epochs": (20, 400)},
    "lp-plus-plus": {"blending": (250.0, 100.0, 50.0, 25.0), "epochs": (300, 50)},
    "clap": {"learning_rate": (0.1, 0.01), "epochs": (300, 50), "scale": (100.0, 25.0)},
    "proker": {"penalty": (0.05, 0.5, 5.0, 50.0), "beta": (1.5, 5.5)},
}
"""Eight settings of each; the first value of each is published, or usual."""

CATEGORIES = (
    *("linear-probe-searched", "tip-adapter", "tip-adapter-f", "coop", "sd-mad-searched"),
    *("cross-modal", "ape", "ape-t", "lp-plus-plus", "clap", "proker"),
)
"""Systems for categories; the others are asked whether an image is abnormal."""

METRICS = ("AUROC", "subset", "F1")

HEAD = """# Settings of the compared systems on the embedded backbone
Written by `make searched`; do not edit by hand. Authors chose their hyper-parameters for large
backbones. On the embedded one each trained system, and each newer memory of normal images, gets
the same budget, {count} settings, the published ones first among them, on {images} phantoms a
modality and style that no reported table uses, and one rule, fixed before the first run: in each
cell (modality, style, shots) the settings are ranked by each metric, the least mean rank wins, but
the first of the list within {near:g} of it is taken. `SDMADConfig()` had as many candidates and
the same rule, over more draws and shots ([settings.md](settings.md)).

- Systems for categories: mean AUROC of the categories, subset accuracy, macro F1; styles
  *validation* and *distant*; 1 and 4 shots; one draw.
- Systems that answer whether an image is abnormal: image AUROC; *validation*; 2 shots; one draw.

What was chosen is what `sdmad compare` uses on the embedded backbone; on any other it uses the
published settings. SD-MAD + MVFA takes MVFA's. SD-MAD as printed and the linear probe with
scikit-learn's usual penalty stay as they are, beside rows of their own with searched settings.
Figures are means over the cells, in percent. The settings of LP++ and APE-T were written down after
some of their values had been tried on one draw of these phantoms; those of all others before.

{missing}"""


def candidates(name: str) -> list[dict[str, Any]]:
    """Eight settings of a system, the published ones first."""
    grid = GRIDS[name]
    return [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]


@lru_cache(maxsize=1)
def backbone() -> Backbone:
    """The embedded backbone, once."""
    return load_backbone("lite")


def engine(folder: Path, cell: str, say: Say) -> Engine:
    """Keeps the outcomes of a cell."""
    return Engine(backbone(), folder / "outcomes" / cell, say, general_only=True)


@lru_cache(maxsize=6)
def material(folder: Path, modality: str, style: str) -> Material:
    """A modality's phantoms in a style."""
    data = phantom_data(modality, folder, IMAGES, PHANTOM_SEED, style, print)
    return Material(data, SignBank.load(modality))


def draws(folder: Path, name: str) -> dict[str, Draw]:
    """The cells in which a system's settings are judged, each one draw."""
    styles, shots_of = (KINDS, (1, 4)) if name in CATEGORIES else (KINDS[:1], (2,))
    return {
        f"{modality}-{style}-{shots}-{DRAW}": Draw(material(folder, modality, style), shots, DRAW)
        for modality, style, shots in itertools.product(STUDIED, styles, shots_of)
    }


def variants(name: str) -> list[Variant]:
    """The candidates of a system."""
    system = load_system(name)
    return [Variant(system, replace(system.published, **one), str(one)) for one in candidates(name)]


def run(folder: Path, name: str) -> dict[str, Figures]:
    """What every candidate reaches in every cell; what is there is not run again."""
    found = {}
    for cell, draw in draws(folder, name).items():
        runs = engine(folder, cell, print).run(variants(name), [draw], f"{name}, {cell}")
        found[cell] = {key: judged(name, outcomes[0]) for key, outcomes in runs.items()}
    return found


def judged(name: str, outcome: Outcome) -> list[float]:
    """The metrics by which a system is judged."""
    scored = outcome.scored
    if name not in CATEGORIES:
        return [float(image_auroc(scored.abnormal, scored.abnormality))]
    return [
        float(mean_auroc(scored.labels, scored.scores)),
        float(subset_accuracy(scored.labels, scored.decisions)),
        float(macro_f1(scored.labels, scored.decisions)),
    ]


def done(folder: Path, name: str) -> bool:
    """Whether every candidate of a system was judged."""
    return all(
        engine(folder, cell, lambda _: None).stored(tried, draw)
        for cell, draw in draws(folder, name).items()
        for tried in variants(name)
    )


def missing(found: Collection[str]) -> str:
    """What is said of the systems whose search has not run, and what they are used with.

    Args:
        found: names of those whose search has.
    """
    lacking = [load_system(name) for name in GRIDS if name not in found]
    former = ", ".join(one.title for one in lacking if one.searched is not None)
    published = ", ".join(one.title for one in lacking if one.searched is None)
    told = {"as found on the former one, nano": former, "as published": published}
    return "".join(
        f"Not searched on it so far, and used {how}: {which}.\n\n"
        for how, which in told.items()
        if which
    )


def table_of(name: str, cells: dict[str, Figures]) -> Table:
    """The candidates of one system, the chosen one marked."""
    placed, body = ranks(cells), []
    chosen = choose(placed)
    for changes, (key, rank) in zip(candidates(name), placed.items(), strict=True):
        means = np.mean([figures[key] for figures in cells.values()], axis=0)
        body.append(
            ("chosen" if key == chosen else "", *(f"{v:g}" for v in changes.values()),
             f"{rank:.2f}", *(f"{100 * mean:.1f}" for mean in means))
        )  # fmt: skip
    metrics = METRICS if name in CATEGORIES else ("image AUROC",)
    header = ("", *GRIDS[name], "mean rank", *metrics)
    return Table(load_system(name).title, header, tuple(body), "")


def kept(page: Path) -> dict[str, str]:
    """The tables that a page holds already, by the system, if it is of these grids and weights."""
    text = page.read_text("utf-8") if page.exists() else ""
    if changed("searched.md", text):
        return {}
    _, *tables = re.split("^(?=### )", LINE.sub("", text), flags=re.MULTILINE)
    by_title = {table.partition("\n")[0]: table.rstrip("\n") + "\n" for table in tables}
    headings = {name: f"### {escaped(load_system(name).title)}" for name in GRIDS}
    return {name: by_title[head] for name, head in headings.items() if head in by_title}


def page_of(tables: Mapping[str, str]) -> str:
    """The page, of the tables by the system."""
    head = HEAD.format(images=IMAGES, count=len(CANDIDATES), near=NEAR, missing=missing(tables))
    return "\n".join([head, *(tables[name] for name in GRIDS if name in tables)])


def main() -> None:
    """Run the study and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("out/searched"))
    parser.add_argument("--docs", type=Path, default=Path("docs/searched.md"))
    parser.add_argument("--system", action="append", help="run these only")
    options = parser.parse_args()
    for name in options.system or (*CATEGORIES, *(one for one in GRIDS if one not in CATEGORIES)):
        print(name, choose(ranks(run(options.out, name))), flush=True)
    found = {name: run(options.out, name) for name in GRIDS if done(options.out, name)}
    tables = {name: table_of(name, cells).markdown() for name, cells in found.items()}
    write_page(options.docs, page_of(kept(options.docs) | tables))


if __name__ == "__main__":
    main()
