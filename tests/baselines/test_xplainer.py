import math

import numpy as np
import pytest
import torch

from sdmad import SignBank
from sdmad.baselines.registry import Build, load_system
from sdmad.baselines.xplainer import (
    Xplainer,
    XplainerSettings,
    negated,
    sign_probabilities,
    subject_words,
)


@pytest.mark.parametrize(
    ("sign", "expected"),
    [
        ("brain with a dark hole", "brain without a dark hole"),
        ("Brain MRI with one spot", "Brain MRI without one spot"),
        ("hemisphere with spots", "hemisphere without spots"),
        ("tumour with a dark hole", "no tumour with a dark hole"),
        ("bright brain with spots", "no bright brain with spots"),
        ("skull gap over one side", "no skull gap over one side"),
    ],
)
def test_a_sign_is_negated_by_its_subject(sign, expected):
    normal = ("brain with symmetric hemispheres", "brain without tumour or bright spot")
    bank = SignBank("b", "brain MRI", normal, {"A": (sign,)})
    assert negated(sign, subject_words(bank)) == expected


def test_words_behind_a_negation_are_no_subjects():
    normal = ("lungs free of nodules", "chest with no mass", "heart without shift")
    bank = SignBank("b", "chest X-ray", normal, {"A": ("x",)})
    assert subject_words(bank) == {"chest", "x", "ray", "lungs", "with", "heart"}


def test_a_category_is_the_geometric_mean_of_its_signs():
    probabilities = torch.tensor([[0.9, 0.4, 0.3, 0.6, 0.5]])
    found, margin = sign_probabilities(torch.logit(probabilities), torch.tensor([0, 0, 1, 1, 1]))
    assert found[0, 0].item() == pytest.approx(math.sqrt(0.36), abs=1e-6)
    assert found[0, 1].item() == pytest.approx(0.09 ** (1 / 3), abs=1e-6)
    # 0.36 against 0.1 * 0.6, and 0.09 against 0.7 * 0.4 * 0.5
    assert margin[0, 0].item() == pytest.approx(math.log(0.36 / 0.06) / 2, abs=1e-5)
    assert margin[0, 1].item() == pytest.approx(math.log(0.09 / 0.14) / 3, abs=1e-5)


@pytest.mark.parametrize("temperature", [0.5, 0.05])
def test_scores_are_softmaxes_over_sign_and_negation(
    small_bank, tiny_backbone, pictures, temperature
):
    images = pictures[0]
    scored = Xplainer(small_bank, tiny_backbone, XplainerSettings(temperature)).score_images(images)
    features = tiny_backbone.encode_image(tiny_backbone.preprocessing(images)).double()
    present = features @ tiny_backbone.encode_text(small_bank.sentences).double().T
    negations = [f"no {sign}" for sign in small_bank.sentences]
    absent = features @ tiny_backbone.encode_text(negations).double().T
    two = torch.stack([present, absent], dim=-1) / temperature
    probability = two.softmax(dim=-1).reshape(12, 3, 2, 2)  # image, category, sign, yes or no
    product = probability.prod(dim=2).sqrt().numpy()
    np.testing.assert_allclose(scored.scores, product[..., 0], atol=1e-5)
    assert np.array_equal(scored.decisions, product[..., 0] > product[..., 1])
    np.testing.assert_allclose(scored.abnormality, scored.scores.max(axis=1))
    np.testing.assert_allclose(scored.similarity, present.numpy(), atol=1e-6)
    assert np.isnan(scored.anchor_similarity).all()


def test_it_learns_nothing_and_scores_each_image_alone(small_bank, tiny_backbone, pictures):
    images, labels = pictures
    detector = Xplainer(small_bank, tiny_backbone)
    before = detector.decision_function(images)
    assert detector.fit(images, labels) is detector
    alone = np.concatenate([detector.decision_function([image]) for image in images])
    np.testing.assert_allclose(alone, before, atol=1e-6)


def test_the_registry_builds_it_as_published(small_bank, tiny_backbone):
    system = load_system("xplainer")
    detector = system.build(Build(small_bank, tiny_backbone, 0, lambda: None))
    assert system.learns_from == "nothing"
    assert detector.settings.temperature == 0.5
    assert detector.negations[0] == "no a round ring"
