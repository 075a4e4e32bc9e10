"""``docs/suggested.md``: does it pay to label what ``sdmad suggest`` names, rather than any images?

Run ``make suggested REALDATA=DIR``; it goes on where it was interrupted. Half of the patients are
the pool, the other half is judged. From a draw of one shot on, eight images of the pool are
labelled at a time: those that are suggested, or any.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from benchmarks import choose_suggesting
from benchmarks.choose_suggesting import STEP, Choice, Pool, any_images
from benchmarks.made_with import line, write_page
from benchmarks.shots import Group, backbone, groups
from benchmarks.validation import embed
from sdmad.detector.head import TextFeatures
from sdmad.errors import InputError
from sdmad.evaluation.limits import LEVEL
from sdmad.method.adapters import AdaptedTower
from sdmad.output import write_bytes, write_json
from sdmad.phantoms.cases import STUDIED
from sdmad.reporting.plots import PALETTE, new_figure, save_figure, style_axes
from sdmad.table import Table

DRAWS, ROUNDS = 10, 8
WAYS: dict[str, Callable[[Choice], list[int]]] = {
    "suggested": choose_suggesting.WAYS["doubt, spread"],
    "any": any_images,
}

Curves = dict[str, list[list[float]]]
"""AUROC after each round, a list a draw, by the way of labelling."""

HEAD = """# Which image to label next?
Written by `make suggested`; do not edit by hand. The default on the embedded backbone. Half of the
patients are the pool, the other half is judged; from a draw of one shot a category on, {step}
images of the pool are labelled at a time: those that `sdmad suggest` names, or any. Mean AUROC of
the categories in percent, mean of {draws} draws, and the paired difference [95% over the draws,
Student's]. Phantoms in the test style; on the real sets ([shots.md](shots.md) describes them)
nothing was chosen.

![AUROC against labels](suggested.png)

"""


def asked(out: Path, data: Path | None) -> Iterator[Group]:
    """Phantoms with clean banks, then the real sets that are large enough."""
    for group in groups(out, data):
        if not group.key.endswith("-noisy") and len(group.material.table) >= 2 * STEP * ROUNDS:
            yield group


def pool_of(group: Group) -> Pool:
    """A group's images, embedded."""
    table, bank = group.material.table, group.material.bank
    features = embed(backbone(), AdaptedTower(backbone().image, {}), table.files)
    return Pool(table, bank, backbone(), features, TextFeatures.encode(bank, backbone()))


def curves_of(group: Group, out: Path) -> Curves:
    """A group's curves; those that are kept, of the same settings, are not computed again."""
    kept = out / "suggested" / f"{group.key}.json"
    made = line("suggested.md")
    if kept.exists():
        there = json.loads(kept.read_text(encoding="utf-8"))
        if there["made"] == made:
            return dict(there["curves"])
    pool, found = pool_of(group), {way: [] for way in WAYS}
    for seed in range(DRAWS):
        try:
            drawn = {name: pool.curve(way, seed, ROUNDS) for name, way in WAYS.items()}
        except InputError as error:  # the pool's half lacks a category
            print(f"{group.title}, draw {seed}: {error}")
            continue
        for way, values in drawn.items():
            found[way].append(values)
        print(f"{group.title}: draw {seed + 1} of {DRAWS}", flush=True)
    kept.parent.mkdir(parents=True, exist_ok=True)
    write_json(kept, {"made": made, "curves": found})
    return found


def gap(one: Sequence[float], other: Sequence[float]) -> str:
    """Mean difference of the draws with Student's interval."""
    values = np.array(one) - np.array(other)
    reach = student.ppf((1 + LEVEL) / 2, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5
    mean = values.mean()
    return f"{mean:+.1f} [{mean - reach:+.1f}, {mean + reach:+.1f}]"


def main() -> None:
    """Run it and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder that holds the real sets")
    parser.add_argument("--out", type=Path, default=Path("out/shots"))
    parser.add_argument("--settings", type=Path, default=Path("out/settings"))
    parser.add_argument("--docs", type=Path, default=Path("docs"))
    options = parser.parse_args()
    curves = {
        group.title: {way: np.array(rows) for way, rows in curves_of(group, options.out).items()}
        for group in asked(options.out, options.data)
    }
    write_bytes(options.docs / "suggested.png", picture(curves))
    chosen = choose_suggesting.section(choose_suggesting.run(options.settings, STUDIED))
    write_page(options.docs / "suggested.md", f"{page(curves)}\n{chosen}")


def page(curves: dict[str, dict[str, NDArray[np.float64]]]) -> str:
    """The document."""
    shown = (0, 1, 2, 4, ROUNDS)
    rows = []
    for title, ways in curves.items():
        rows += [(title, way, *(f"{ways[way][:, r].mean():.1f}" for r in shown)) for way in WAYS]
        pairs = [(ways["suggested"][:, r].tolist(), ways["any"][:, r].tolist()) for r in shown]
        rows.append((title, "difference", *(gap(*pair) for pair in pairs)))
    header = ("", "Labelled", *(f"{r * STEP} more images" for r in shown))
    table = Table("AUROC against labels", header, tuple(rows), "")
    return HEAD.format(step=STEP, draws=DRAWS) + table.markdown()


def picture(curves: dict[str, dict[str, NDArray[np.float64]]]) -> bytes:
    """A panel a group of images, a line a way."""
    figure = new_figure(3.2 * len(curves), 3.0)
    panels = figure.subplots(1, len(curves), squeeze=False)[0]
    for axis, (title, ways) in zip(panels, curves.items(), strict=True):
        for colour, way in zip(PALETTE, WAYS, strict=False):
            values = ways[way].mean(axis=0)
            axis.plot(STEP * np.arange(len(values)), values, color=colour, marker="o",
                      markersize=3, label=way)  # fmt: skip
        style_axes(axis)
        axis.set_title(title, fontsize=9)
        axis.set_xlabel("images labelled beyond one shot")
    panels[0].set_ylabel("mean AUROC, percent")
    panels[0].legend(frameon=False, fontsize=8)
    return save_figure(figure, "png")


if __name__ == "__main__":
    main()
