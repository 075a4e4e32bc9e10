"""MedCLIP: the published file as it comes, and every folder that does not fit."""

import json
import math
import shutil

import pytest
import safetensors.torch
import torch

from sdmad.backbones import load_backbone
from sdmad.backbones.medclip import load_medclip
from sdmad.errors import ModelError, WeightsMissingError
from tests.backbones.medclip_checkpoints import (
    BERT,
    WEIGHTS,
    WORDS,
    change_config,
    change_weights,
    make_parts,
    pixels,
    published_state,
    refused,
    write_folder,
)


@pytest.fixture(scope="module")
def parts():
    """The two encoders as transformers has them, and both projections."""
    return make_parts()


@pytest.fixture(scope="module")
def published(parts, tmp_path_factory):
    """A state dict as the authors saved it, buffers and all."""
    return published_state(parts, tmp_path_factory.mktemp("parts"))


@pytest.fixture(scope="module")
def medclip_folder(published, tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("medclip"), published)


@pytest.fixture(scope="module")
def backbone(medclip_folder):
    return load_backbone(f"medclip:{medclip_folder}")


@pytest.fixture
def folder(medclip_folder, tmp_path):
    """A copy, to be damaged."""
    return shutil.copytree(medclip_folder, tmp_path / "checkpoint")


def test_the_conversion_of_the_documentation(folder, published, backbone):
    """A pickle as the authors wrote theirs: a plain state dict with buffers."""
    torch.save(dict(published), folder / "pytorch_model.bin")
    (folder / WEIGHTS).unlink()
    state = torch.load(folder / "pytorch_model.bin", map_location="cpu", weights_only=True)
    state = {name: tensor.contiguous() for name, tensor in state.items()}
    safetensors.torch.save_file(state, folder / WEIGHTS)
    assert load_medclip(str(folder)).weights_hash == backbone.weights_hash


def test_the_names_of_transformers_5_do_as_well(folder, parts, backbone):
    def rename(state):
        kept = {k: t for k, t in state.items() if not k.startswith("vision_model.model.")}
        return kept | {f"vision_model.model.{k}": t for k, t in parts[0].state_dict().items()}

    change_weights(folder, rename)
    names = safetensors.torch.load((folder / WEIGHTS).read_bytes())
    assert any(".attention.q_proj." in name for name in names)
    assert load_medclip(str(folder)).weights_hash == backbone.weights_hash


def test_one_tensor_under_two_names(folder):
    old = "vision_model.model.encoder.layers.0.blocks.0.attention.self.query.weight"
    new = old.replace("self.query", "q_proj")
    change_weights(folder, lambda state: state | {new: torch.zeros(8, 8)})
    refused(folder, f"{new} and {old} are one tensor under two names")


def test_half_precision_is_read_as_float32(folder, backbone):
    change_weights(
        folder, lambda s: {k: t.half() if t.dtype.is_floating_point else t for k, t in s.items()}
    )
    half = load_medclip(str(folder)).encode_image(pixels(48))
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, backbone.encode_image(pixels(48)), rtol=0, atol=0.05)


def test_missing_tensors_are_named(folder):
    change_weights(
        folder, lambda s: {k: t for k, t in s.items() if "text_model.projection" not in k}
    )
    refused(folder, r"of whose 225 tensors 224 fit. 1 missing: text_model.projection_head.weight$")


def test_many_missing_tensors_are_counted(folder):
    change_weights(folder, lambda s: {k: t for k, t in s.items() if "layer.0." not in k})
    name = r"text_model.model.encoder.layer.0.attention.output"
    refused(folder, rf"16 missing: {name}.LayerNorm.bias; {name}.LayerNorm.weight; .*; \.\.\.$")


def test_tensors_too_many_are_named(folder):
    change_weights(folder, lambda s: s | {"text_model.projection_head.bias": torch.zeros(16)})
    refused(folder, "1 too many: text_model.projection_head.bias$")


def test_every_kind_of_misfit_in_one_line(folder):
    def spoil(state):
        del state["logit_scale"]
        wrong = {"vision_model.projection_head.weight": torch.zeros(16, 63)}
        return state | wrong | {"classifier.weight": torch.zeros(1)}

    change_weights(folder, spoil)
    refused(
        folder,
        r"225 tensors 223 fit. 1 missing: logit_scale. 1 too many: classifier.weight. "
        r"1 of another shape: vision_model.projection_head.weight is \[16, 63\], not \[16, 64\]",
    )


def test_another_depth_is_refused_before_any_memory_is_taken(folder):
    change_config(folder, text_config={"num_hidden_layers": 5})
    refused(folder, "16 missing: text_model.model.encoder.layer.4")
    change_config(folder, text_config={"num_hidden_layers": 4, "intermediate_size": 10**12})
    refused(folder, r"is \[48, 24\], not \[1000000000000, 24\]")


