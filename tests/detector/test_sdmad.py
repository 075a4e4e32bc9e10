import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sdmad import SDMAD, SDMADConfig, SignBank
from sdmad.data.images import ImageError
from sdmad.detector.patients import PatientHashes
from sdmad.errors import InputError
from sdmad.method.scoring import binary_predictions, category_scores

QUICK = SDMADConfig(epochs=1)


def fit(bank, backbone, pictures, config=QUICK, seed=0, **more):
    return SDMAD(bank, backbone, config, seed).fit(*pictures, **more)


# Determinism


def test_the_same_seed_gives_the_same_bits(small_bank, tiny_backbone, pictures):
    images, _ = pictures
    config = SDMADConfig(epochs=2)
    first = fit(small_bank, tiny_backbone, pictures, config, 5).decision_function(images)
    torch.rand(7)  # the caller's own random numbers play no part
    second = fit(small_bank, tiny_backbone, pictures, config, 5).decision_function(images)
    other = fit(small_bank, tiny_backbone, pictures, config, 6).decision_function(images)
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)


def test_fitting_leaves_the_callers_random_numbers_and_the_backbone_alone(
    small_bank, tiny_backbone, pictures
):
    before = tiny_backbone.encode_text(["a round ring"])
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    fit(small_bank, tiny_backbone, pictures)
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(tiny_backbone.encode_text(["a round ring"]), before)


def test_fitting_again_forgets_the_first_fit(small_bank, tiny_backbone, pictures):
    images, labels = pictures
    detector = fit(small_bank, tiny_backbone, (images[:4], labels[:4]), patients=list("abcd"))
    detector.fit(images, labels)
    fresh = fit(small_bank, tiny_backbone, pictures)
    assert np.array_equal(detector.decision_function(images), fresh.decision_function(images))
    assert detector.support_hashes_ == fresh.support_hashes_
    assert detector.support_patients_.hashes == ()


# Which images are normal


def test_images_with_other_findings_are_not_pulled_to_the_anchor(
    small_bank, tiny_backbone, pictures
):
    images, labels = pictures
    zeros = ~labels.any(axis=1)
    config = SDMADConfig.paper(epochs=2)
    plain = fit(small_bank, tiny_backbone, pictures, config)
    told = fit(small_bank, tiny_backbone, pictures, config, normal=zeros)
    ill = fit(small_bank, tiny_backbone, pictures, config, normal=np.zeros(12, bool))
    assert told.losses == plain.losses
    assert np.array_equal(told.decision_function(images), plain.decision_function(images))
    assert ill.losses[0] < plain.losses[0]  # less to pull


def test_normal_images_have_no_finding_and_the_callers_labels_stay(
    small_bank, tiny_backbone, pictures
):
    images, labels = pictures
    unknown = np.where(labels.any(axis=1, keepdims=True), labels, np.nan)
    before = unknown.copy()
    normal = ~labels.any(axis=1)
    config = SDMADConfig.paper(epochs=1)
    told = fit(small_bank, tiny_backbone, (images, unknown), config, normal=normal.tolist())
    assert np.array_equal(unknown, before, equal_nan=True)
    plain = fit(small_bank, tiny_backbone, pictures, config)
    assert np.array_equal(told.decision_function(images), plain.decision_function(images))
    with pytest.raises(InputError, match="is declared normal and has a positive label"):
        fit(small_bank, tiny_backbone, pictures, normal=np.ones(12, bool))
    for wrong in (normal[:5], np.full(12, 0.5), labels):
        with pytest.raises(InputError, match="normal: expected true or false of each of 12"):
            fit(small_bank, tiny_backbone, pictures, normal=wrong)


# Scores


def test_scores_and_decisions_have_a_row_an_image_and_a_column_a_category(fitted, pictures):
    images, _ = pictures
    scores, decisions = fitted.decision_function(images[:5]), fitted.predict(images[:5])
    assert scores.shape == decisions.shape == (5, 3)
    assert scores.dtype == np.float64
    assert np.isfinite(scores).all()
    assert set(np.unique(decisions)) <= {0, 1}
    assert np.issubdtype(decisions.dtype, np.integer)


def test_an_image_has_the_same_score_whatever_is_scored_with_it(fitted, pictures):
    images, _ = pictures
    together = fitted.decision_function([*images, *images, *images])  # more than one batch
    alone = np.concatenate([fitted.decision_function([image]) for image in images])
    np.testing.assert_allclose(together, np.tile(alone, (3, 1)), atol=1e-5)


