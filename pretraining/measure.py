"""What the embedded backbone knows: zero-shot AUROC of each sign on pictures of another style."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from torch import Tensor

from pretraining.corpus import Captions
from sdmad.backbones import Backbone
from sdmad.detector.maps import patch_features
from sdmad.method.adapters import AdaptedTower
from sdmad.phantoms.base import Modality
from sdmad.phantoms.cases import MODALITIES, draw_cases, load_modality, load_wordings

BATCH = 50


def sign_sentences(modality: Modality, held_out: bool) -> dict[str, list[str]]:
    """Bare wordings of each sign: those pretraining read, or those it never did.

    Signs that pretraining never drew have held-out wordings only.
    """
    read = Captions(modality, held_out=False).signs
    if not held_out:
        return read
    words = load_wordings(modality.name)["signs"]
    return {sign: wordings["held_out"] for sign, wordings in words.items()}


def look(backbone: Backbone, images: Sequence[NDArray[np.uint8]]) -> tuple[Tensor, Tensor]:
    """Unit-length embeddings of images ``(n, D)`` and of their patches ``(n, P, D)``."""
    tower = AdaptedTower(backbone.image, {})
    whole, patches = [], []
    for start in range(0, len(images), BATCH):
        pixels = backbone.preprocessing(images[start : start + BATCH])
        with torch.no_grad():
            whole.append(backbone.encode_image(pixels))
            patches.append(patch_features(tower, pixels))
    return torch.cat(whole), torch.cat(patches)


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
        Sign to AUROC: by the class token with the wordings that were ``read``, with those
        ``held_out``; with these by the best of the ``patches``, and by ``both`` together.
    """
    modality = load_modality(name)
    cases = list(draw_cases(modality, images, seed, style))
    features, patches = look(backbone, [case.image for case in cases])
    result: dict[str, dict[str, float]] = {p: {} for p in ("read", "held_out", "patches", "both")}
    for part in ("read", "held_out"):
        for sign, sentences in sign_sentences(modality, part == "held_out").items():
            truth = np.array([sign in case.signs for case in cases])
            if truth.sum() < 2 or (~truth).sum() < 2:
                continue
            text = backbone.encode_text(sentences).mean(dim=0)
            scores = {part: features @ text}
            if part == "held_out":
                scores["patches"] = (patches @ text).amax(dim=1)
                scores["both"] = scores["held_out"] + scores["patches"]
            for kind, values in scores.items():
                result[kind][sign] = float(roc_auc_score(truth, values.numpy()))
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
