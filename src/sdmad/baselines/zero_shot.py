"""Zero-shot CLIP: the backbone without adapters, with category names or with signs.

Radford et al. 2021; with signs and selection it is SD-MAD's inference without its training.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sdmad.backbones import Backbone
from sdmad.baselines.components.state_prompts import category_words, mean_direction
from sdmad.baselines.registry import Recipe
from sdmad.detector.base import Detector, TrainingSet
from sdmad.detector.config import SDMADConfig, parse_decision
from sdmad.detector.features import ImageFeatures
from sdmad.detector.head import SignHead, TextFeatures
from sdmad.detector.scores import ImageScores
from sdmad.errors import InputError
from sdmad.signs import SignBank


def name_bank(bank: SignBank) -> SignBank:
    """A bank whose only sign of each category is "MODALITY with CATEGORY".

    >>> name_bank(SignBank("b", "brain MRI", ("a normal brain",), {"Mass": ("x",)})).sentences
    ('brain MRI with mass',)

    Args:
        bank: whose modality, normal sentences and category names to use.
    """
    signs = {name: (f"{bank.modality} with {category_words(name)}",) for name in bank.names}
    return SignBank(f"{bank.name}-names", bank.modality, bank.normal, signs)


NORMAL_TEMPLATES = (
    "a normal {modality}",
    "a healthy {modality}",
    "a {modality} without abnormality",
    "a {modality} with no finding",
    "an unremarkable {modality}",
    "there is nothing abnormal in this {modality}",
)
FINDING_TEMPLATES = (
    "{modality} with {finding}",
    "a {modality} showing {finding}",
    "{finding} in a {modality}",
    "there is {finding} in this {modality}",
    "a {modality} of a patient with {finding}",
    "evidence of {finding}",
    "findings consistent with {finding}",
    "{finding} is seen",
)


def ensemble_features(bank: SignBank, backbone: Backbone) -> TextFeatures:
    """One direction a category: the mean over sentences that name it, and so for normal.

    Args:
        bank: whose modality and category names to use; its signs are not.
        backbone: whose text tower reads the sentences.

    Returns:
        A "sign" a category, ``(K, D)``, and the anchor, ``(D,)``, all unit length.
    """

    def direction(templates: Sequence[str], finding: str = "") -> Tensor:
        words = {"modality": bank.modality, "finding": category_words(finding)}
        return mean_direction(backbone.encode_text([t.format(**words) for t in templates]))

    signs = torch.stack([direction(FINDING_TEMPLATES, name) for name in bank.names])
    return TextFeatures(signs, direction(NORMAL_TEMPLATES))


class ZeroShotCLIP(Detector):
    """The bare backbone, scored by Eq. 7 and decided by Eq. 8 or their mean.

    Args:
        bank: the sentences; :func:`name_bank` makes the one with category names.
        backbone: the frozen model.
        selection: ``"paper"`` (Eq. 6 on the untrained text features) or ``"none"``.
        decision: ``"paper"`` (Eq. 8) or ``"mean"``.
        text: features to take instead of the bank's sentences' own, in the bank's order.
    """

    set_by_fit = ""

    def __init__(
        self,
        bank: SignBank,
        backbone: Backbone,
        selection: str = "none",
        decision: str = "paper",
        text: TextFeatures | None = None,
    ) -> None:
        if parse_decision(decision)[0] == "fpr":
            raise InputError("zero-shot CLIP decides by paper or mean")
        self.bank, self.backbone, self.categories = bank, backbone, bank.names
        config = SDMADConfig.paper(selection=selection, decision=decision)
        text = TextFeatures.encode(bank, backbone) if text is None else text
        self.head = SignHead.build(text, bank, config)

    def _fit(self, training: TrainingSet) -> None:
        """Nothing is learnt."""
        del training

    @property
    def kept_signs(self) -> NDArray[np.bool_]:
        """Signs that selection kept, ``(S,)``."""
        return self.head.kept_signs

    @torch.no_grad()
    def score_pixels(self, pixels: Tensor) -> ImageScores:
        """Score preprocessed images, pixel values ``(n, 3, H, W)``."""
        return self.head(ImageFeatures(self.backbone.encode_image(pixels)))


def by_names(bank: SignBank, backbone: Backbone) -> ZeroShotCLIP:
    """A category is its name in one sentence."""
    return ZeroShotCLIP(name_bank(bank), backbone)


def by_ensemble(bank: SignBank, backbone: Backbone) -> ZeroShotCLIP:
    """A category is its name in many sentences, averaged."""
    return ZeroShotCLIP(name_bank(bank), backbone, text=ensemble_features(bank, backbone))


RECIPES = {
    "clip-names": Recipe(lambda build, _: by_names(build.bank, build.backbone)),
    "clip-ensemble": Recipe(lambda build, _: by_ensemble(build.bank, build.backbone)),
    "clip-signs": Recipe(lambda build, _: ZeroShotCLIP(build.bank, build.backbone)),
    "clip-signs-selected": Recipe(
        lambda build, _: ZeroShotCLIP(build.bank, build.backbone, "paper")
    ),
}