def test_paths_pillow_images_and_arrays_give_equal_scores(fitted, pictures, tmp_path):
    array = pictures[0][3]
    Image.fromarray(array).save(tmp_path / "picture.png")
    kinds = [
        array,
        array[:, :, None],
        np.repeat(array[:, :, None], 3, axis=2),
        Image.fromarray(array),
        Image.fromarray(array).convert("RGB"),
        tmp_path / "picture.png",
        str(tmp_path / "picture.png"),
    ]
    scores = np.concatenate([fitted.decision_function([kind]) for kind in kinds])
    assert np.array_equal(scores, np.repeat(scores[:1], len(kinds), axis=0))


def test_paper_scores_and_decisions_are_equations_7_and_8(small_bank, tiny_backbone, pictures):
    images, _ = pictures
    detector = fit(small_bank, tiny_backbone, pictures, SDMADConfig.paper(epochs=1))
    features = detector.image_features(tiny_backbone.preprocessing(images)).embedding
    scorer = detector.head_
    scores = category_scores(features, scorer.signs, scorer.category, scorer.keep)
    found = binary_predictions(features, scorer.signs, scorer.category, scorer.keep, scorer.anchor)
    np.testing.assert_allclose(detector.decision_function(images), scores.numpy(), atol=1e-6)
    assert np.array_equal(detector.predict(images), found.long().numpy())


@pytest.mark.parametrize(
    "images",
    [
        "picture.png",
        np.zeros((32, 32), np.uint8),
        np.zeros((32, 32, 3), np.uint8),
        np.zeros((2, 2, 2, 2, 2), np.uint8),
        np.array("picture.png"),
        7,
    ],
)
def test_what_is_no_list_of_images_is_refused(fitted, images):
    with pytest.raises(InputError, match="list of images"):
        fitted.decision_function(images)
    with pytest.raises(InputError, match="list of images"):
        fitted.fit(images, np.zeros((4, 3)))


def test_a_single_pillow_image_or_path_is_refused(fitted, pictures):
    for single in (Image.fromarray(pictures[0][0]), Path("picture.png")):
        with pytest.raises(InputError, match="list of images"):
            fitted.predict(single)


def test_no_image_is_refused(fitted):
    with pytest.raises(InputError, match="no image to score"):
        fitted.decision_function([])


def test_an_unreadable_image_stops_scoring_with_its_name(fitted, pictures, tmp_path):
    with pytest.raises(ImageError, match=r"missing\.png"):
        fitted.decision_function([pictures[0][0], tmp_path / "missing.png"])


def test_an_unreadable_image_can_be_skipped_with_its_row_left_empty(fitted, pictures, tmp_path):
    images = [*pictures[0][:2], tmp_path / "missing.png", pictures[0][2]]
    told = []
    scored = fitted.score_images(
        images, lambda position, error: told.append((position, error.path))
    )
    assert told == [(2, tmp_path / "missing.png")]
    assert np.isnan(scored.scores[2]).all()
    assert not scored.decisions[2].any()
    assert np.isnan(scored.abnormality[2])
    expected = fitted.decision_function(pictures[0][:3])
    np.testing.assert_allclose(scored.scores[[0, 1, 3]], expected, atol=1e-5)


def test_a_batch_of_nothing_but_unreadable_images_is_all_empty(fitted, tmp_path):
    missing = [tmp_path / f"{i}.png" for i in range(3)]
    scored = fitted.score_images(missing, lambda position, error: None)
    assert scored.scores.shape == (3, 3)
    assert np.isnan(scored.scores).all()
    assert not scored.decisions.any()


# Labels and other arguments


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (np.zeros((12, 2)), r"\(12, 3\).*\(12, 2\)"),
        (np.zeros(12), r"\(12, 3\)"),
        (np.zeros((11, 3)), r"\(12, 3\)"),
        (np.full((12, 3), 2.0), "got 2 in row 0, column 0"),
        (np.full((12, 3), -1.0), "got -1"),
        (np.full((12, 3), np.inf), "inf"),
        (np.full((12, 3), np.nan), "every label is unknown"),
        ([["ring"] * 3] * 12, "expected a matrix"),
        ([[1, 0], [1]] * 6, "expected a matrix"),
    ],
)
def test_labels_that_cannot_be_used_are_refused(small_bank, tiny_backbone, pictures, labels, said):
    with pytest.raises(InputError, match=said):
        SDMAD(small_bank, tiny_backbone, QUICK).fit(pictures[0], labels)


