"""A model card: what a fit settled, in words for whoever finds the model.

Of images and patients it tells numbers alone; no path is in it.
"""

from __future__ import annotations

import numpy as np
import yaml

from sdmad._version import __version__
from sdmad.backbones.hub import is_hub_name
from sdmad.detector.held_out import HeldOut
from sdmad.detector.state import FittedState
from sdmad.evaluation.metrics import category_auroc
from sdmad.table import MISSING, Table, escaped, percent

TAGS = ("sdmad", "few-shot", "anomaly-detection", "medical-imaging", "multi-label")


def model_card(state: FittedState, name: str) -> str:
    """The card as Markdown, with the head that the hub reads.

    Args:
        state: what the fit settled; its backbone's name is told.
        name: ``OWNER/NAME`` of the repository.
    """
    head: dict[str, object] = {"library_name": "sdmad", "tags": list(TAGS)}
    if is_hub_name(state.backbone.name):
        head["base_model"] = state.backbone.name
    return "\n".join(
        (
            f"---\n{yaml.safe_dump(head, sort_keys=False)}---",
            f"# {name}",
            "*Not a medical device. For research; never for diagnosis.*\n",
            f"Detects {escaped(', '.join(state.bank.names))} ({escaped(state.bank.modality)}), "
            "each explained by the signs that gave it away: SD-MAD, sign-driven few-shot detection "
            f"of several anomalies, fitted with sdmad {__version__}.\n",
            f"```python\nfrom sdmad import SDMAD\n\ndetector = SDMAD.from_pretrained({name!r})\n"
            'detector.predict(["image.png"])\n```\n',
            _categories(state).markdown(),
            _facts(state).markdown(),
            _settings(state).markdown(),
            _notes(state).markdown() if state.notes else "",
            _signs(state).markdown(),
            "## Limits\n",
            "Learnt from a handful of images of one place; nothing here says how it does on "
            "others: judge it on images of your own (`sdmad evaluate`). The files hold hashes of "
            "the support images and salted hashes of their patients, so that both can be left out "
            "of an evaluation; no image, file name or patient id. The licence is for whoever "
            "publishes it to state, and the backbone's own counts too.\n",
        )
    )


def _categories(state: FittedState) -> Table:
    """Of each category: signs, kept ones, support images, and how it did on held-out ones."""
    signs, kept = state.head.category.cpu().numpy(), state.head.kept_signs
    held = state.head.held_out
    aurocs = None if held is None else category_auroc(held.labels, held.scores)
    rows = []
    for k, category in enumerate(state.bank.names):
        mine = signs == k
        cells = (category, str(int(mine.sum())), str(int(kept[mine].sum())))
        found = (MISSING, MISSING) if held is None or aurocs is None else _shots(held, aurocs, k)
        rows.append((*cells, *found))
    header = ("Category", "Signs", "Kept", "Support images with it", "AUROC, held out (%)")
    caption = (
        "Held out: each support image by a fit that did not see its patient. So few images give a "
        "hint and no measurement."
    )
    return Table("Categories", header, tuple(rows), "" if held is None else caption)


def _shots(held: HeldOut, aurocs: np.ndarray, k: int) -> tuple[str, str]:
    return str(int((held.labels[:, k] == 1).sum())), percent(float(aurocs[k]))


def _facts(state: FittedState) -> Table:
    backbone, how = state.backbone, state.backbone.preprocessing
    rows = (
        ("Support images", str(len(state.support_hashes))),
        ("Sign bank", state.bank.name),
        ("Backbone", backbone.name),
        ("SHA-256 of its weights", backbone.weights_hash),
        ("Image side in pixels", str(how.size)),
        ("Window", str(how.window)),
        ("Seed", str(state.seed)),
    )
    return Table("Fit", ("Fact", "Value"), rows)


def _settings(state: FittedState) -> Table:
    rows = tuple((name, str(value)) for name, value in state.config.to_dict().items())
    return Table("Settings", ("Setting", "Value"), rows)


def _notes(state: FittedState) -> Table:
    return Table("Notes of the fit", ("Note",), tuple((note,) for note in state.notes))


def _signs(state: FittedState) -> Table:
    category = state.head.category.cpu().numpy()
    rows = [("normal", sentence, "") for sentence in state.bank.normal]
    rows += [
        (state.bank.names[k], sentence, "yes" if kept else "no")
        for k, sentence, kept in zip(
            category, state.bank.sentences, state.head.kept_signs, strict=True
        )
    ]
    return Table("Sentences", ("Category", "Sign", "Kept"), tuple(rows))
