"""SDMAD as scikit-learn's tools see it."""

import inspect
import pickle
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
from sklearn import config_context
from sklearn.base import clone, is_classifier
from sklearn.exceptions import NotFittedError as SklearnNotFittedError
from sklearn.metrics import accuracy_score
from sklearn.model_selection import GridSearchCV, KFold, cross_val_predict, cross_val_score
from sklearn.pipeline import Pipeline
from sklearn.utils.estimator_checks import check_estimator
from sklearn.utils.validation import check_is_fitted

import sdmad
from sdmad import SDMAD, SDMADConfig
from sdmad.detector.sign_detector import SignDetector
from sdmad.errors import InputError, ModelError, NotFittedError

QUICK = SDMADConfig(epochs=1)

MATRIX = "it fits on a matrix of features; here X holds images or paths"
CLASSES = "it fits on one class an image; here y is a matrix, a column a category of the bank"
EXPECTED = {
    **dict.fromkeys(
        (
            "check_complex_data",
            "check_dict_unchanged",
            "check_dont_overwrite_parameters",
            "check_dtype_object",
            "check_estimators_dtypes",
            "check_estimators_empty_data_messages",
            "check_estimators_fit_returns_self",
            "check_estimators_overwrite_params",
            "check_estimators_pickle",
            "check_f_contiguous_array_estimator",
            "check_fit2d_1feature",
            "check_fit2d_1sample",
            "check_fit2d_predict1d",
            "check_fit_check_is_fitted",
            "check_fit_idempotent",
            "check_fit_score_takes_y",
            "check_methods_sample_order_invariance",
            "check_methods_subset_invariance",
            "check_pipeline_consistency",
            "check_positive_only_tag_during_fit",
            "check_readonly_memmap_input",
            "check_requires_y_none",
        ),
        MATRIX,
    ),
    "check_decision_proba_consistency": "a probability needs a prevalence, which somebody states",
    "check_n_features_in": "images have no number of features: they may differ in size",
    "check_n_features_in_after_fitting": "as check_n_features_in",
    "check_estimators_nan_inf": "an image may hold NaN, which is shown as black",
    "check_estimator_sparse_tag": "a sparse matrix holds no images",
    "check_estimator_sparse_array": "as check_estimator_sparse_tag",
    "check_estimator_sparse_matrix": "as check_estimator_sparse_tag",
    **dict.fromkeys(
        (
            "check_classifier_data_not_an_array",
            "check_classifier_multioutput",
            "check_classifier_not_supporting_multiclass",
            "check_classifiers_classes",
            "check_classifiers_multilabel_output_format_decision_function",
            "check_classifiers_multilabel_output_format_predict",
            "check_classifiers_multilabel_output_format_predict_proba",
            "check_classifiers_multilabel_representation_invariance",
            "check_classifiers_one_label",
            "check_classifiers_regression_target",
            "check_classifiers_train",
        ),
        CLASSES,
    ),
}
"""Checks of scikit-learn that no classifier of images with several labels can pass, and why. What
they are about is tested below, on images."""


class OnFeatures(SDMAD):
    """Says that it takes a matrix of features, without which check_estimator checks nothing."""

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = True
        return tags


def unfitted(bank, backbone, config=QUICK):
    return SDMAD(bank, backbone, config)


def as_stack(pictures):
    images, labels = pictures
    return np.stack([np.asarray(image) for image in images]), labels


@pytest.mark.filterwarnings("ignore")
def test_check_estimator_fails_where_images_differ_from_features_and_nowhere_else():
    results = check_estimator(OnFeatures("oct", config=QUICK), on_fail=None, on_skip=None)
    failed = {result["check_name"] for result in results if result["status"] == "failed"}
    passed = {result["check_name"] for result in results if result["status"] == "passed"}
    assert failed == set(EXPECTED)
    assert {"check_no_attributes_set_in_init", "check_set_params", "check_estimators_unfitted"} <= (
        passed
    )


def test_the_constructor_stores_what_it_is_given_and_does_nothing_else():
    given = {
        "signs": "no such bank",
        "backbone": "no/such/backbone",
        "config": 7,
        "seed": "x",
        "device": "abacus",
        "precision": "half",
        "image_size": -1,
        "window": "none",
    }
    detector = SDMAD(**given)
    assert detector.get_params() == given
    assert vars(detector) == given
    assert list(inspect.signature(SDMAD).parameters) == list(given)


