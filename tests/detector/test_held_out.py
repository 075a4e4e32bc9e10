"""Thresholds and answers from scores held out, by hand and by simulation."""

import numpy as np
import pytest

from sdmad import SDMAD, SDMADConfig
from sdmad.detector.calibration import Calibration
from sdmad.detector.held_out import NO, UNSURE, YES, HeldOut, answering
from sdmad.detector.scores import ImageScores
from sdmad.errors import InputError

FROZEN = SDMADConfig(epochs=0, image_evidence="cross-modal", decision="odds")


def held_out(scores, labels, patients=None):
    rows = np.arange(len(scores)) if patients is None else np.array(patients)
    return HeldOut(np.array(scores, float), np.array(labels, float), rows)


def scored(values):
    scores = np.array(values, float)
    return ImageScores(
        scores, scores > 0, scores.max(axis=1), np.zeros((len(scores), 0)), scores[:, 0]
    )


# Thresholds


def test_the_threshold_of_the_largest_f1_is_drawn_towards_the_shared_one():
    # First category: positives 5 and 3, negatives 4, 1, 0: above 2 are all positives and one
    # negative (F1 .8), above 4.5 one positive (.67). Second: positives 0 and -1, negatives -2, -3,
    # -4: above -1.5 F1 is 1. Together: above -1.5 are 4 positives of 4, and 3 negatives (8 / 11);
    # above 2 are 2 of 4 and one negative (4 / 7); above .5 likewise and two (4 / 8); above -.5: 3
    # of 4, 3 negatives (.6). So -1.5 is shared.
    labels = [[1, 1], [1, 1], [0, 0], [0, 0], [0, 0]]
    scores = [[5, 0], [3, -1], [4, -2], [1, -3], [0, -4]]
    found = held_out(scores, labels).thresholds()
    assert found == pytest.approx([2 / 6 * 2 + 4 / 6 * -1.5, -1.5])


def test_a_category_without_a_positive_takes_the_shared_threshold():
    labels = [[1, 0], [0, 0], [0, np.nan]]
    found = held_out([[2, 5], [1, 4], [0, 3]], labels).thresholds()
    # Shared: of 2, 1, 0, 5, 4 only 2 is positive: above 1.5 F1 is 2 / 4.
    assert found[1] == pytest.approx(1.5)


def test_equal_scores_are_called_together():
    found = held_out([[1], [1], [0]], [[1], [0], [0]]).thresholds()
    assert found == pytest.approx([0.5])


# Answers


def test_answers_by_hand():
    """Nine patients of either kind, positives at 1 to 9, negatives at -9 to -1, a rate of .1."""
    labels = [[1]] * 9 + [[0]] * 9
    known = held_out([[v] for v in (*range(1, 10), *range(-9, 0))], labels)
    answer = known.answers(0.1, ("Ring",))
    # Above -1 the p-value of absence is 1 / 10, not more than the rate: absence is out of keeping.
    found = answer(scored([[0.5], [1.5], [-0.5], [-1.5], [20], [-20]]))
    assert found[:, 0].tolist() == [UNSURE, YES, UNSURE, NO, YES, NO]


def test_where_the_kinds_overlap_nothing_is_sure():
    labels = [[1]] * 4 + [[0]] * 4
    answer = held_out([[v] for v in (1, 2, 3, 4, 1, 2, 3, 4)], labels).answers(0.2, ("Ring",))
    assert answer(scored([[2.5], [0.5], [4.5]]))[:, 0].tolist() == [UNSURE, NO, YES]


def test_a_rate_needs_its_patients():
    labels = [[1, 0]] * 4 + [[0, 1]] * 3 + [[0, 0]] * 3
    known = held_out(np.arange(20).reshape(10, 2), labels)
    with pytest.raises(InputError, match=r"at least 4 patients .* Bar \(3 and 7\): state a larger"):
        known.answers(0.2, ("Ring", "Bar"))
    known.answers(0.25, ("Ring", "Bar"))
    for rate in (0.0, 1.0, float("nan")):
        with pytest.raises(InputError, match="between 0 and 1"):
            known.answers(rate, ("Ring", "Bar"))


