"""A fitted detector judged otherwise, and what it says of itself."""

import numpy as np
import pytest

from sdmad import SDMAD, SDMADConfig
from sdmad.detector.sign_detector import SignDetector
from sdmad.errors import InputError


@pytest.fixture(scope="module")
def signs_alone(small_bank, tiny_backbone, pictures):
    return SDMAD(small_bank, tiny_backbone, SDMADConfig.paper(epochs=1)).fit(*pictures)


def test_other_settings_of_inference_need_no_other_training(signs_alone, pictures):
    wanted = signs_alone.config_.replace(pooling="mean", decision="mean", selection="none")
    found = signs_alone.with_settings(wanted)
    assert found.config_ == wanted
    mean = signs_alone.score_images(pictures[0]).similarity.reshape(12, 3, 2).mean(axis=2)
    np.testing.assert_allclose(found.decision_function(pictures[0]), mean, atol=1e-6)


def test_other_settings_of_training_need_another_training(signs_alone):
    assert signs_alone.with_settings(signs_alone.config_.replace(margin=0.1)) is None
    assert signs_alone.with_settings({"pooling": "mean"}) is None


def test_evidence_beside_the_signs_was_scaled_for_one_way_of_scoring(fitted, pictures):
    assert fitted.config_.image_evidence == "cross-modal"
    assert fitted.with_settings(fitted.config_.replace(pooling="max")) is None
    same = fitted.with_settings(fitted.config_)
    scores = same.decision_function(pictures[0])
    assert np.array_equal(scores, fitted.decision_function(pictures[0]))


def test_trained_numbers_are_those_of_the_adapters_and_the_probe(fitted, signs_alone):
    # Five adapters from 32 to 24 and back; three regressions on embeddings and three tokens.
    assert signs_alone.trained_parameters == 5 * 2 * 32 * 24
    assert fitted.trained_parameters == 5 * 2 * 32 * 24 + 3 * (16 + 3 * 32 + 1)


def test_what_a_fit_left_is_told(fitted):
    assert fitted.losses == tuple(epoch.loss for epoch in fitted.log_)
    assert len(fitted.losses) == 2
    assert fitted.kept_signs.tolist() == fitted.head_.keep.tolist()
    margins = fitted.margins()
    np.testing.assert_allclose(margins.margin, margins.foreign - margins.own, atol=1e-6)


def test_thresholds_remember_their_images(small_bank, tiny_backbone, pictures):
    images, labels = pictures
    config = SDMADConfig(epochs=1, decision="fpr:0.2")
    detector = SDMAD(small_bank, tiny_backbone, config).fit(images, labels)
    assert detector.threshold_hashes_ == ()
    detector.fit_thresholds([*images, images[0]])
    assert detector.threshold_hashes_ == detector.support_hashes_  # each once, sorted
    assert detector.with_inference(decision="fpr:0.2").threshold_hashes_ != ()
    assert detector.with_inference(decision="fpr:0.3").threshold_hashes_ == ()


def test_a_detector_of_a_state_does_not_learn(fitted, pictures):
    fixed = SignDetector(fitted.state_)
    assert np.array_equal(fixed.predict(pictures[0]), fitted.predict(pictures[0]))
    with pytest.raises(InputError, match="fitted already"):
        fixed.fit(*pictures)
