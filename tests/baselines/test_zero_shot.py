import numpy as np
import pytest

from sdmad import SignBank
from sdmad.baselines.zero_shot import ZeroShotCLIP, name_bank
from sdmad.errors import InputError
from sdmad.method.scoring import binary_predictions, category_scores, normal_anchor
from sdmad.method.selection import select_signs


@pytest.mark.parametrize("selection", ["none", "paper"])
def test_it_is_equations_7_and_8_on_the_bare_backbone(
    small_bank, tiny_backbone, pictures, selection
):
    import torch

    images, _ = pictures
    features = tiny_backbone.encode_image(tiny_backbone.preprocessing(images))
    signs = tiny_backbone.encode_text(small_bank.sentences)
    anchor = normal_anchor(tiny_backbone.encode_text(small_bank.normal))
    category = torch.tensor(small_bank.category_index)
    keep = select_signs(signs, category) if selection == "paper" else torch.ones(6, dtype=bool)
    scored = ZeroShotCLIP(small_bank, tiny_backbone, selection).score_images(images)
    expected = category_scores(features, signs, category, keep)
    np.testing.assert_allclose(scored.scores, expected.numpy(), atol=1e-6)
    found = binary_predictions(features, signs, category, keep, anchor).bool()
    assert np.array_equal(scored.decisions, found.numpy())
    np.testing.assert_allclose(
        scored.abnormality, (expected.amax(1) - features @ anchor).numpy(), atol=1e-6
    )


def test_the_mean_rule_compares_the_mean_with_the_anchor(small_bank, tiny_backbone, pictures):
    scored = ZeroShotCLIP(small_bank, tiny_backbone, decision="mean").score_images(pictures[0])
    mean = scored.similarity.reshape(12, 3, 2).mean(axis=2)
    assert np.array_equal(scored.decisions, mean > scored.anchor_similarity[:, None])


def test_it_learns_nothing(small_bank, tiny_backbone, pictures):
    images, labels = pictures
    zero_shot = ZeroShotCLIP(small_bank, tiny_backbone)
    before = zero_shot.decision_function(images)
    assert zero_shot.fit(images, labels) is zero_shot
    assert np.array_equal(zero_shot.decision_function(images), before)


def test_the_rate_rule_is_refused(small_bank, tiny_backbone):
    with pytest.raises(InputError, match="paper or mean"):
        ZeroShotCLIP(small_bank, tiny_backbone, decision="fpr:0.1")


def test_the_name_bank_has_one_sentence_a_category():
    bank = SignBank(
        "b", "chest X-ray", ("clear lungs",), {"Pleural_Thickening": ("x", "y"), "Mass": ("z",)}
    )
    names = name_bank(bank)
    assert names.names == bank.names
    assert names.normal == bank.normal
    assert names.sentences == ("chest X-ray with pleural thickening", "chest X-ray with mass")
