import numpy as np
import pytest
from scipy import stats

from sdmad.errors import InputError
from sdmad.evaluation import drift
from sdmad.evaluation.drift import Sample, changes

NAMES = ("A", "B", "C")


def draw(rng, images, shift=0.0, strange=0.02):
    """Images whose categories have much to do with each other."""
    common = rng.normal(size=(images, 1))
    scores = common + 0.5 * rng.normal(size=(images, 3)) + np.array([shift, 0, 0])
    found = (scores > 1.5).sum(axis=0).tolist()
    return Sample(list(scores.T), found, int((rng.random(images) < strange).sum()), images)


@pytest.mark.parametrize("rate", [0.05, 0.2])
def test_periods_without_change_alarm_no_more_often_than_stated(rate, monkeypatch):
    """400 periods, each with a reference of its own, without regard to the size of changes."""
    monkeypatch.setattr(drift, "LEAST_DISTANCE", 0.0)
    monkeypatch.setattr(drift, "LEAST_SHARE", 0.0)
    rng = np.random.default_rng(int(100 * rate))
    alarms = sum(
        any(one.alarm for one in changes(draw(rng, 300), draw(rng, 200), NAMES, rate))
        for _ in range(400)
    )
    assert 0 < alarms <= stats.binom.ppf(0.999, 400, rate)


def test_what_changes_is_told_and_nothing_else():
    rng = np.random.default_rng(1)
    reference = draw(rng, 2000)
    assert not any(one.alarm for one in changes(reference, draw(rng, 2000), NAMES))
    shifted = changes(reference, draw(rng, 2000, shift=0.5), NAMES)
    alarms = [(one.what, one.category) for one in shifted if one.alarm]
    assert alarms == [("scores", "A"), ("findings", "A")]
    (scores,) = [one for one in shifted if (one.what, one.category) == ("scores", "A")]
    assert scores.interval[0] < scores.above < scores.interval[1]
    assert scores.above > 0.5
    strange = changes(reference, draw(rng, 2000, strange=0.2), NAMES)
    assert [one.what for one in strange if one.alarm] == ["unfamiliar"]


def test_a_sure_change_too_small_to_matter_is_none():
    images = 1_000_000
    reference = Sample([np.zeros(50)], [10_000], 0, images)
    period = Sample([np.zeros(50)], [15_000], 0, images)
    (_, findings, _) = changes(reference, period, ("A",))
    assert findings.p < 1e-100
    assert findings.size == pytest.approx(0.005)
    assert not findings.alarm


def test_shares_by_hand():
    """Fisher's lady: 3 of 4 against 1 of 4 is as likely as 34 of 70."""
    assert drift._same_share((3, 4), (1, 4)) == pytest.approx(34 / 70)
    assert drift._same_share((0, 40), (0, 70)) == 1.0


def test_too_few_images_and_wrong_rates_are_refused():
    rng = np.random.default_rng(0)
    with pytest.raises(InputError, match="at least 30"):
        changes(draw(rng, 100), draw(rng, 29), NAMES)
    with pytest.raises(InputError, match="between 0 and 1"):
        changes(draw(rng, 100), draw(rng, 100), NAMES, 0)
