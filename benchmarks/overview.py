"""``docs/overview.png``: what the program does, in one picture made by the program.

Run ``make picture``: three phantoms of the test style, the detector fitted on 4 shots of others.
"""

from __future__ import annotations

import argparse
import textwrap
from pathlib import Path

import matplotlib as mpl
import numpy as np

mpl.use("Agg")
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sdmad.backbones import load_backbone
from sdmad.detector.findings import Explanation
from sdmad.detector.sdmad import SDMAD
from sdmad.phantoms.cases import STUDIED, Case, draw_cases, load_modality
from sdmad.signs import SignBank

INK, MUTED, FOUND, OTHER = "#1b1f24", "#6b7280", "#0f766e", "#cbd5e1"
POOL, SHOTS, SHOWN = 260, 4, 4


def support_of(cases: list[Case], names: tuple[str, ...]) -> list[int]:
    """The first few cases of each category and of normal images."""
    chosen: set[int] = set()
    for name in names:
        chosen |= set([i for i, c in enumerate(cases) if name in c.categories][:SHOTS])
    return sorted(chosen | set([i for i, c in enumerate(cases) if not c.categories][:SHOTS]))


def draw_panel(picture: Axes, bars: Axes, case: Case, found: Explanation) -> None:
    """One image with its true categories, and the signs that decided as bars."""
    picture.imshow(case.image, cmap="gray", vmin=0, vmax=255)
    picture.axis("off")
    truth = "\n".join(textwrap.wrap("true: " + (", ".join(case.categories) or "normal"), 44))
    picture.set_title(truth, color=INK, fontsize=11)
    entries = sorted(found.categories, key=lambda c: -c.score)[:SHOWN]
    for row, entry in enumerate(entries):
        above = entry.deciding_sign.similarity - found.anchor_similarity
        bars.barh(-row, above, height=0.2, color=FOUND if entry.found else OTHER)
        name = textwrap.shorten(entry.category, 40, placeholder="...")
        sign = textwrap.shorten(entry.deciding_sign.sentence, 58, placeholder="...")
        mark, colour = ("found: ", FOUND) if entry.found else ("", MUTED)
        where = {"transform": bars.get_yaxis_transform(), "va": "center"}
        bars.text(0, -row + 0.47, mark + name, fontsize=10, color=colour, weight="bold", **where)
        bars.text(0, -row + 0.25, sign, fontsize=8.5, color=INK, **where)
    bars.axvline(0, color=OTHER, linewidth=0.8, zorder=0)
    reach = max(0.05, *(abs(x) for x in bars.get_xlim()))
    bars.set_xlim(-reach, reach)
    bars.set_ylim(-SHOWN + 0.7, 0.7)
    bars.set_yticks([])
    bars.spines[["top", "right", "left"]].set_visible(False)
    bars.tick_params(labelsize=8, colors=MUTED)
    bars.set_xlabel("cosine of the best sign above the normal anchor", fontsize=9, color=MUTED)


def main() -> None:
    """Fit, explain and draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs/overview.png"))
    options = parser.parse_args()
    backbone = load_backbone("lite")
    figure = Figure(figsize=(13, 8), dpi=100, facecolor="white")
    grid = figure.subplots(
        2, 3, height_ratios=(1.1, 1),
        gridspec_kw={"left": 0.03, "right": 0.97, "top": 0.92, "bottom": 0.08, "hspace": 0.08},
    )  # fmt: skip
    for column, name in enumerate(STUDIED):
        bank = SignBank.load(name)
        cases = list(draw_cases(load_modality(name), POOL, 77))
        chosen = support_of(cases[: POOL // 2], bank.names)
        labels = np.array([[float(n in cases[i].categories) for n in bank.names] for i in chosen])
        detector = SDMAD(bank, backbone).fit([cases[i].image for i in chosen], labels)
        shown = next(c for c in cases[POOL // 2 :] if c.categories)  # the first, not the best
        explanation = detector.explain(shown.image)
        draw_panel(grid[0, column], grid[1, column], shown, explanation)
    figure.savefig(options.out)


if __name__ == "__main__":
    main()