def test_medclip_resnet_is_told_apart(folder):
    def swap(state):
        kept = {k: t for k, t in state.items() if not k.startswith("vision_model.")}
        return kept | {"vision_model.model.fc.weight": torch.zeros(512, 2048)}

    change_weights(folder, swap)
    refused(folder, "MedCLIP-ResNet; only MedCLIP-ViT")


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_that_are_no_number(folder, value):
    change_weights(folder, lambda s: s | {"logit_scale": torch.tensor(value)})
    refused(folder, "holds NaN or infinite values, first in logit_scale")


@pytest.mark.parametrize("keep", [0, 5, 100, 5_000, -10])
def test_truncated_weights(folder, keep):
    path = folder / WEIGHTS
    path.write_bytes(path.read_bytes()[:keep])
    refused(folder, "model.safetensors is no readable safetensors file")


@pytest.mark.parametrize("where", [" ", "/no/such/folder", "~nosuchuser", "x" * 5_000])
def test_missing_weights_say_where_they_are_had(where):
    with pytest.raises(
        WeightsMissingError, match=r"MedCLIP's weights are missing: .*pretrained.zip"
    ):
        load_backbone(f"medclip:{where.strip()}")


def test_the_name_alone_says_so_too():
    with pytest.raises(WeightsMissingError, match="no folder was given"):
        load_backbone("medclip")


def test_a_pickle_is_not_read(folder, published):
    torch.save(dict(published), folder / "pytorch_model.bin")
    (folder / WEIGHTS).unlink()
    with pytest.raises(
        WeightsMissingError, match=r"has no model.safetensors.*sdmad backbone convert"
    ):
        load_medclip(str(folder))


@pytest.mark.parametrize(
    "content", ["", "{bad", "[]", "3", '{"vision_config": 3}', "[" * 100_000, '{"image_mean": 1}']
)
def test_a_broken_configuration(folder, content):
    (folder / "config.json").write_text(content, encoding="utf-8")
    refused(
        folder, "config.json (describes no MedCLIP|is not readable JSON)|config.json: image_mean"
    )


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
@pytest.mark.parametrize(
    ("part", "values"),
    [
        ("vision_config", {"embed_dim": "abc"}),
        ("vision_config", {"num_heads": [1]}),
        ("vision_config", {"image_size": [48, 48]}),
        ("vision_config", {"use_absolute_embeddings": True}),
        ("text_config", {"num_hidden_layers": 1}),
        ("text_config", {"num_hidden_layers": 10**9}),
        ("text_config", {"hidden_size": 25}),
        ("text_config", {"is_decoder": True}),
        ("projection_dim", "many"),
    ],
)
def test_a_configuration_that_makes_no_medclip(folder, part, values):
    change_config(folder, **{part: values})
    refused(folder, "config.json describes no MedCLIP")


def test_a_deviation_that_is_none(folder):
    change_config(folder, image_std=[0.1, 0.1, 0.0])
    refused(folder, "config.json: image_std must be three finite numbers")


def test_the_configuration_of_bio_clinicalbert_beside_the_weights(folder):
    (folder / "config.json").write_text(json.dumps({"model_type": "bert", **BERT}))
    refused(folder, "vision_model")  # its text part is taken, Swin-tiny's sizes are not these
    with pytest.raises(ModelError) as caught:
        load_medclip(str(folder))
    assert "text_model.model" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda words: None, "tokenizer is missing: vocab.txt or tokenizer.json"),
        (lambda words: words[:2] + words[3:], r"vocab.txt lacks \[CLS\]; it is not BERT's"),
        (lambda words: [*words, "more"], "has 61 tokens .* the text tower has 60"),
        (lambda words: ["x", *words[:1], *words[2:], "[UNK]"], "pads with token 1, .* with 0"),
        (lambda words: ["\udcff"], "vocab.txt, line 1: not UTF-8 text"),
    ],
)
def test_a_tokenizer_that_does_not_belong(folder, change, message):
    words = change(WORDS)
    path = folder / "vocab.txt"
    if words is None:
        path.unlink()
    else:
        path.write_text("\n".join(words) + "\n", encoding="utf-8", errors="surrogateescape")
    refused(folder, message)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{bad", "tokenizer.json is not readable JSON"),
        ('{"model": {"type": "BPE"}}', "of type BPE; BERT's is WordPiece"),
        ('{"model": {"type": "WordPiece", "vocab": {}}}', r"lacks \[PAD\], \[UNK\]"),
    ],
)
def test_a_broken_tokenizer_json(folder, content, message):
    (folder / "tokenizer.json").write_text(content)
    refused(folder, message)


def test_nothing_but_the_sizes_is_heard_of_a_configuration(folder, backbone):
    evil = {"num_labels": 10**9, "auto_map": {"AutoModel": "evil.Evil"}, "quantization_config": {}}
    change_config(folder, **evil, vision_config=evil, text_config=evil)
    assert load_medclip(str(folder)).weights_hash == backbone.weights_hash


@pytest.mark.parametrize("value", [[[1]], {"a": 1}, list(range(100))])
def test_a_size_that_is_no_plain_value(folder, value):
    change_config(folder, vision_config={"depths": value})
    refused(folder, "config.json describes no MedCLIP .*vision_config.depths must be a number")
