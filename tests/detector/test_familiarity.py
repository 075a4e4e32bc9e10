"""Images unlike the support set: by hand, by simulation, and through every door."""

import numpy as np
import pytest
import torch
from scipy.stats import t
from torch.nn.functional import normalize

from sdmad import SDMAD, SDMADConfig
from sdmad.detector.familiarity import Familiarity


def around(count, spread, seed, size=50):
    """Unit vectors about the first axis."""
    noise = spread * torch.randn(count, size, generator=torch.manual_seed(seed))
    noise[:, 0] += 1
    return normalize(noise, dim=-1)


def test_the_limit_by_hand():
    # Four vectors in the plane at -30, -10, 10 and 30 degrees: each against the mean of the others.
    angles = np.deg2rad([-30, -10, 10, 30])
    evidence = torch.tensor(np.column_stack([np.cos(angles), np.sin(angles)]))
    cosines = []
    for i in range(4):
        x, y = np.delete(evidence.numpy(), i, axis=0).sum(axis=0)
        cosines.append(np.cos(angles[i] - np.arctan2(y, x)))
    reach = t.ppf(0.995, 3) * np.sqrt(1.25)
    found = Familiarity.fit(evidence)
    assert found.least == pytest.approx(np.mean(cosines) - reach * np.std(cosines, ddof=1))
    assert found.centre.tolist() == pytest.approx([1.0, 0.0])


def test_too_few_images_tell_no_spread():
    assert Familiarity.fit(around(3, 0.1, 0)) is None
    assert Familiarity.fit(around(4, 0.1, 0)) is not None


@pytest.mark.parametrize("count", [7, 16, 64])
def test_of_the_same_kind_one_in_two_hundred_is_unfamiliar(count):
    shares = []
    for seed in range(60):
        known = Familiarity.fit(around(count, 0.08, seed))
        shares.append(float(known.unfamiliar(around(500, 0.08, 900 + seed)).double().mean()))
    assert 0.001 < np.mean(shares) < 0.015


@pytest.mark.parametrize(("patients", "each"), [(10, 4), (5, 8), (4, 20)])
def test_images_of_one_patient_do_not_make_each_other_familiar(patients, each):
    """Images of a patient lie about a place of his own: new patients are held to these places."""
    shares = []
    for seed in range(40):
        people = around(patients + 100, 0.08, seed)
        noise = 0.02 * torch.randn(patients * each, 50, generator=torch.manual_seed(seed))
        support = normalize(people[:patients].repeat_interleave(each, 0) + noise, dim=-1)
        ids = np.repeat(np.arange(patients), each).tolist()
        known = Familiarity.fit(support, ids)
        shares.append(float(known.unfamiliar(people[patients:]).double().mean()))
    assert np.mean(shares) < 0.03


def test_few_patients_tell_no_spread_however_many_images():
    assert Familiarity.fit(around(30, 0.1, 0), [i % 3 for i in range(30)]) is None


def test_another_kind_is_unfamiliar():
    known = Familiarity.fit(around(16, 0.05, 1))
    other = around(100, 0.05, 2).roll(1, dims=1)
    assert known.unfamiliar(other).all()


def test_a_fitted_detector_tells_and_keeps_it(small_bank, tiny_backbone, pictures, tmp_path):
    images, labels = pictures
    detector = SDMAD(small_bank, tiny_backbone, SDMADConfig(epochs=1)).fit(images, labels)
    noise = np.random.default_rng(0).integers(0, 256, (5, 64, 64, 3), np.uint8)
    scored = detector.score_images([*images, *noise])
    assert not scored.unfamiliar[: len(images)].any()
    assert scored.unfamiliar[len(images) :].all()
    detector.save(tmp_path / "model")
    again = SDMAD.load(tmp_path / "model", tiny_backbone).score_images([*images, *noise])
    assert (again.unfamiliar == scored.unfamiliar).all()


def test_without_evidence_nothing_is_told(small_bank, tiny_backbone, pictures):
    detector = SDMAD(small_bank, tiny_backbone, SDMADConfig.paper(epochs=1)).fit(*pictures)
    assert detector.head_.familiarity is None
    assert not detector.head_.wanted.evidence
    noise = np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)
    assert not detector.score_images([noise]).unfamiliar.any()