def test_images_of_a_patient_count_once_by_the_hardest():
    # Two positive images a patient; the lowest scores of the patients are 1, 2, 3, 4.
    scores = [[v] for v in (1, 9, 2, 9, 3, 9, 4, 9, -4, -3, -2, -1)]
    labels, patients = [[1]] * 8 + [[0]] * 4, [0, 0, 1, 1, 2, 2, 3, 3, 4, 5, 6, 7]
    answer = held_out(scores, labels, patients).answers(0.25, ("Ring",))
    alone = held_out(scores[0:8:2] + scores[8:], [[1]] * 4 + [[0]] * 4).answers(0.25, ("Ring",))
    asked = scored([[v] for v in np.linspace(-5, 10, 50)])
    np.testing.assert_array_equal(answer(asked), alone(asked))


@pytest.mark.parametrize(("count", "rate"), [(9, 0.1), (20, 0.1), (9, 0.3)])
def test_answers_keep_their_rate_where_scores_can_be_exchanged(count, rate):
    rng = np.random.default_rng(count)
    wrong = {0: [], 1: []}
    for _ in range(400):
        labels = np.repeat([[1.0], [0.0]], count, axis=0)
        answer = held_out(rng.normal(labels * 1.5), labels).answers(rate, ("Ring",))
        for truth, contrary in ((1, NO), (0, YES)):
            found = answer(scored(rng.normal(1.5 * truth, size=(50, 1))))
            wrong[truth].append((found == contrary).mean())
    for truth in (0, 1):
        error = np.std(wrong[truth]) / 20
        assert np.mean(wrong[truth]) <= rate + 3 * error


def test_what_was_not_held_out_gives_no_answers(small_bank, tiny_backbone, pictures):
    detector = SDMAD(small_bank, tiny_backbone, FROZEN.replace(epochs=1)).fit(*pictures)
    with pytest.raises(InputError, match="gives no answers"):
        detector.answering(0.4)
    with pytest.raises(InputError, match="needs scores of support images that no fit saw"):
        detector.with_inference(decision="support").predict(pictures[0])
    with pytest.raises(InputError, match="gives no answers"):
        answering(None, ("Ring",), 0.3)


def test_plain_values_and_back():
    known = held_out([[1, 2], [3, 4]], [[1, np.nan], [0, 1]], [0, 0])
    again = HeldOut.from_dict(known.to_dict())
    for name in ("scores", "labels", "patients"):
        np.testing.assert_array_equal(getattr(again, name), getattr(known, name))
    for wrong in (
        {},
        {**known.to_dict(), "patients": [0]},
        {**known.to_dict(), "scores": [[None]]},
    ):
        with pytest.raises(ValueError, match="held out"):
            HeldOut.from_dict(wrong)


# Through the detector


def test_a_rule_of_normal_images_can_be_fitted_before_they_are_given(
    small_bank, tiny_backbone, pictures
):
    detector = SDMAD(small_bank, tiny_backbone, FROZEN.replace(decision="fpr:0.5")).fit(*pictures)
    plain = SDMAD(small_bank, tiny_backbone, FROZEN).fit(*pictures)
    np.testing.assert_array_equal(detector.head_.held_out.scores, plain.head_.held_out.scores)


def test_a_saved_detector_keeps_what_was_held_out(small_bank, tiny_backbone, pictures, tmp_path):
    detector = SDMAD(small_bank, tiny_backbone, FROZEN).fit(*pictures)
    detector.save(tmp_path / "model")
    again = SDMAD.load(tmp_path / "model", tiny_backbone)
    news = detector.score_images(pictures[0])
    np.testing.assert_array_equal(again.answering(0.4)(news), detector.answering(0.4)(news))
    np.testing.assert_array_equal(
        again.with_inference(decision="support").head_.limits(),
        detector.with_inference(decision="support").head_.limits(),
    )


def test_the_rule_likely_decides_where_the_probability_is_the_chance(
    small_bank, tiny_backbone, pictures
):
    detector = SDMAD(small_bank, tiny_backbone, FROZEN).fit(*pictures)
    judged = detector.with_inference(decision="likely:0.3")
    with pytest.raises(InputError, match="needs to know how common"):
        judged.predict(pictures[0])
    judged.decide_at(0.1)
    likely = detector.predict_proba(pictures[0], 0.1)
    np.testing.assert_array_equal(judged.predict(pictures[0]), likely > 0.3)
    with pytest.raises(InputError, match="not odds"):
        detector.decide_at(0.1)


def test_log_odds_of_a_chance_by_hand():
    # At the calibration's own prevalence: 2 s + 1 = log(.25 / .75).
    found = Calibration(2.0, 1.0, (0.4,)).odds_at(0.25, np.array([0.4]))
    assert found == pytest.approx([(np.log(1 / 3) - 1) / 2])
