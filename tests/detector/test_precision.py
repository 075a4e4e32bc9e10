import numpy as np
import pytest
import torch
from torch.nn.functional import cosine_similarity

from sdmad import SDMAD, SDMADConfig, load_backbone
from sdmad.detector.precision import choose_precision, has_bfloat16, placed
from sdmad.errors import InputError
from sdmad.phantoms.cases import draw_cases, load_modality

CPU = torch.device("cpu")


@pytest.fixture
def native(monkeypatch):
    """A processor with bfloat16, whatever this one has."""
    monkeypatch.setattr("sdmad.detector.precision.has_bfloat16", lambda device: True)


def test_auto_takes_what_the_machine_has(monkeypatch):
    for native, expected in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr("sdmad.detector.precision.has_bfloat16", lambda device, has=native: has)
        assert choose_precision("auto", CPU) == expected
        assert choose_precision("float32", CPU) == torch.float32
    with pytest.raises(InputError, match="no bfloat16 arithmetic"):
        choose_precision("bfloat16", CPU)
    with pytest.raises(InputError, match="one of float32, bfloat16, auto"):
        choose_precision("half", CPU)
    assert not has_bfloat16(torch.device("meta"))


@pytest.mark.parametrize("name", ["_is_avx512_bf16_supported", "_is_amx_tile_supported"])
def test_a_processor_has_bfloat16_by_either_of_two_instructions(monkeypatch, name):
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    for check in checks:
        monkeypatch.setattr(torch.cpu, check, lambda: False, raising=False)
    assert not has_bfloat16(CPU)
    monkeypatch.setattr(torch.cpu, name, lambda: True)
    assert has_bfloat16(CPU)
    for check in checks:
        monkeypatch.delattr(torch.cpu, check)
    assert not has_bfloat16(CPU)  # a torch that does not say


def test_a_backbone_in_bfloat16_is_a_copy_with_nearby_embeddings(tiny_backbone, pictures):
    half = placed(tiny_backbone, CPU, torch.bfloat16)
    assert (half.dtype, tiny_backbone.dtype) == (torch.bfloat16, torch.float32)
    assert placed(tiny_backbone, CPU, torch.float32) is tiny_backbone
    pixels = tiny_backbone.preprocessing(pictures[0])
    one, other = tiny_backbone.encode_image(pixels), half.encode_image(pixels)
    assert other.dtype == torch.float32
    assert (one * other).sum(dim=1).min() > 0.999
    assert not torch.equal(one, other)
    texts = ["a ring", "a long bar"]
    cosines = (tiny_backbone.encode_text(texts) * half.encode_text(texts)).sum(dim=1)
    assert cosines.min() > 0.999


def test_training_in_bfloat16_keeps_float32_adapters(native, small_bank, tiny_backbone, pictures):
    config = SDMADConfig.paper(epochs=3)
    fits = {
        name: SDMAD(small_bank, tiny_backbone, config, precision=name).fit(*pictures)
        for name in ("float32", "bfloat16")
    }
    half = fits["bfloat16"]
    parameters = [p for a in half.image_adapters_.values() for p in a.parameters()]
    assert {p.dtype for p in parameters} == {torch.float32}
    losses = {name: [e.loss for e in fit.log_] for name, fit in fits.items()}
    np.testing.assert_allclose(losses["bfloat16"], losses["float32"], rtol=0.05)
    assert losses["bfloat16"][-1] < losses["bfloat16"][0]


def test_a_saved_model_scores_in_either(native, fitted, model_folder, pictures):
    half = SDMAD.load(model_folder, fitted.backbone_, precision="bfloat16")
    assert half.backbone_.dtype == torch.bfloat16
    images = pictures[0]
    one, other = fitted.score_images(images).similarity, half.score_images(images).similarity
    np.testing.assert_allclose(one, other, atol=0.02)
    assert not np.array_equal(one, other)


def test_the_embedded_backbones_trunk_stays_in_float32():
    lite = load_backbone("lite")
    half = placed(lite, CPU, torch.bfloat16)
    whole = {"trunk", "centre", "seen", "least"}
    assert half.dtype == half.text.dtype == torch.bfloat16
    for name, weight in half.image.named_parameters():
        kept = name.split(".")[0] in whole
        assert weight.dtype == (torch.float32 if kept else torch.bfloat16), name
    assert half.image.input_dtype == half.pixels(torch.zeros(1, 3, 240, 240)).dtype == torch.float32
    pixels = lite.preprocessing([case.image for case in draw_cases(load_modality("oct"), 8, 3)])
    found = [torch.cat(one.encode_with_evidence(pixels), dim=1) for one in (lite, half)]
    sizes = (lite.dimension, *lite.image.evidence_parts)
    for one, other in zip(*(value.split(sizes, dim=1) for value in found), strict=True):
        assert cosine_similarity(one, other).min() > 0.999  # .97 where the trunk is rounded too
    again = placed(half, CPU, torch.float32)
    assert {weight.dtype for weight in again.image.parameters()} == {torch.float32}