def test_integer_boolean_and_list_labels_are_taken(small_bank, tiny_backbone, pictures):
    images, labels = pictures
    expected = fit(small_bank, tiny_backbone, pictures).decision_function(images[:2])
    for same in (labels.astype(int), labels.astype(bool), labels.tolist()):
        found = fit(small_bank, tiny_backbone, (images, same)).decision_function(images[:2])
        assert np.array_equal(found, expected)


def test_unknown_labels_are_learnt_from_without_harm(small_bank, tiny_backbone, pictures):
    images, labels = pictures
    labels = labels.copy()
    labels[0, 1] = labels[5] = np.nan
    detector = fit(small_bank, tiny_backbone, (images, labels))
    assert np.isfinite(detector.decision_function(images)).all()


def test_no_image_and_a_wrong_number_of_patients_are_refused(small_bank, tiny_backbone, pictures):
    with pytest.raises(InputError, match="no image to fit on"):
        SDMAD(small_bank, tiny_backbone).fit([], np.zeros((0, 3)))
    with pytest.raises(InputError, match="2 patients for 12 images"):
        SDMAD(small_bank, tiny_backbone).fit(*pictures, patients=["a", "b"])


@pytest.mark.parametrize("seed", [-1, 1.5, True, 2**70, "0"])
def test_a_seed_that_is_none_is_refused(small_bank, tiny_backbone, pictures, seed):
    with pytest.raises(InputError, match="seed"):
        SDMAD(small_bank, tiny_backbone, seed=seed).fit(*pictures)


@pytest.mark.parametrize("device", ["abacus", "cuda:77", "meta", ""])
def test_a_device_that_is_not_there_is_refused(small_bank, tiny_backbone, pictures, device):
    with pytest.raises(InputError, match="device"):
        SDMAD(small_bank, tiny_backbone, device=device).fit(*pictures)


def test_blocks_beyond_the_tower_are_refused(small_bank, tiny_backbone, pictures):
    with pytest.raises(InputError, match="adapters do not fit"):
        fit(small_bank, tiny_backbone, pictures, SDMADConfig(epochs=1, image_blocks=(7,)))


def test_before_fitting_everything_says_so(small_bank, tiny_backbone, pictures, tmp_path):
    detector = SDMAD(small_bank, tiny_backbone)
    images, _ = pictures
    for act in (
        lambda: detector.decision_function(images),
        lambda: detector.predict(images),
        lambda: detector.explain(images[0]),
        lambda: detector.save(tmp_path / "model"),
        lambda: detector.margins(),
        lambda: detector.with_inference(decision="mean"),
    ):
        with pytest.raises(InputError, match="not fitted yet"):
            act()
    assert not (tmp_path / "model").exists()


# Odd support sets


def test_a_category_without_a_positive_is_noted(small_bank, tiny_backbone, pictures):
    images, labels = pictures
    rows = labels[:, 2] == 0
    chosen = [image for image, wanted in zip(images, rows, strict=True) if wanted]
    detector = fit(small_bank, tiny_backbone, (chosen, labels[rows]))
    assert "Dots: no positive in the support set" in detector.notes_
    assert not any(note.startswith(("Ring: no", "Bar: no")) for note in detector.notes_)
    assert np.isfinite(detector.decision_function(images)).all()


def test_normal_images_alone_can_be_fitted(small_bank, tiny_backbone, pictures):
    images, _ = pictures
    detector = fit(small_bank, tiny_backbone, (images[4:6], np.zeros((2, 3))))
    assert len([note for note in detector.notes_ if "no positive" in note]) == 3
    assert np.isfinite(detector.decision_function(images)).all()


def test_one_category_keeps_all_its_signs(tiny_backbone, pictures):
    images, labels = pictures
    bank = SignBank("one", "picture", ("a plain picture",), {"Ring": ("a ring", "a circle", "o")})
    detector = fit(bank, tiny_backbone, (images, labels[:, :1]))
    assert detector.head_.keep.all()
    assert detector.decision_function(images).shape == (12, 1)
    assert len(detector.explain(images[0]).categories) == 1