def test_a_wrong_parameter_is_told_when_it_is_used(small_bank, tiny_backbone, pictures):
    for wrong, error in (
        ({"config": 7}, "config must be an SDMADConfig"),
        ({"precision": "half"}, "precision must be one of"),
        ({"window": "none"}, "window"),
        ({"image_size": 64}, "image_size 64 goes with a backbone's name"),
        ({"signs": "no-such-bank"}, "no-such-bank"),
    ):
        detector = SDMAD(**{"signs": small_bank, "backbone": tiny_backbone, **wrong})
        with pytest.raises(InputError, match=error):
            detector.fit(*pictures)
    with pytest.raises(ModelError):
        SDMAD(small_bank, "no/such/folder").fit(*pictures)


def test_the_callers_backbone_is_neither_moved_nor_altered(small_bank, tiny_backbone, pictures):
    before = (tiny_backbone.preprocessing, tiny_backbone.dtype, vars(tiny_backbone).copy())
    detector = SDMAD(small_bank, tiny_backbone, QUICK, window="full").fit(*pictures)
    assert (tiny_backbone.preprocessing, tiny_backbone.dtype, vars(tiny_backbone)) == before
    assert detector.backbone is tiny_backbone
    assert detector.backbone_ is not tiny_backbone
    assert detector.preprocessing.window == "full"
    assert detector.backbone_.image is tiny_backbone.image  # shared: nothing had to move


def test_a_clone_is_unfitted_and_shares_the_frozen_backbone(fitted):
    twin = clone(fitted)
    assert twin.backbone is fitted.backbone
    assert twin.signs is fitted.signs
    assert twin.config == fitted.config
    with pytest.raises(NotFittedError):
        twin.predict([])
    with pytest.raises(SklearnNotFittedError):
        check_is_fitted(twin)
    check_is_fitted(fitted)


@pytest.mark.parametrize("name", ["head_", "log_", "bank_", "backbone_", "config_", "thresholds_"])
def test_what_a_fit_settles_is_not_there_before_it(small_bank, tiny_backbone, name):
    detector = unfitted(small_bank, tiny_backbone)
    assert not hasattr(detector, name)
    with pytest.raises(NotFittedError, match="not fitted yet"):
        getattr(detector, name)


def test_single_settings_are_parameters_too(small_bank, tiny_backbone):
    detector = unfitted(small_bank, tiny_backbone)
    assert detector.get_params()["config__margin"] == QUICK.margin
    assert "config__margin" not in detector.get_params(deep=False)
    assert detector.set_params(config__margin=0.5, seed=3) is detector
    assert (detector.config.margin, detector.config.epochs, detector.seed) == (0.5, 1, 3)
    assert QUICK.margin != 0.5  # replaced, not altered
    assert SDMAD(small_bank).set_params(config__lam=0.1).config == SDMADConfig(lam=0.1)
    with pytest.raises(InputError, match="did you mean margin"):
        detector.set_params(config__margn=0.5)
    with pytest.raises(InputError, match="margin must lie in"):
        detector.set_params(config__margin=9.0)
    with pytest.raises(ValueError, match="nothing"):
        detector.set_params(nothing=1)


def test_it_is_a_classifier_of_several_labels(fitted, small_bank):
    assert is_classifier(fitted)
    assert fitted.__sklearn_tags__().classifier_tags.multi_label
    assert fitted.classes_.tolist() == list(small_bank.names)


def test_fit_returns_itself_and_repeats_to_the_bit(small_bank, tiny_backbone, pictures):
    images, labels = pictures
    detector = unfitted(small_bank, tiny_backbone)
    assert detector.fit(images, labels) is detector
    first = detector.decision_function(images)
    assert np.array_equal(detector.fit(images, labels).decision_function(images), first)
    parameters = detector.get_params()
    assert parameters == unfitted(small_bank, tiny_backbone).get_params()


