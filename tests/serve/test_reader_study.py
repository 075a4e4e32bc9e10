"""Reader studies: the order, and results worked by hand."""

import math

import pytest

from sdmad.errors import InputError
from sdmad.serve.reader_study import NO_TRUTH, Answer, Truth, results, showings


def test_each_image_comes_once_with_and_once_without_and_far_apart():
    for count in (2, 5, 12):
        images = [10 * i for i in range(count)]
        order = showings(images, 3, "Ada")
        assert sorted((one.image, one.with_findings) for one in order) == [
            (image, shown) for image in images for shown in (False, True)
        ]
        for image in images:
            first, second = (i for i, one in enumerate(order) if one.image == image)
            assert second - first - 1 >= count // 2
        assert sum(one.with_findings for one in order[:count]) == count // 2


def test_the_order_is_the_reader_s_own_and_stays():
    images = list(range(20))
    assert showings(images, 3, "Ada") == showings(images, 3, "Ada")
    assert showings(images, 3, "Ada") != showings(images, 3, "Max")
    assert showings(images, 3, "Ada") != showings(images, 4, "Ada")
    with pytest.raises(InputError, match="2 images at least"):
        showings([1], 0, "Ada")


def both(reader, image, without, shown, seconds=(10, 10)):
    """A reader's two answers, on the category Mass alone."""
    return [
        Answer(reader, image, False, {"Mass": without}, seconds[0]),
        Answer(reader, image, True, {"Mass": shown}, seconds[1]),
    ]


def test_auroc_with_and_without_by_hand():
    # Without: of 80 and 40 against 60 and 20 three of four pairs are right. With: 80 and 70, all.
    answers = [
        *both("Ada", 1, 80, 80),
        *both("Ada", 2, 40, 70),
        *both("Ada", 3, 60, 60),
        *both("Ada", 4, 20, 20),
    ]
    truths = {i: Truth({"Mass": float(i < 3)}, normal=i > 2) for i in range(1, 5)}
    (row,) = results(answers, truths, ["Mass"], resamples=200).accuracy
    assert (row.reader, row.category) == ("Ada", "Mass")
    assert row.without.value == pytest.approx(0.75)
    assert row.with_findings.value == pytest.approx(1)
    assert row.difference.value == pytest.approx(0.25)
    assert row.without.low < 0.75 < row.without.high


def test_of_several_readers_and_categories_the_mean_is_told_too():
    answers = []
    for reader, second in (("Ada", 90.0), ("Max", 10.0)):
        for image, percent in ((1, 90.0), (2, second), (3, 50.0), (4, 50.0)):
            for shown in (False, True):
                said = {"Mass": percent, "Effusion": 100 - percent}
                answers.append(Answer(reader, image, shown, said, 5))
    truths = {i: Truth({"Mass": float(i < 3), "Effusion": float(i > 2)}) for i in range(1, 5)}
    rows = {
        (one.reader, one.category): one.without.value
        for one in results(answers, truths, ["Mass", "Effusion"], resamples=50).accuracy
    }
    # Ada puts both positives of Mass above both negatives; Max one of them. Effusion mirrors it.
    assert rows["Ada", "Mass"] == rows["Ada", "Effusion"] == rows["Ada", None] == 1
    assert rows["Max", "Mass"] == rows["Max", "Effusion"] == rows["Max", None] == 0.5
    assert rows[None, None] == rows[None, "Mass"] == 0.75


def test_kappa_by_hand():
    # Ten images: both yes on 4, both no on 3, Ada alone on 1, Max alone on 2. They agree in .7,
    # by chance in .5 * .6 + .5 * .4 = .5.
    verdicts = [(1, 1)] * 4 + [(0, 0)] * 3 + [(1, 0)] + [(0, 1)] * 2
    answers = []
    for image, (ada, max_) in enumerate(verdicts):
        # With the findings they agree always.
        answers += both("Ada", image, 50 + 10 * ada - 5, 80 * ada)
        answers += both("Max", image, 99 * max_, 80 * ada)
    truths = {image: Truth({"Mass": None}) for image in range(10)}
    found = results(answers, truths, ["Mass"], resamples=100)
    without, shown = found.kappa
    assert (without.category, without.with_findings, shown.with_findings) == ("Mass", False, True)
    assert without.kappa.value == pytest.approx(0.4)
    assert without.kappa.low < 0.4 < without.kappa.high
    assert shown.kappa.value == pytest.approx(1)
    assert 0 < shown.kappa.low < 0.6  # ten patients are few
    assert found.accuracy == ()
    assert found.notes[0] == NO_TRUTH
    assert found.notes[1].startswith("the images' patients are unknown: each image counts as one")


def test_time_by_hand():
    answers = [
        *both("Ada", 1, 1, 1, (10, 6)),
        *both("Ada", 2, 1, 1, (20, 18)),
        *both("Ada", 3, 1, 1, (12, 12)),
        Answer("Ada", 4, True, {"Mass": 1}, 1000),  # not seen without: does not count
    ]
    truths = {image: Truth({"Mass": None}) for image in range(1, 5)}
    (row,) = results(answers, truths, ["Mass"]).time
    assert (row.without, row.with_findings) == (14, 12)
    # Differences -4, -2, 0: mean -2, deviation 2, t of 2 degrees 4.3027.
    assert row.difference.value == -2
    reach = 4.3027 * 2 / math.sqrt(3)
    assert row.difference.low == pytest.approx(-2 - reach, abs=1e-3)
    assert row.difference.high == pytest.approx(-2 + reach, abs=1e-3)


def test_images_of_one_patient_count_as_one_difference():
    answers = [
        *both("Ada", 1, 1, 1, (10, 6)),
        *both("Ada", 2, 1, 1, (20, 18)),
        *both("Ada", 3, 1, 1, (12, 12)),
    ]
    truths = {i: Truth({"Mass": None}, patient="" if i == 3 else "P") for i in range(1, 4)}
    (row,) = results(answers, truths, ["Mass"]).time
    assert row.difference.value == -1.5  # of -3 and 0


def test_before_anything_was_seen_both_ways():
    answers = [Answer("Ada", 1, True, {"Mass": 1}, 1)]
    found = results(answers, {1: Truth({"Mass": 1.0})}, ["Mass"])
    assert (found.accuracy, found.kappa, found.time) == ((), (), ())
    assert "both ways" in found.notes[0]


def test_few_and_unknown_patients_are_told():
    """Fourteen with Mass, one of two images; with Effusion that one, and one whom nobody knows."""
    truths = {
        i: Truth({"Mass": float(i < 15), "Effusion": float(i in (3, 4, 20))}, patient=f"P{i}")
        for i in range(30)
    }
    truths[4] = Truth(truths[4].labels, patient="P3")
    truths[20] = Truth(truths[20].labels)
    answers = [
        Answer("Ada", i, shown, {"Mass": i, "Effusion": i}, 1)
        for i in range(30)
        for shown in (False, True)
    ]
    notes = results(answers, truths, ["Mass", "Effusion"], resamples=20).notes
    assert notes == (
        "Mass: positives from 14 patients only: few to go by",
        "Effusion: positives from 1 patient and 1 image of an unknown patient only: few to go by",
        "of 1 images the patients are unknown: each image counts as one, and intervals are too "
        "narrow where patients have several",
    )
    known = {i: Truth({"Mass": one.labels["Mass"]}, patient=f"P{i}") for i, one in truths.items()}
    assert results(answers, known, ["Mass"], resamples=20).notes == ()
