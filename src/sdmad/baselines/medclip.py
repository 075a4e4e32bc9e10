"""Zero-shot MedCLIP: the bank's signs on MedCLIP's own towers.

Wang et al., MedCLIP: Contrastive Learning from Unpaired Medical Images and Text, EMNLP 2022.
"""

from __future__ import annotations

from sdmad.baselines.registry import Build, System
from sdmad.baselines.zero_shot import ZeroShotCLIP


def build_medclip(build: Build) -> ZeroShotCLIP:
    """Zero-shot scoring with signs, if the backbone is MedCLIP.

    Raises:
        WeightsMissingError: if it is another; the message says where MedCLIP's weights are had.
    """
    from sdmad.backbones.medclip import MedCLIPBackbone, load_medclip

    if isinstance(build.backbone, MedCLIPBackbone):
        return ZeroShotCLIP(build.bank, build.backbone)
    return ZeroShotCLIP(build.bank, load_medclip("medclip"))  # which says what is missing


SYSTEMS = (
    System(
        "medclip",
        "zero-shot MedCLIP, signs",
        "Wang et al., MedCLIP: Contrastive Learning from Unpaired Medical Images and Text, EMNLP "
        "2022",
        "nothing",
        build_medclip,
        differs=(
            "Eq. 7 and 8 on the bank's signs; the authors take the mean or the largest similarity "
            "over a class's prompts and have no rule that decides. Of a sentence only its own "
            "tokens are averaged, not the padding of its batch."
        ),
    ),
)