def test_the_order_and_the_choice_of_images_do_not_matter(fitted, pictures):
    images, _ = pictures
    whole = fitted.decision_function(images)
    order = np.random.default_rng(0).permutation(len(images))
    np.testing.assert_allclose(
        fitted.decision_function([images[i] for i in order]), whole[order], atol=1e-5
    )
    np.testing.assert_allclose(fitted.decision_function(images[2:5]), whole[2:5], atol=1e-5)


def test_arrays_of_images_and_of_paths_are_lists_of_them(fitted, pictures, tmp_path):
    from PIL import Image

    stack, _ = as_stack(pictures)
    stack.setflags(write=False)
    paths = []
    for number, image in enumerate(stack):
        paths.append(tmp_path / f"{number}.png")
        Image.fromarray(image).save(paths[-1])
    expected = fitted.decision_function(list(stack))
    as_text = np.array([str(path) for path in paths])
    assert np.array_equal(fitted.decision_function(stack), expected)
    assert np.array_equal(fitted.decision_function(np.array(paths, dtype=object)), expected)
    assert np.array_equal(fitted.decision_function(as_text), expected)
    colour = np.repeat(stack[..., None], 3, axis=3)
    assert np.array_equal(fitted.decision_function(colour), expected)


def test_a_column_of_a_data_frame_is_a_list_of_paths(fitted, pictures, tmp_path):
    pandas = pytest.importorskip("pandas")
    from PIL import Image

    path = tmp_path / "one.png"
    Image.fromarray(np.asarray(pictures[0][0])).save(path)
    frame = pandas.DataFrame({"file": [str(path)] * 2})
    assert fitted.predict(frame["file"]).shape == (2, 3)


def test_score_is_subset_accuracy_and_unknown_labels_count_neither_way(fitted, pictures):
    images, labels = pictures
    found = fitted.predict(images)
    assert fitted.score(images, labels) == pytest.approx(accuracy_score(labels, found))
    wrong = (found != labels).any(axis=1)
    some = labels.copy()
    some[found != labels] = np.nan
    assert fitted.score(images, some) == 1.0
    assert wrong.any()


def test_a_pickle_scores_to_the_bit(fitted, pictures):
    images, _ = pictures
    again = pickle.loads(pickle.dumps(fitted))
    assert np.array_equal(again.decision_function(images), fitted.decision_function(images))
    assert again.get_params()["seed"] == fitted.seed


@pytest.mark.parametrize("kind", ["list", "stack"])
def test_cross_validation_with_a_scorer_of_several_labels(
    small_bank, tiny_backbone, pictures, kind
):
    stack, labels = as_stack(pictures)
    images = stack if kind == "stack" else list(stack)
    detector, folds = unfitted(small_bank, tiny_backbone), KFold(2, shuffle=True, random_state=0)
    scores = cross_val_score(detector, images, labels, cv=folds, scoring="f1_macro")
    assert scores.shape == (2,)
    assert np.isfinite(scores).all()
    accuracies = cross_val_score(detector, images, labels, cv=folds)
    found = cross_val_predict(detector, images, labels, cv=folds)
    by_hand = [accuracy_score(labels[test], found[test]) for _, test in folds.split(stack)]
    np.testing.assert_allclose(accuracies, by_hand)


@pytest.mark.parametrize("categories", [2, 3])
def test_a_ranking_scorer_takes_its_decision_function(
    small_bank, tiny_backbone, pictures, categories
):
    stack, labels = as_stack(pictures)
    names = dict(list(small_bank.categories.items())[:categories])
    bank = type(small_bank)("part", small_bank.modality, small_bank.normal, names)
    labels = np.tile(labels[:, :categories], (2, 1))
    images = [*stack, *stack]
    scores = cross_val_score(
        unfitted(bank, tiny_backbone), images, labels, cv=KFold(2), scoring="roc_auc"
    )
    assert np.isfinite(scores).all()


def test_what_is_told_of_images_is_metadata_and_images_and_labels_are_not(small_bank):
    with config_context(enable_metadata_routing=True):
        detector = SDMAD(small_bank).set_fit_request(normal=True, patients=True, masks=False)
        asked = detector.get_metadata_routing()
    assert asked.fit.requests == {"normal": True, "patients": True, "masks": False}
    assert asked.score.requests == asked.predict.requests == {}
    assert asked.decision_function.requests == {}


