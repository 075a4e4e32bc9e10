"""Zero-shot MedCLIP: category names, prompt ensembles and signs on MedCLIP's own towers.

Wang et al., MedCLIP: Contrastive Learning from Unpaired Medical Images and Text, EMNLP 2022.
"""

from __future__ import annotations

from sdmad.backbones import Backbone
from sdmad.baselines.registry import Build, Recipe
from sdmad.baselines.zero_shot import ZeroShotCLIP, by_ensemble, by_names


def medclip_of(build: Build) -> Backbone:
    """The backbone, if it is MedCLIP: by ``--backbone`` or, for these rows alone, ``--medclip``.

    Raises:
        WeightsMissingError: if it is another; the message says where MedCLIP's weights are had.
    """
    from sdmad.backbones.medclip import MedCLIPBackbone, load_medclip

    if isinstance(build.backbone, MedCLIPBackbone):
        return build.backbone
    return load_medclip("medclip")  # which says what is missing


RECIPES = {
    "medclip-names": Recipe(lambda build, _: by_names(build.bank, medclip_of(build))),
    "medclip-ensemble": Recipe(lambda build, _: by_ensemble(build.bank, medclip_of(build))),
    "medclip": Recipe(lambda build, _: ZeroShotCLIP(build.bank, medclip_of(build))),
}
