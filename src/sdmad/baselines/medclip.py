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


DIFFERS = (
    "Eq. 7 and 8 on the bank's signs; the authors take the mean or the largest similarity over a "
    "class's prompts and have no rule that decides. Of a sentence only its own tokens are "
    "averaged, not the padding of its batch."
)
RECIPES = {
    "medclip-names": Recipe(
        lambda build, _: by_names(build.bank, medclip_of(build)), differs=DIFFERS
    ),
    "medclip-ensemble": Recipe(
        lambda build, _: by_ensemble(build.bank, medclip_of(build)),
        differs=f"The sentences are those of zero-shot CLIP's ensemble here. {DIFFERS}",
    ),
    "medclip": Recipe(
        lambda build, _: ZeroShotCLIP(build.bank, medclip_of(build)), differs=DIFFERS
    ),
}
