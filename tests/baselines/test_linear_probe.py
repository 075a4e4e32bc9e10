import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from sdmad.baselines.linear_probe import LinearProbeDetector
from sdmad.errors import InputError

NAMES = ("Ring", "Bar", "Dots")


def test_it_is_scikit_learns_logistic_regression_on_frozen_evidence(tiny_backbone, pictures):
    images, labels = pictures
    probe = LinearProbeDetector(NAMES, tiny_backbone).fit(images, labels)
    _, evidence = tiny_backbone.encode_with_evidence(tiny_backbone.preprocessing(images))
    features = evidence.double().numpy()
    scaled = features - features.mean(axis=0)
    for part in range(3):  # class token, mean and largest patch token: a third of the variance each
        columns = slice(32 * part, 32 * part + 32)
        scaled[:, columns] *= np.sqrt(32 / scaled[:, columns].var(axis=0).sum())
    odds = probe.decision_function(images)
    for k in range(3):
        oracle = LogisticRegression(C=1.0, max_iter=1000).fit(scaled, labels[:, k] == 1)
        np.testing.assert_allclose(odds[:, k], oracle.decision_function(scaled), atol=1e-3)
    assert np.array_equal(probe.predict(images), (odds > 0).astype(int))


def test_unknown_labels_are_left_out_of_their_category_alone(tiny_backbone, pictures):
    images, labels = pictures
    hidden = labels.copy()
    hidden[0, 1] = hidden[7, 1] = np.nan
    whole = LinearProbeDetector(NAMES, tiny_backbone).fit(images, labels)
    part = LinearProbeDetector(NAMES, tiny_backbone).fit(images, hidden)
    known = [i for i in range(12) if i not in (0, 7)]
    fewer = LinearProbeDetector(NAMES, tiny_backbone).fit([images[i] for i in known], labels[known])
    scores = part.decision_function(images)
    np.testing.assert_allclose(scores[:, 1], fewer.decision_function(images)[:, 1], atol=1e-5)
    np.testing.assert_allclose(
        scores[:, [0, 2]], whole.decision_function(images)[:, [0, 2]], atol=1e-5
    )


def test_a_category_without_a_positive_is_never_found(tiny_backbone, pictures):
    images, labels = pictures
    labels = labels.copy()
    labels[:, 2] = 0
    probe = LinearProbeDetector(NAMES, tiny_backbone).fit(images, labels)
    assert not probe.predict(images)[:, 2].any()
    assert np.ptp(probe.decision_function(images)[:, 2]) == 0


def test_it_has_no_signs_and_its_abnormality_is_its_largest_score(tiny_backbone, pictures):
    images, labels = pictures
    scored = LinearProbeDetector(NAMES, tiny_backbone).fit(images, labels).score_images(images)
    assert scored.similarity.shape == (12, 0)
    assert np.isnan(scored.anchor_similarity).all()
    assert np.array_equal(scored.abnormality, scored.scores.max(axis=1))


def test_mistakes_are_refused(tiny_backbone, pictures):
    images, labels = pictures
    probe = LinearProbeDetector(NAMES, tiny_backbone)
    with pytest.raises(InputError, match="not fitted yet"):
        probe.predict(images)
    with pytest.raises(InputError, match=r"\(12, 3\)"):
        probe.fit(images, labels[:, :2])
    with pytest.raises(InputError, match="no image to fit on"):
        probe.fit([], np.zeros((0, 3)))
    with pytest.raises(InputError, match="list of images"):
        probe.fit("picture.png", np.zeros((11, 3)))
