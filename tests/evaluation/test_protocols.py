import json

import numpy as np
import pytest

from sdmad.errors import InputError
from sdmad.evaluation.delong import delong_auroc
from sdmad.evaluation.protocols import evaluate
from sdmad.reporting.report import plain_summary
from sdmad.reporting.tables import protocol_tables

NAN = float("nan")
CATEGORIES = ("mass", "nodule", "hernia")
# Rows: mass; mass and nodule; nodule; normal; normal; nothing but unknown hernia (not normal)
LABELS = np.array([[1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 0], [0, 0, 0], [0, 0, NAN]])
NORMAL = np.array([False, False, False, True, True, False])
SCORES = np.array(
    [[0.9, 0.1, 0], [0.8, 0.7, 0], [0.3, 0.2, 0], [0.2, 0.3, 0], [0.1, 0.1, 0], [0.4, 0.1, 0]]
)
DECISIONS = SCORES > 0.5
ABNORMALITY = np.array([0.9, 0.8, 0.25, 0.3, 0.1, 99])


def judge(**changes):
    arguments = {
        "labels": LABELS,
        "scores": SCORES,
        "decisions": DECISIONS,
        "abnormality": ABNORMALITY,
        "normal": NORMAL,
        "categories": CATEGORIES,
        "resamples": 50,
        **changes,
    }
    return evaluate(**arguments)


def test_protocols_by_hand():
    result = judge()
    # protocol 1: 3 abnormal against 2 normal images, the last image is left out: 5 of 6 pairs
    assert result.image_auroc == pytest.approx(5 / 6)
    assert (result.abnormal_images, result.normal_images) == (3, 2)
    # protocol 2: 17 known cells, one error (the nodule of row 2), so 5 of 6 rows are right
    assert result.hamming_score == pytest.approx(16 / 17)
    assert result.subset_accuracy == pytest.approx(5 / 6)
    # mass 1; nodule found 1 of 2, no false alarm: F1 2/3; hernia has no positive
    assert result.macro_f1 == pytest.approx((1 + 2 / 3) / 2)
    assert result.sensitivity == pytest.approx((1 + 1 / 2) / 2)
    assert result.specificity == 1
    # protocol 3: mass 1; nodule .7 beats 4, .2 beats 3 of 4
    assert result.categories["mass"].auroc == 1
    assert result.categories["nodule"].auroc == pytest.approx(7 / 8)
    assert result.mean_auroc == pytest.approx(15 / 16)


def test_counts_and_note_of_a_category_without_positives():
    hernia = judge().categories["hernia"]
    assert (hernia.positives, hernia.negatives, hernia.unknown) == (0, 5, 1)
    assert np.isnan(hernia.auroc)
    assert "0 positives" in hernia.note


def test_few_patients_with_a_positive_are_noted():
    together = judge(patients=["a", "a", "b", "c", "d", "e"])
    assert "1 patient only" in together.categories["mass"].note
    assert "2 patients only" in together.categories["nodule"].note


@pytest.mark.parametrize(("patients", "few"), [(15, False), (14, True)])
def test_fifteen_patients_with_a_positive_are_enough(patients, few):
    labels = np.array([[1.0]] * 15 + [[0.0]] * 20)
    ids = [*(f"a{min(i, patients - 1)}" for i in range(15)), *(f"b{i}" for i in range(20))]
    found = evaluate(labels, labels, labels, labels[:, 0], labels[:, 0] == 0, ["mass"], ids, 10)
    assert ("14 patients only" in found.categories["mass"].note) == few
    assert bool(found.categories["mass"].note) == few


def test_an_auroc_needs_two_of_each_side():
    labels = np.array([[1, 0], [0, 1], [0, 1], [0, 1.0]])
    found = evaluate(labels, labels, labels, labels[:, 0], np.zeros(4, bool), ["a", "b"], None, 10)
    assert found.categories["a"].note.startswith("no AUROC: 1 positive, at least 2")
    assert found.categories["b"].note.startswith("no AUROC: 1 negative, at least 2")
    assert [one.positives for one in found.categories.values()] == [1, 3]
    assert [one.negatives for one in found.categories.values()] == [3, 1]


def test_trivial_predictors_by_hand():
    trivial = judge().trivial
    # 4 positives among 17 known cells; 3 rows without a positive
    assert trivial["none"]["hamming_score"] == pytest.approx(13 / 17)
    assert trivial["none"]["subset_accuracy"] == pytest.approx(1 / 2)
    assert trivial["none"]["macro_f1"] == 0
    assert trivial["all"]["hamming_score"] == pytest.approx(4 / 17)
    assert trivial["all"]["subset_accuracy"] == 0
    assert trivial["prevalence"] == trivial["none"]


