"""What the nano backbone knows: zero-shot AUROC of each sign on pictures of another style."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.metrics import roc_auc_score

from pretraining.corpus import Captions
from sdmad.backbones import Backbone
from sdmad.phantoms.base import Modality
from sdmad.phantoms.cases import MODALITIES, draw_cases, load_modality, load_wordings


def sign_sentences(modality: Modality, held_out: bool) -> dict[str, list[str]]:
    """Bare wordings of each sign: those pretraining read, or those it never did.

    Signs that pretraining never drew have held-out wordings only.
    """
    read = Captions(modality, held_out=False).signs
    if not held_out:
        return read
    words = load_wordings(modality.name)["signs"]
    return {sign: wordings["held_out"] for sign, wordings in words.items()}


def zero_shot_aurocs(
    backbone: Backbone, name: str, style: str, images: int = 500, seed: int = 7
) -> dict[str, dict[str, float]]:
    """AUROC of every sign of a modality, with read and with held-out wordings.

    Args:
        backbone: what to measure.
        name: a phantom modality.
        style: an acquisition style other than pretraining's.
        images: pictures to judge on.
        seed: of the pictures.

    Returns:
        ``{"read": {sign: AUROC}, "held_out": {sign: AUROC}}``.
    """
    modality = load_modality(name)
    cases = list(draw_cases(modality, images, seed, style))
    features = torch.cat(
        [
            backbone.encode_image(backbone.preprocessing([c.image for c in cases[i : i + 50]]))
            for i in range(0, len(cases), 50)
        ]
    )
    result: dict[str, dict[str, float]] = {}
    for part in ("read", "held_out"):
        result[part] = {}
        for sign, sentences in sign_sentences(modality, part == "held_out").items():
            truth = np.array([sign in case.signs for case in cases])
            if truth.sum() >= 2 and (~truth).sum() >= 2:
                scores = (features @ backbone.encode_text(sentences).T).mean(dim=1)
                result[part][sign] = float(roc_auc_score(truth, scores.numpy()))
    return result


def report(backbone: Backbone, style: str) -> dict[str, dict[str, dict[str, float]]]:
    """Measure every modality and print a summary; signs never drawn are averaged apart."""
    everything = {}
    for name in MODALITIES:
        unseen = load_modality(name).unseen
        measured = zero_shot_aurocs(backbone, name, style)
        everything[name] = measured
        for part, values in measured.items():
            seen = [v for sign, v in values.items() if sign not in unseen]
            apart = [v for sign, v in values.items() if sign in unseen]
            tail = f", never drawn {np.mean(apart):.3f}" if apart else ""
            print(f"{name} {style} {part}: {np.mean(seen):.3f}{tail}")
        weak = sorted(measured["held_out"].items(), key=lambda item: item[1])[:6]
        print("   weakest: " + ", ".join(f"{sign} {value:.2f}" for sign, value in weak))
    return everything
