"""Write the embedded backbone's model card from its measured figures."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sdmad.phantoms.cases import load_modality

HERE = Path(__file__).parent


def _mean(values: Mapping[str, float], names: list[str]) -> str:
    chosen = [values[n] for n in names if n in values]
    return f"{100 * np.mean(chosen):.1f}" if chosen else "-"


def _measured(folder: Path) -> str:
    """The table of what ``make embedded`` found, if it was run."""
    path = folder / "measured.json"
    if not path.exists():
        return ""

    def cell(one: Mapping[str, Any], system: str) -> str:
        mean, low, high = one[system]["mean_auroc"]
        return f"{mean} [{low}, {high}]"

    rows = [
        f"| {one['data']} | {one['shots']} | {one['draws']} | {cell(one, 'clip-signs')} "
        f"| {cell(one, 'linear-probe')} |"
        for one in json.loads(path.read_text(encoding="utf-8"))["found"]
    ]
    text = (HERE / "card_measured.md").read_text(encoding="utf-8")
    return text.format(rows="\n".join(rows))


def write_card(folder: Path) -> None:
    """Write ``MODEL_CARD.md`` beside ``figures.json``.

    Args:
        folder: where ``python -m pretraining`` wrote.
    """
    from pretraining.corpus import held_out_pairs

    figures = json.loads((folder / "figures.json").read_text(encoding="utf-8"))
    parts = ("read", "held_out", "patches", "both")
    lines = [
        "| modality | style | read | held out | patches | both | never drawn |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    details = [
        "| modality | sign | class token | patches | both |",
        "| --- | --- | ---: | ---: | ---: |",
    ]
    unseen: list[str] = []
    pairs = 0
    for name in figures["pictures"]:
        modality = load_modality(name)
        seen = [s for s in modality.signs if s not in modality.unseen]
        apart = sorted(modality.unseen)
        unseen += apart
        pairs += len(held_out_pairs(modality.signs))
        for style in ("validation", "test"):
            found = figures[style][name]
            cells = [_mean(found[part], seen) for part in parts]
            cells.append(_mean(found["held_out"], apart))
            lines.append(f"| {name} | {style} | {' | '.join(cells)} |")
        judged = figures["test"][name]
        for sign in sorted(judged["held_out"]):
            star = " (never drawn)" if sign in modality.unseen else ""
            values = [f"{100 * judged[part][sign]:.1f}" for part in parts[1:]]
            details.append(f"| {name} | {sign}{star} | {' | '.join(values)} |")
    text = (
        (HERE / "card.md")
        .read_text(encoding="utf-8")
        .format(
            parameters=figures["parameters"] / 1e6,
            pictures=sum(figures["pictures"].values()),
            modalities=_listed([load_modality(name).title for name in figures["pictures"]]),
            minutes=figures["training_minutes"],
            pairs=pairs,
            unseen=", ".join(unseen),
            measured=_measured(folder),
            summary="\n".join(lines),
            signs="\n".join(details),
        )
    )
    (folder / "MODEL_CARD.md").write_text(text, encoding="utf-8")


def _listed(words: list[str]) -> str:
    return f"{', '.join(words[:-1])} and {words[-1]}"