def test_a_search_over_settings(small_bank, tiny_backbone, pictures):
    stack, labels = as_stack(pictures)
    search = GridSearchCV(
        SDMAD(small_bank, tiny_backbone),
        {"config__epochs": [0, 2], "seed": [0, 1]},
        cv=KFold(2),
        scoring="f1_micro",
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        search.fit(stack, labels)
    assert len(search.cv_results_["params"]) == 4
    best = search.best_params_
    assert search.best_estimator_.config_.epochs == best["config__epochs"]
    assert search.predict(stack).shape == labels.shape


def test_it_is_the_last_step_of_a_pipeline(small_bank, tiny_backbone, pictures):
    from sklearn.preprocessing import FunctionTransformer

    stack, labels = as_stack(pictures)
    pipeline = Pipeline(
        [
            ("invert", FunctionTransformer(lambda images: 255 - images)),
            ("detector", unfitted(small_bank, tiny_backbone)),
        ]
    )
    pipeline.set_params(detector__config__epochs=2).fit(stack, labels)
    alone = SDMAD(small_bank, tiny_backbone, SDMADConfig(epochs=2)).fit(255 - stack, labels)
    expected = alone.decision_function(255 - stack)
    assert np.array_equal(pipeline.decision_function(stack), expected)


def test_it_shows_itself_in_a_line_and_in_a_notebook(fitted, small_bank):
    assert "signs=<SignBank small" in repr(fitted)
    assert f"config={fitted.config!r}" in repr(fitted)
    page = fitted._repr_html_()
    assert "SDMAD" in page
    assert "SignBank small" in page
    assert repr(SDMAD("oct")) == "SDMAD(signs='oct')"


def test_settings_show_what_is_not_the_default():
    assert repr(SDMADConfig()) == "SDMADConfig()"
    assert repr(SDMADConfig(lam=0.5, image_blocks=(1, 2))) == (
        "SDMADConfig(image_blocks=(1, 2), lam=0.5)"
    )
    assert eval(repr(SDMADConfig.paper())) == SDMADConfig.paper()


def test_a_loaded_model_is_an_estimator_with_its_parameters(model_folder, tiny_backbone, pictures):
    detector = SDMAD.load(model_folder, tiny_backbone)
    again = clone(detector).fit(*pictures)
    assert again.config == detector.config_
    assert np.array_equal(again.head_.keep.numpy(), detector.head_.keep.numpy())


def test_a_fitted_detector_without_an_estimator_scores_alike_and_learns_nothing(
    model_folder, tiny_backbone, pictures
):
    images, labels = pictures
    plain = SignDetector.load(model_folder, tiny_backbone)
    whole = SDMAD.load(model_folder, tiny_backbone)
    assert np.array_equal(plain.decision_function(images), whole.decision_function(images))
    with pytest.raises(InputError, match="fitted already"):
        plain.fit(images, labels)


def test_what_predict_imports_leaves_scikit_learn_out():
    code = "import sys, sdmad.detector.sign_detector; print('sklearn' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_the_settings_of_the_command_line_are_parameters(small_bank, tiny_clip, pictures):
    detector = SDMAD(small_bank, tiny_clip, QUICK, image_size=64, window=(100, 50)).fit(*pictures)
    assert detector.preprocessing.size == 64
    assert detector.preprocessing.window == (100.0, 50.0)
    half = SDMAD(small_bank, tiny_clip, QUICK, window="100,50").fit(*pictures)
    assert half.preprocessing.window == (100.0, 50.0)


def test_with_inference_leaves_the_original_and_its_parameters_agree(fitted, pictures):
    before = fitted.config_
    twin = fitted.with_inference(decision="mean")
    assert twin.config == twin.config_ == before.replace(decision="mean")
    assert fitted.config_ == before
    assert torch.equal(twin.head_.signs, fitted.head_.signs)


def test_errors_of_the_package_are_at_its_root():
    assert issubclass(sdmad.NotFittedError, sdmad.InputError)
    assert issubclass(sdmad.InputError, sdmad.SDMADError)
    assert issubclass(sdmad.ImageError, sdmad.SDMADError)