def test_one_image_can_be_fitted(small_bank, tiny_backbone, pictures):
    images, labels = pictures
    detector = fit(small_bank, tiny_backbone, (images[:1], labels[:1]))
    assert np.isfinite(detector.decision_function(images)).all()


def test_a_training_that_diverges_says_so(small_bank, tiny_backbone, pictures, monkeypatch):
    monkeypatch.setattr(
        "sdmad.detector.training.inter_anomaly_loss",
        lambda image, *rest: image.sum() * torch.tensor(torch.nan),
    )
    with pytest.raises(InputError, match=r"diverged.*learning_rate"):
        fit(small_bank, tiny_backbone, pictures)


def test_a_collapse_in_training_is_warned_of(small_bank, tiny_backbone, pictures, monkeypatch):
    monkeypatch.setattr("sdmad.detector.training.COLLAPSED", 0.9)
    told = iter([0.2, 0.95, 0.95])
    monkeypatch.setattr("sdmad.detector.training.mean_sign_cosine", lambda signs: next(told))
    with pytest.warns(
        UserWarning, match=r"collapsed \(mean cosine 0\.200 .* 0\.950 after\).*now 0"
    ):
        fit(small_bank, tiny_backbone, pictures)


def test_signs_that_the_backbone_cannot_tell_apart_are_warned_of(tiny_backbone, pictures):
    images, labels = pictures
    bank = SignBank("x", "picture", ("plain",), {"Ring": ("a ring",), "Bar": ("a ring",)})
    with pytest.warns(UserWarning, match=r"hardly tells the signs apart \(mean cosine 1\.000"):
        fit(bank, tiny_backbone, (images, labels[:, :2]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit(bank, tiny_backbone, (images, labels[:, :2]), SDMADConfig(epochs=0))


def test_a_category_that_selection_would_empty_is_noted_and_keeps_one_sign(tiny_backbone, pictures):
    # Each sign of Ring stands in another category too, at distance 0: Eq. 6 keeps neither.
    shared = {"Ring": ("a ring", "far dots"), "Bar": ("a ring",), "Dots": ("far dots",)}
    bank = SignBank("twins", "picture", ("plain",), shared)
    detector = fit(bank, tiny_backbone, pictures, SDMADConfig(epochs=1, selection="paper"))
    kept = detector.head_.keep[detector.head_.category == 0]
    assert kept.sum() == 1
    (note,) = [note for note in detector.notes_ if "discarded every sign" in note]
    assert "of Ring;" in note
    whole = fit(bank, tiny_backbone, pictures, SDMADConfig(epochs=1, selection="none"))
    assert whole.head_.keep.all()
    assert not any("discarded" in note for note in whole.notes_)


# Decision rules


def test_thresholds_are_exceeded_by_at_most_the_rate(small_bank, tiny_backbone, pictures):
    images, labels = pictures
    normals = [np.clip(images[4] + i, 0, 255).astype(np.uint8) for i in range(20)]
    detector = SDMAD(small_bank, tiny_backbone, SDMADConfig(epochs=1, decision="fpr:0.1"))
    detector.fit(images, labels)
    with pytest.raises(InputError, match="--normals"):
        detector.predict(images)
    detector.fit_thresholds(normals)
    assert (detector.predict(normals).mean(axis=0) <= 0.1).all()
    scores = detector.decision_function(images)
    assert np.array_equal(detector.predict(images), (scores > detector.thresholds_).astype(int))


def test_too_few_normal_images_are_refused_and_set_nothing(small_bank, tiny_backbone, pictures):
    images, labels = pictures
    config = SDMADConfig(epochs=1, decision="fpr:0.05")
    detector = SDMAD(small_bank, tiny_backbone, config).fit(images, labels)
    with pytest.raises(InputError, match="at least 19 normal images, got 12"):
        detector.fit_thresholds(images)
    with pytest.raises(InputError, match="needs thresholds"):
        detector.predict(images)


def test_thresholds_need_the_fpr_rule(fitted, pictures):
    with pytest.raises(InputError, match="fpr:RATE, not odds"):
        fitted.fit_thresholds(pictures[0])


def test_with_inference_changes_decisions_and_not_the_training(small_bank, tiny_backbone, pictures):
    images, _ = pictures
    detector = fit(small_bank, tiny_backbone, pictures, SDMADConfig.paper(epochs=1))
    before = detector.score_images(images)
    every = detector.with_inference(selection="none", pooling="mean", decision="mean")
    assert every.head_.keep.all()
    assert every.config.epochs == 1
    mean = before.similarity.reshape(12, 3, 2).mean(axis=2)
    np.testing.assert_allclose(every.decision_function(images), mean, atol=1e-6)
    found = mean > before.anchor_similarity[:, None]
    assert np.array_equal(every.predict(images), found.astype(int))
    after = detector.score_images(images)
    assert np.array_equal(after.scores, before.scores)
    assert np.array_equal(after.decisions, before.decisions)


def test_with_inference_refuses_what_belongs_to_training(fitted):
    with pytest.raises(InputError, match="margin belongs to training"):
        fitted.with_inference(margin=0.1)
    with pytest.raises(InputError, match="pooling must be one of"):
        fitted.with_inference(pooling="median")


def test_thresholds_of_another_rate_or_score_are_never_used(small_bank, tiny_backbone, pictures):
    images, labels = pictures
    probe = {"image_evidence": "probe", "selection": "paper"}
    config = SDMADConfig(epochs=1, decision="fpr:0.2", **probe)
    detector = SDMAD(small_bank, tiny_backbone, config).fit(images, labels)
    detector.fit_thresholds(images)
    assert detector.with_inference(decision="fpr:0.2").predict(images).shape == (12, 3)
    for changes in ({"decision": "fpr:0.5"}, {"pooling": "max"}, {"selection": "none"}):
        with pytest.raises(InputError, match="needs thresholds"):
            detector.with_inference(**changes).predict(images)


# Explanations


def test_the_deciding_sign_is_the_kept_sign_with_the_largest_cosine(fitted, pictures):
    image = pictures[0][0]
    explanation = fitted.explain(image)
    scored = fitted.score_images([image])
    keep = fitted.head_.keep.numpy()
    index = np.array(fitted.bank_.category_index)
    assert [entry.category for entry in explanation.categories] == ["Ring", "Bar", "Dots"]
    assert explanation.anchor_similarity == scored.anchor_similarity[0]
    assert explanation.abnormality == scored.abnormality[0]
    for k, entry in enumerate(explanation.categories):
        rows = np.flatnonzero((index == k) & keep)
        best = rows[np.argmax(scored.similarity[0, rows])]
        assert entry.deciding_sign.sentence == fitted.bank_.sentences[best]
        assert entry.deciding_sign.similarity == scored.similarity[0, best]
        assert entry.deciding_sign.kept
        assert entry.score == scored.scores[0, k]
        assert entry.found == scored.decisions[0, k]
        assert sorted(s.sentence for s in entry.signs) == sorted(
            s for s, c in zip(fitted.bank_.sentences, index, strict=True) if c == k
        )
        cosines = [sign.similarity for sign in entry.signs]
        assert cosines == sorted(cosines, reverse=True)


def test_a_discarded_sign_never_decides(tiny_backbone, pictures):
    images, labels = pictures
    bank = SignBank(
        "shared",
        "picture",
        ("plain",),
        {"Ring": ("a mark", "a ring", "a circle"), "Bar": ("a mark", "a bar", "a line")},
    )
    config = SDMADConfig(epochs=1, selection="paper")
    detector = fit(bank, tiny_backbone, (images, labels[:, :2]), config)
    for image in images:
        for entry in detector.explain(image).categories:
            assert entry.deciding_sign.sentence != "a mark"
            assert not next(s for s in entry.signs if s.sentence == "a mark").kept


# What is remembered


def test_support_images_are_remembered_by_content_and_patients_by_salted_hash(
    small_bank, tiny_backbone, pictures
):
    images, labels = pictures
    twice = ([*images, images[0]], np.vstack([labels, labels[:1]]))
    people = [*(f"p{i}" for i in range(12)), "p0"]
    detector = fit(small_bank, tiny_backbone, twice, patients=people)
    assert len(detector.support_hashes_) == 12
    assert detector.support_hashes_ == tuple(sorted(detector.support_hashes_))
    hashes = detector.support_patients_
    assert len(hashes.hashes) == 12
    assert hashes.contain(["p3", "p12", "p0"]) == [True, False, True]
    again = PatientHashes.of(people)
    assert not set(again.hashes) & set(hashes.hashes)  # another salt
