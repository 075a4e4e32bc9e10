"""Write the nano backbone's model card from its measured figures."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from sdmad.phantoms.cases import MODALITIES, load_modality

TEXT = """# The nano backbone
Written by `python -m pretraining` from `figures.json`; do not edit by hand.

**What it is.** A CLIP of {parameters:.2f} million parameters in the `transformers` format: 128 px,
patch 16, 6 image blocks and 4 text blocks of width 128, with a byte-level subword tokenizer. It was
pretrained from nothing on {pictures:,} procedural phantoms of brain MRI, chest X-ray and retinal
OCT, drawn and captioned by this project, in {minutes:.0f} minutes on 2 CPU cores (`make nano`).

**What it is for.** Learning the tool, tests, and studies of the method on phantoms, with nothing to
download.

**What it is NOT.** Not a medical device and not a medical model: it has never seen an image of a
patient. Do not use it to judge one.

**What it has read.** Captions of signs in varied wordings (`wordings.txt`), never a category's name
unless the name is itself a visible sign (nodule, mass). Some wordings and {pairs} pairs of signs
were held out. Signs that were never drawn or spoken of: {unseen}.

## Zero-shot AUROC of a sign, percent
Mean over the signs, each scored by the mean cosine with its bare wordings, on 500 phantoms a
modality in a style that pretraining did not see. "Held out" are wordings that it never read;
"never drawn" are the signs that pretraining never showed.

{summary}

## Every sign, test style, held-out wordings
{signs}
"""


def _mean(values: Mapping[str, float], names: list[str]) -> str:
    chosen = [values[n] for n in names if n in values]
    return f"{100 * np.mean(chosen):.1f}" if chosen else "-"


def write_card(folder: Path) -> None:
    """Write ``MODEL_CARD.md`` beside ``figures.json``.

    Args:
        folder: where ``python -m pretraining`` wrote.
    """
    from pretraining.corpus import held_out_pairs

    figures = json.loads((folder / "figures.json").read_text(encoding="utf-8"))
    lines = [
        "| modality | style | read | held out | never drawn |",
        "| --- | --- | --- | --- | --- |",
    ]
    details = ["| modality | sign | AUROC |", "| --- | --- | --- |"]
    unseen: list[str] = []
    pairs = 0
    for name in MODALITIES:
        modality = load_modality(name)
        seen = [s for s in modality.signs if s not in modality.unseen]
        apart = sorted(modality.unseen)
        unseen += apart
        pairs += len(held_out_pairs(modality.signs))
        for style in ("validation", "test"):
            found = figures[style][name]
            cells = (
                _mean(found["read"], seen),
                _mean(found["held_out"], seen),
                _mean(found["held_out"], apart),
            )
            lines.append(f"| {name} | {style} | {' | '.join(cells)} |")
        for sign, value in sorted(figures["test"][name]["held_out"].items()):
            star = " (never drawn)" if sign in modality.unseen else ""
            details.append(f"| {name} | {sign}{star} | {100 * value:.1f} |")
    text = TEXT.format(
        parameters=figures["parameters"] / 1e6,
        pictures=sum(figures["pictures"].values()),
        minutes=figures["minutes"],
        pairs=pairs,
        unseen=", ".join(unseen),
        summary="\n".join(lines),
        signs="\n".join(details),
    )
    (folder / "MODEL_CARD.md").write_text(text, encoding="utf-8")
