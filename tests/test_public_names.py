"""The names that others build on: they stay, with these arguments and these shapes."""

import inspect

import numpy as np
import pytest
import torch

import sdmad
from sdmad import SDMAD, SDMADConfig, SignBank, load_backbone
from sdmad.evaluation.metrics import hamming_score, subset_accuracy
from sdmad.method.losses import anchor_loss, image_text_loss
from sdmad.method.scoring import binary_predictions, category_scores
from sdmad.method.selection import select_signs
from sdmad.signs.bank import list_banks


def parameters(function):
    return list(inspect.signature(function).parameters)


def test_the_package_gives_its_names_and_nothing_else():
    assert sorted(sdmad.__all__) == [
        "Explanation",
        "ImageError",
        "ImageScores",
        "InputError",
        "MissingExtraError",
        "ModelError",
        "NotFittedError",
        "SDMAD",
        "SDMADConfig",
        "SDMADError",
        "SignBank",
        "WeightsMissingError",
        "__version__",
        "load_backbone",
    ]
    assert all(getattr(sdmad, name) for name in sdmad.__all__)
    assert dir(sdmad) == sorted(sdmad.__all__)
    assert not hasattr(sdmad, "Nothing")


@pytest.mark.parametrize(
    ("function", "names"),
    [
        (image_text_loss, ["image_features", "text_features", "category", "anchor", "labels"]),
        (
            anchor_loss,
            ["image_features", "text_features", "category", "anchor", "labels", "margin"],
        ),
        (select_signs, ["text_features", "category"]),
        (category_scores, ["image_features", "text_features", "category", "keep"]),
        (binary_predictions, ["image_features", "text_features", "category", "keep", "anchor"]),
        (hamming_score, ["y_true", "y_pred"]),
        (subset_accuracy, ["y_true", "y_pred"]),
        (SDMAD.decision_function, ["self", "images"]),
        (SDMAD.predict, ["self", "images"]),
        (SDMAD.explain, ["self", "image"]),
    ],
)
def test_functions_take_their_arguments(function, names):
    found = inspect.signature(function).parameters
    assert list(found)[: len(names)] == names
    for extra in list(found)[len(names) :]:
        assert found[extra].default is not inspect.Parameter.empty


def test_the_margin_is_zero_unless_given():
    assert inspect.signature(anchor_loss).parameters["margin"].default == 0.0


@pytest.fixture
def features():
    generator = torch.Generator().manual_seed(0)
    images = torch.nn.functional.normalize(torch.randn(5, 8, generator=generator), dim=1)
    texts = torch.nn.functional.normalize(torch.randn(6, 8, generator=generator), dim=1)
    anchor = torch.nn.functional.normalize(torch.randn(8, generator=generator), dim=0)
    labels = torch.tensor([[1.0, 0], [0, 1], [1, 1], [0, 0], [1, torch.nan]])
    return images, texts, torch.tensor([0, 0, 0, 1, 1, 1]), anchor, labels


def test_losses_are_scalars(features):
    images, texts, category, anchor, labels = features
    for loss in (
        image_text_loss(images, texts, category, anchor, labels),
        anchor_loss(images, texts, category, anchor, labels),
        anchor_loss(images, texts, category, anchor, labels, margin=0.3),
    ):
        assert loss.shape == ()
        assert torch.isfinite(loss)


def test_selection_and_scores_have_their_shapes(features):
    images, texts, category, anchor, _ = features
    keep = select_signs(texts, category)
    assert keep.shape == (6,)
    assert keep.dtype == torch.bool
    assert category_scores(images, texts, category, keep).shape == (5, 2)
    found = binary_predictions(images, texts, category, keep, anchor)
    assert found.shape == (5, 2)
    assert set(found.long().flatten().tolist()) <= {0, 1}


def test_metrics_are_numbers():
    truth, found = np.array([[1, 0], [0, 0]]), np.array([[1, 1], [0, 0]])
    assert hamming_score(truth, found) == 0.75
    assert subset_accuracy(truth, found) == 0.5


def test_the_embedded_backbone_encodes_to_unit_length():
    backbone = load_backbone("lite")
    size = backbone.preprocessing.size
    images = backbone.encode_image(torch.rand(2, 3, size, size))
    texts = backbone.encode_text(["a nodule", "clear lungs", "ring-enhancing lesion"])
    assert images.shape == (2, backbone.dimension)
    assert texts.shape == (3, backbone.dimension)
    for embeddings in (images, texts):
        torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(len(embeddings)))


def test_the_packaged_banks_are_there():
    assert {"brain", "chest", "oct"} <= set(list_banks())
    assert len(SignBank.load("brain").names) == 6
    assert len(SignBank.load("chest").names) == 14
    assert SignBank.load("oct").names == ("CNV", "DME", "Drusen")


def test_the_detector_is_made_of_a_bank_and_a_config(tiny_backbone):
    detector = SDMAD("oct", tiny_backbone, SDMADConfig(), seed=1, device="cpu")
    assert detector.categories == ("CNV", "DME", "Drusen")
    assert parameters(SDMAD.fit)[:3] == ["self", "images", "labels"]
    assert parameters(SDMAD.save)[:2] == ["self", "folder"]
    assert parameters(SDMAD.load)[0] == "folder"


@pytest.mark.filterwarnings("ignore:the signs' embeddings", "ignore:the backbone hardly")
def test_the_whole_of_it_on_the_packaged_backbone(tmp_path):
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 255, (128, 128), np.uint8) for _ in range(4)]
    labels = np.eye(4, 3)
    detector = SDMAD("oct", config=SDMADConfig(epochs=1)).fit(images, labels)
    detector.save(tmp_path / "model")
    loaded = SDMAD.load(tmp_path / "model")
    assert np.array_equal(loaded.decision_function(images), detector.decision_function(images))
    assert loaded.explain(images[0]) == detector.explain(images[0])
