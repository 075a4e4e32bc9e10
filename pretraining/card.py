"""Write the embedded backbone's model card from its measured figures."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from sdmad.phantoms.cases import load_modality

HERE = Path(__file__).parent
PARTS = ("read", "held_out", "patches", "both")
WEAK = 0.7
AIMS = {
    ("brain_mri_tumor4, split ignored", 4): 77.0,
    ("brain_mri_tumor4, split ignored", 16): 87.0,
    ("oct2017_val32", 1): 89.0,
    ("oct2017_val32", 4): 95.0,
    ("nih_cxr14_64px", 4): 61.0,
}
"""What the linear probe was to reach, by data and shots."""

SIGN_AIMS = {"brain": 90.0, "chest": 90.0, "oct": 92.0}
"""What the signs that pretraining drew were to reach in the mean, by text."""


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


def _aims(folder: Path, figures: Mapping[str, Any]) -> str:
    """One row a figure that was aimed at, where ``make embedded`` was run."""
    path = folder / "measured.json"
    if not path.exists():
        return ""
    found = {
        (one["data"], one["shots"]): one
        for one in json.loads(path.read_text(encoding="utf-8"))["found"]
    }

    def mean(system: str) -> float:
        phantoms = [one for (data, _), one in found.items() if data.startswith("phantom-")]
        return float(np.mean([one[system]["mean_auroc"][0] for one in phantoms]))

    rows = [
        (f"linear probe, {data}, {shots} shot{'s' * (shots > 1)}", aim,
         found[data, shots]["linear-probe"]["mean_auroc"][0])
        for (data, shots), aim in AIMS.items() if (data, shots) in found
    ]  # fmt: skip
    rows.append(("linear probe, mean of the three phantoms", 86.0, mean("linear-probe")))
    rows.append(("zero-shot signs, mean of the three phantoms", 86.5, mean("clip-signs")))
    for name, aim in SIGN_AIMS.items():
        modality = load_modality(name)
        seen = [sign for sign in modality.signs if sign not in modality.unseen]
        patches = float(_mean(figures["test"][name]["patches"], seen))
        rows.append((f"a sign by its patches, {name}, test style", aim, patches))
    lines = [
        f"| {what} | {aim:g} | {value:.1f} | {'' if value >= aim else f'{aim - value:.1f} short'} |"
        for what, aim, value in rows
    ]
    text = (HERE / "card_aims.md").read_text(encoding="utf-8")
    return text.format(rows="\n".join(lines))


def _summary(figures: Mapping[str, Any]) -> str:
    """One row a modality and style: means over its signs."""
    lines = [
        "| modality | style | read | held out | patches | both | never drawn |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name in figures["pictures"]:
        modality = load_modality(name)
        seen = [s for s in modality.signs if s not in modality.unseen]
        for style in ("validation", "test"):
            found = figures[style][name]
            cells = [_mean(found[part], seen) for part in PARTS]
            cells.append(_mean(found["held_out"], sorted(modality.unseen)))
            lines.append(f"| {name} | {style} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _signs(figures: Mapping[str, Any]) -> str:
    """One row a sign, test style."""
    lines = [
        "| modality | sign | class token | patches | both |",
        "| --- | --- | ---: | ---: | ---: |",
    ]
    for name in figures["pictures"]:
        judged, unseen = figures["test"][name], load_modality(name).unseen
        for sign in sorted(judged["held_out"]):
            star = " (never drawn)" if sign in unseen else ""
            values = [f"{100 * judged[part][sign]:.1f}" for part in PARTS[1:]]
            lines.append(f"| {name} | {sign}{star} | {' | '.join(values)} |")
    return "\n".join(lines)


def weak_signs(figures: Mapping[str, Any]) -> list[tuple[str, str, float, float]]:
    """Drawn signs that neither the class token nor a patch ranks well in the test style.

    Args:
        figures: what ``python -m pretraining`` measured.

    Returns:
        Modality, sign, and both AUROCs.
    """
    found = []
    for name in figures["pictures"]:
        judged, unseen = figures["test"][name], load_modality(name).unseen
        for sign in sorted(judged["held_out"]):
            both = judged["held_out"][sign], judged["patches"][sign]
            if sign not in unseen and max(both) < WEAK:
                found.append((name, sign, *both))
    return found


def reasons() -> dict[str, dict[str, str]]:
    """Why a sign is hardly seen, by modality and sign."""
    known: dict[str, dict[str, str]] = yaml.safe_load((HERE / "weak_signs.yaml").read_text("utf-8"))
    return known


def _weak(figures: Mapping[str, Any]) -> str:
    known = reasons()
    rows = [
        f"| {name} | {sign} | {100 * token:.1f} | {100 * patch:.1f} "
        f"| {known.get(name, {}).get(sign, 'not known')} |"
        for name, sign, token, patch in weak_signs(figures)
    ]
    head = [
        "| modality | sign | class token | patches | why |",
        "| --- | --- | ---: | ---: | --- |",
    ]
    return "\n".join([*head, *rows])


def write_card(folder: Path) -> None:
    """Write ``MODEL_CARD.md`` beside ``figures.json``.

    Args:
        folder: where ``python -m pretraining`` wrote.
    """
    from pretraining.corpus import held_out_pairs

    figures = json.loads((folder / "figures.json").read_text(encoding="utf-8"))
    modalities = [load_modality(name) for name in figures["pictures"]]
    text = (
        (HERE / "card.md")
        .read_text(encoding="utf-8")
        .format(
            parameters=figures["parameters"] / 1e6,
            pictures=sum(figures["pictures"].values()),
            modalities=_listed([modality.title for modality in modalities]),
            minutes=figures["training_minutes"],
            pairs=sum(len(held_out_pairs(modality.signs)) for modality in modalities),
            unseen=", ".join(sign for one in modalities for sign in sorted(one.unseen)),
            measured=_measured(folder),
            summary=_summary(figures),
            weak=_weak(figures),
            aims=_aims(folder, figures),
            signs=_signs(figures),
        )
    )
    (folder / "MODEL_CARD.md").write_text(text, encoding="utf-8")


def _listed(words: list[str]) -> str:
    return f"{', '.join(words[:-1])} and {words[-1]}"
