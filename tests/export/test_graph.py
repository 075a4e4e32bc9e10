import pytest
import torch

from sdmad import SDMAD, SDMADConfig, load_backbone
from sdmad.errors import InputError, ModelError
from sdmad.export.graph import (
    OUTPUTS,
    FoldedAdapter,
    Scoring,
    WholeGraph,
    adapted_image,
)
from sdmad.export.trace import traced
from sdmad.method.adapters import ShiftAdapter
from tests.backbones.conftest import write_siglip
from tests.conftest import draw_pictures

SETTINGS = {
    "recommended": SDMADConfig(epochs=1),
    "paper": SDMADConfig.paper(epochs=1),
    "max pooling beside the probe": SDMADConfig(epochs=1, pooling="max", evidence_weight=0.5),
    "no selection, gelu": SDMADConfig(epochs=1, selection="none", activation="gelu"),
    "false-positive rate": SDMADConfig(epochs=1, decision="fpr:0.5"),
    "cross-modal": SDMADConfig(epochs=1, image_evidence="cross-modal", decision="odds"),
    "nothing trained": SDMADConfig(epochs=0, image_evidence="cross-modal", decision="odds"),
    "cross-modal beside Eq. 8": SDMADConfig(epochs=1, image_evidence="cross-modal"),
    "no prior": SDMADConfig(
        epochs=0, image_evidence="cross-modal", decision="odds", prior_weight=0.0
    ),
}


def squares(images):
    return torch.stack([torch.from_numpy(i).float().expand(3, -1, -1) for i in images])


@pytest.mark.parametrize("activation", ["leaky_relu", "gelu", "identity"])
def test_a_folded_adapter_is_the_adapter(activation):
    adapter = ShiftAdapter(8, 0.75, 0.8, activation)
    features = torch.randn(2, 5, 8)
    before = adapter.up.weight.clone()
    assert torch.allclose(FoldedAdapter(adapter)(features), adapter(features), atol=1e-6)
    assert torch.equal(adapter.up.weight, before)


@pytest.mark.parametrize("config", SETTINGS.values(), ids=SETTINGS)
def test_the_graph_says_what_the_detector_says(config, small_bank, tiny_backbone, pictures):
    images, labels = pictures
    detector = SDMAD(small_bank, tiny_backbone, config).fit(images, labels)
    if config.decision.startswith("fpr"):
        detector.fit_thresholds([i for i, row in zip(images, labels, strict=True) if not row.any()])
    images = draw_pictures(12, seed=4)[0]  # a threshold is the score of one of the first
    expected = detector.score_images(images)
    with torch.no_grad():
        found = dict(zip(OUTPUTS, WholeGraph(detector)(squares(images)), strict=True))
    assert (found["decisions"].numpy() == expected.decisions).all()
    for name in ("scores", "abnormality", "similarity", "anchor_similarity"):
        assert found[name].numpy() == pytest.approx(getattr(expected, name), abs=2e-5), name


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"pooling": "max", "epochs": 1},
        {"image_evidence": "none", "decision": "paper"},
        {"image_evidence": "probe", "decision": "mean"},
        {"decision": "mean"},
    ],
    ids=str,
)
def test_signs_in_patches_are_in_the_graph(settings, small_bank, tiny_clip, pictures):
    backbone = load_backbone(tiny_clip)
    backbone.image.local_values = False  # as of towers whose patches were taught
    config = {"epochs": 0, "image_evidence": "cross-modal", "decision": "odds", **settings}
    detector = SDMAD(small_bank, backbone, SDMADConfig(sign_view="patch", **config)).fit(*pictures)
    assert detector.head_.by_patch
    images = draw_pictures(12, seed=4)[0]
    expected = detector.score_images(images)
    with torch.no_grad():
        found = dict(zip(OUTPUTS, WholeGraph(detector)(squares(images)), strict=True))
    assert (found["decisions"].numpy() == expected.decisions).all()
    for name in ("scores", "abnormality", "similarity", "anchor_similarity"):
        assert found[name].numpy() == pytest.approx(getattr(expected, name), abs=2e-5), name


def test_thresholds_must_be_there(small_bank, tiny_backbone, pictures):
    detector = SDMAD(small_bank, tiny_backbone, SDMADConfig(epochs=1, decision="fpr:0.5"))
    detector.fit(*pictures)
    with pytest.raises(InputError, match="--normals"):
        Scoring(detector)


@pytest.mark.parametrize("size", [32, 40])
def test_any_size_of_input_keeps_the_tower(tiny_clip, small_bank, pictures, size):
    backbone = load_backbone(tiny_clip, size)
    detector = SDMAD(small_bank, backbone, SDMADConfig(epochs=1)).fit(*pictures)
    values = torch.rand(2, 3, size, size) * 255
    shape, pre = (1, 3, 1, 1), backbone.preprocessing
    pixels = (values / 255 - torch.tensor(pre.mean).view(shape)) / torch.tensor(pre.std).view(shape)
    with torch.no_grad():
        found = adapted_image(detector)(values)
    expected = detector.image_features(pixels)
    whole = torch.cat([expected.embedding, expected.evidence], dim=1)
    assert torch.allclose(found, whole, atol=1e-5)


def traced_tower(folder, small_bank, pictures):
    detector = SDMAD(small_bank, load_backbone(folder), SDMADConfig(epochs=0)).fit(*pictures)
    graph = adapted_image(detector)
    size = detector.backbone_.preprocessing.size
    return graph, size, traced(graph, torch.zeros(2, 3, size, size))


def test_another_tower_is_traced_for_any_number_of_images(tmp_path, small_bank, pictures):
    graph, size, program = traced_tower(write_siglip(tmp_path), small_bank, pictures)
    values = torch.rand(5, 3, size, size) * 255
    with torch.no_grad():
        assert torch.allclose(program.module()(values), graph(values), atol=1e-5)


def test_a_tower_that_counts_its_images_is_refused(tmp_path, small_bank, pictures):
    folder = write_siglip(tmp_path, version=2, naflex=True)
    with pytest.raises(ModelError, match="any number of images"):
        traced_tower(folder, small_bank, pictures)