def test_metrics_json_keys_and_nulls():
    content = judge(patients=list("aabbcc")).to_dict()
    parsed = json.loads(json.dumps(content, allow_nan=False))
    scalars = {
        "mean_auroc",
        "hamming_score",
        "subset_accuracy",
        "image_auroc",
        "macro_f1",
        "sensitivity",
        "specificity",
    }
    assert scalars | {"intervals", "categories", "trivial", "images", "patients"} <= set(parsed)
    assert set(parsed["intervals"]) == scalars
    assert set(parsed["categories"]) == set(CATEGORIES)
    assert set(parsed["categories"]["mass"]) == {
        "auroc",
        "interval",
        "delong",
        "positives",
        "negatives",
        "unknown",
        "f1",
        "sensitivity",
        "specificity",
        "note",
    }
    assert parsed["categories"]["hernia"]["auroc"] is None
    assert parsed["categories"]["hernia"]["interval"] == [None, None]
    assert parsed["images"] == 6
    assert parsed["patients"] == 3
    assert parsed["resamples"] == 50
    low, high = parsed["intervals"]["hamming_score"]
    assert low <= parsed["hamming_score"] <= high


def test_delong_stands_beside_the_bootstrap_where_every_patient_has_one_image():
    # nodule: .7 and .2 against .1, 0.3, 0.1, 0.1; the second positive beats three of four
    alone = judge(patients=list("abcdef"))
    nodule = delong_auroc([0, 1, 1, 0, 0, 0], SCORES[:, 1])
    assert alone.categories["nodule"].delong == (nodule.low, nodule.high)
    image = delong_auroc([1, 1, 1, 0, 0], ABNORMALITY[:5])
    assert alone.delong == (image.low, image.high)
    assert alone.to_dict()["delong"] == [image.low, image.high]
    assert alone.to_dict()["categories"]["nodule"]["delong"] == [nodule.low, nodule.high]
    # a perfect AUROC has no variance, a category without positives no AUROC
    assert alone.categories["mass"].delong is None
    assert alone.categories["hernia"].delong is None
    together = judge(patients=list("aabcde"))
    assert together.delong is None
    assert together.to_dict()["categories"]["nodule"]["delong"] is None


def test_notes_name_what_is_missing():
    text = " ".join(judge().notes)
    assert "No AUROC for hernia" in text
    assert "1 of 6 images" in text
    nobody = judge(normal=np.zeros(6, dtype=bool))
    assert np.isnan(nobody.image_auroc)
    assert "No image AUROC: 0 normal" in " ".join(nobody.notes)
    assert "nothing but 1 patient." in " ".join(judge(patients=["a"] * 6).notes)


def test_missing_patient_ids_make_an_image_its_own_patient():
    some = judge(patients=["a", "a", "", None, NAN, "b"])
    assert (some.patients, some.unknown_patients) == (2, 3)
    assert some.people == "2 patients and 3 images of unknown patients"
    assert (judge().patients, judge().people) == (0, "6 images of unknown patients")


def test_without_resamples_there_are_no_intervals():
    assert np.isnan(judge(resamples=0).intervals["mean_auroc"]).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"categories": ("a", "b")}, "expected 3 names"),
        ({"categories": ("a", "b", "a")}, "given twice"),
        ({"normal": np.ones(6, dtype=bool)}, "row 0 .* declared normal"),
        ({"normal": np.zeros(5, dtype=bool)}, r"\(6, 1\), got \(5, 1\)"),
        ({"patients": ["a"]}, "expected 6 ids"),
        ({"labels": np.full((6, 3), NAN)}, "every label is unknown"),
        ({"labels": np.zeros((0, 3))}, "nothing to evaluate"),
        ({"abnormality": np.zeros((6, 1))}, "abnormality: expected shape"),
        ({"scores": np.full((6, 3), np.inf)}, "scores: 18 of 18"),
    ],
)
def test_wrong_input_is_named(changes, message):
    with pytest.raises(InputError, match=message):
        judge(**changes)


def test_unknown_patients_are_not_called_patients():
    labels = np.array([[1.0]] * 3 + [[0.0]] * 3)
    arrays = (labels, labels, labels, labels[:, 0], labels[:, 0] == 0, ["mass"])
    unknown = evaluate(*arrays, None, 10)
    assert (unknown.patients, unknown.unknown_patients) == (0, 6)
    assert any(note.startswith("Patients are unknown") for note in unknown.notes)
    some = evaluate(*arrays, ["a", "", "b", "b", "c", ""], 10)
    assert (some.patients, some.unknown_patients) == (3, 2)
    assert any(note.startswith("Of 2 images patients are unknown") for note in some.notes)
    known = evaluate(*arrays, list("abcdef"), 10)
    assert known.unknown_patients == 0
    assert not any("unknown" in note for note in known.notes)
    captions = [protocol_tables(one)[0].caption for one in (unknown, known)]
    assert "bootstrap over 6 images of unknown patients, 10" in captions[0]
    assert "bootstrap over 6 patients" in captions[1]
    assert plain_summary(unknown)[0].startswith("6 images of unknown patients were")
    assert plain_summary(some)[0].startswith("3 patients and 2 images of unknown patients were")
    assert plain_summary(known)[0].startswith("6 images of 6 patients were")
    assert "positives from 3 images of unknown patients" in unknown.categories["mass"].note
    assert "2 patients and 1 image of an unknown" in some.categories["mass"].note
