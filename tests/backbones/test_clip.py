"""The layer-by-layer CLIP against ``transformers``' own."""

import json
import shutil

import pytest
import safetensors.torch
import torch
from torch.nn.functional import normalize
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer
from transformers.utils import logging as transformers_logging

from sdmad import load_backbone
from sdmad.errors import InputError

SENTENCES = [
    "mass",
    "a small bright focus",
    "Ödem, 3 mm!",
    "",
    "a sentence that is far longer than the context of this tower",
]


@pytest.fixture(scope="module")
def backbone(tiny_clip):
    return load_backbone(tiny_clip)


@pytest.fixture(scope="module")
def reference(tiny_clip):
    """The same checkpoint as ``transformers`` runs it."""
    return CLIPModel.from_pretrained(tiny_clip, local_files_only=True).eval()


def pixels(size, n=3, seed=0):
    return torch.randn(n, 3, size, size, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def reference_image(model, values, **settings):
    return normalize(model.get_image_features(values, **settings).pooler_output, dim=-1)


@torch.no_grad()
def reference_text(model, folder, sentences):
    tokenizer = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
    encoded = tokenizer(sentences, padding=True, truncation=True, return_tensors="pt")
    return normalize(model.get_text_features(**encoded).pooler_output, dim=-1)


def test_image_embeddings_equal_those_of_transformers(backbone, reference):
    values = pixels(32)
    found = backbone.encode_image(values)
    torch.testing.assert_close(found, reference_image(reference, values), rtol=0, atol=1e-5)
    # The random images are told apart, or the comparison would say little.
    assert (found @ found.T).min() < 0.999


@pytest.mark.parametrize("size", [8, 24, 40, 44, 64])
def test_image_embeddings_at_another_size(backbone, reference, size):
    values = pixels(size)
    expected = reference_image(reference, values, interpolate_pos_encoding=True)
    torch.testing.assert_close(backbone.encode_image(values), expected, rtol=0, atol=1e-5)


def test_position_embeddings_are_resized_bicubically(backbone, reference):
    embeddings = reference.vision_model.embeddings
    grid = embeddings.position_embedding.weight[1:].T.reshape(1, 32, 4, 4)
    resized = torch.nn.functional.interpolate(grid, (5, 5), mode="bicubic").flatten(2)[0].T
    # With no picture but zeros the patches are zero, and the tokens are the positions alone.
    expected = reference.vision_model.pre_layrnorm(resized)
    hidden, _ = backbone.image.embed(torch.zeros(1, 3, 40, 40))
    torch.testing.assert_close(hidden[0, 1:], expected)


def test_text_embeddings_equal_those_of_transformers(backbone, reference, tiny_clip):
    found = backbone.encode_text(SENTENCES)
    expected = reference_text(reference, tiny_clip, SENTENCES)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert (found @ found.T).min() < 0.999


def test_text_embeddings_by_the_legacy_end_of_text_rule(make_clip):
    """``eos_token_id`` 2 in the configuration: the token with the largest number is pooled."""
    folder = make_clip(end_token=2)
    model = CLIPModel.from_pretrained(folder, local_files_only=True).eval()
    assert model.config.text_config.eos_token_id == 2
    backbone = load_backbone(folder)
    found = backbone.encode_text(SENTENCES)
    expected = reference_text(model, folder, SENTENCES)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    # The same weights by the ordinary rule: the tokenizer's end token is the largest.
    torch.testing.assert_close(found, load_backbone(make_clip()).encode_text(SENTENCES))


def test_embeddings_have_unit_length_and_the_stated_size(backbone):
    assert backbone.dimension == 16
    for features in (backbone.encode_image(pixels(32)), backbone.encode_text(SENTENCES)):
        assert features.shape[1] == 16
        torch.testing.assert_close(features.norm(dim=1), torch.ones(len(features)))
        assert not features.requires_grad


def test_a_sentence_does_not_depend_on_those_beside_it(backbone):
    together = backbone.encode_text(SENTENCES)
    for i, sentence in enumerate(SENTENCES):
        torch.testing.assert_close(backbone.encode_text([sentence])[0], together[i])


def test_what_lies_behind_the_end_of_text_token_changes_nothing(backbone):
    ids = backbone.tokenize(["a cyst", "mass"])
    end = backbone.text.end_token
    longer = torch.full((2, 20), end)
    longer[:, : ids.shape[1]] = ids
    torch.testing.assert_close(backbone.text(longer), backbone.text(ids))
    after = longer.clone()
    for row in after:
        row[int((row == end).int().argmax()) + 1 :] = 7
    assert not torch.equal(after, longer)
    torch.testing.assert_close(backbone.text(after), backbone.text(ids))


def test_what_lies_before_the_end_of_text_token_does_change_something(backbone):
    a, b = backbone.encode_text(["a mass", "b mass"])
    assert (a - b).abs().max() > 1e-3


def test_truncation_at_the_context_length(backbone):
    assert backbone.context_length == 24
    ids = backbone.tokenize(["x" * 100, "x" * 22, "x" * 23, "x"])
    # The vocabulary ends with start (512) and end (513); the tokenizer has no merge, so a letter
    # is a token: 22 letters fit between start and end.
    assert ids.shape == (4, 24)
    assert ids[:, 0].tolist() == [512] * 4
    assert ids[:3, -1].tolist() == [513] * 3
    assert (ids == 513).sum(dim=1).tolist() == [1, 1, 1, 22]
    assert backbone.token_counts(["x" * 100, "x" * 22, "x" * 23, "x", ""]) == [102, 24, 25, 3, 2]
    features = backbone.encode_text(["x" * 100, "x" * 50])
    torch.testing.assert_close(features[0], features[1])


def test_counting_the_tokens_of_a_long_sentence_is_silent(tiny_clip, caplog):
    transformers_logging.enable_propagation()
    try:
        assert load_backbone(tiny_clip).token_counts(["x" * 100]) == [102]
    finally:
        transformers_logging.disable_propagation()
    assert not caplog.records


@pytest.mark.parametrize("sentences", [[], (), "a single sentence"])
def test_sentences_are_a_list(backbone, sentences):
    with pytest.raises(InputError, match="a list of sentences"):
        backbone.encode_text(sentences)


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 1, 32, 32), (1, 32, 32, 3), (32, 32)])
def test_wrong_pixel_values_name_expected_and_actual_shape(backbone, shape):
    with pytest.raises(ValueError, match=r"\(n, 3, H, W\), got \(" + ", ".join(map(str, shape))):
        backbone.encode_image(torch.zeros(shape))


def test_depths_widths_and_blocks(backbone):
    assert (backbone.image.depth, backbone.image.widths) == (6, (32,) * 6)
    assert (backbone.text.depth, backbone.text.widths) == (4, (32,) * 4)
    hidden, state = backbone.image.embed(pixels(32))
    assert hidden.shape == (3, 17, 32)
    assert backbone.image.block(6, hidden, state).shape == (3, 17, 32)


def test_the_state_of_some_sentences(backbone):
    """Batches of sentences: rows of the tokens with the rows of the state."""
    ids = backbone.tokenize(SENTENCES)
    with torch.no_grad():
        hidden, state = backbone.text.embed(ids)
        rows = slice(1, 3)
        torch.testing.assert_close(
            backbone.text.pool(hidden[rows], state[rows]), backbone.text.pool(hidden, state)[rows]
        )


def test_everything_is_frozen_and_in_evaluation_mode(backbone):
    for tower in (backbone.image, backbone.text):
        assert not any(p.requires_grad for p in tower.parameters())
    assert not backbone.image.training
    assert not backbone.text.training


def test_vit_l_14_at_240_pixels(tiny_clip, tmp_path):
    """The paper's image tower with random weights, two of its 24 blocks: 17 x 17 patches."""
    config = CLIPConfig(
        vision_config={
            "hidden_size": 1024,
            "intermediate_size": 4096,
            "num_attention_heads": 16,
            "num_hidden_layers": 2,
            "image_size": 224,
            "patch_size": 14,
        },
        text_config={
            "hidden_size": 768,
            "intermediate_size": 3072,
            "num_attention_heads": 12,
            "num_hidden_layers": 1,
            "vocab_size": 100,
            "eos_token_id": 2,
        },
        projection_dim=768,
    )
    model = CLIPModel(config).eval()
    shutil.copytree(tiny_clip, tmp_path / "large")
    model.save_pretrained(tmp_path / "large")
    backbone = load_backbone(tmp_path / "large", 240, images_only=True)
    image, values = backbone.image, pixels(240, n=1)
    with torch.no_grad():
        hidden, _ = image.embed(values)
        assert hidden.shape == (1, 1 + 17 * 17, 1024)
        found = image(values)
        expected = reference_image(model, values, interpolate_pos_encoding=True)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
        assert backbone.text(torch.tensor([[97, 5, 99]])).shape == (1, 768)


@pytest.fixture(scope="module")
def openai_layout(make_clip, tmp_path_factory):
    """The files of openai/clip-vit-*: old keys, the legacy end token, merges, halves of floats."""
    folder = tmp_path_factory.mktemp("openai") / "checkpoint"
    shutil.copytree(make_clip(end_token=2), folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    text, vision = config["text_config"], config["vision_config"]
    words = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]
    # Two merges take the places of two letters that no sentence here has.
    merges = [("m", "a"), ("s", "s</w>"), ("ma", "ss</w>")]
    for merged, place in zip(("ma", "ss</w>", "mass</w>"), ("Ā", "ā", "Ă"), strict=True):
        words[merged] = words.pop(place)
    numbers = {"text_model.embeddings.position_ids": torch.arange(24).unsqueeze(0)}
    weights = safetensors.torch.load_file(folder / "model.safetensors")
    safetensors.torch.save_file(
        weights | numbers, folder / "model.safetensors", metadata={"format": "pt"}
    )
    text = {**text, "bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 1}
    contents = {
        "config.json": {
            "_name_or_path": "clip-vit-tiny/",
            "architectures": ["CLIPModel"],
            "initializer_factor": 1.0,
            "logit_scale_init_value": 2.6592,
            "model_type": "clip",
            "projection_dim": 16,
            "text_config": text,
            "text_config_dict": {**text, "vocab_size": 514},
            "torch_dtype": "float32",
            "transformers_version": None,
            "vision_config": vision,
            "vision_config_dict": vision,
        },
        "preprocessor_config.json": {
            "crop_size": 32,
            "do_center_crop": True,
            "do_normalize": True,
            "do_resize": True,
            "feature_extractor_type": "CLIPFeatureExtractor",
            "image_mean": [0.48145466, 0.4578275, 0.40821073],
            "image_std": [0.26862954, 0.26130258, 0.27577711],
            "resample": 3,
            "size": 32,
        },
        "special_tokens_map.json": {
            "bos_token": "<|startoftext|>",
            "eos_token": "<|endoftext|>",
            "pad_token": "<|endoftext|>",
            "unk_token": "<|endoftext|>",
        },
        "tokenizer_config.json": {
            "add_prefix_space": False,
            "bos_token": "<|startoftext|>",
            "do_lower_case": True,
            "eos_token": "<|endoftext|>",
            "errors": "replace",
            "model_max_length": 24,
            "pad_token": "<|endoftext|>",
            "tokenizer_class": "CLIPTokenizer",
            "unk_token": "<|endoftext|>",
        },
        "vocab.json": words,
    }
    for name, content in contents.items():
        (folder / name).write_text(json.dumps(content), encoding="utf-8")
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "tokenizer.json").unlink()
    return folder


@pytest.mark.parametrize("with_tokenizer_json", [False, True])
def test_openais_layout(openai_layout, tmp_path, with_tokenizer_json):
    folder = openai_layout
    if with_tokenizer_json:  # later commits of the hub's repositories have all three files
        folder = shutil.copytree(openai_layout, tmp_path / "checkpoint")
        tokenizer = CLIPTokenizer.from_pretrained(openai_layout, local_files_only=True)
        tokenizer.backend_tokenizer.save(str(folder / "tokenizer.json"))
    backbone = load_backbone(folder)
    model = CLIPModel.from_pretrained(folder, local_files_only=True).eval()
    assert backbone.token_counts(["mass", "masses"]) == [3, 7]
    expected = reference_image(model, pixels(40), interpolate_pos_encoding=True)
    torch.testing.assert_close(backbone.encode_image(pixels(40)), expected, rtol=0, atol=1e-5)
    expected = reference_text(model, folder, SENTENCES)
    torch.testing.assert_close(backbone.encode_text(SENTENCES), expected, rtol=0, atol=1e-5)
    assert backbone.preprocessing.mean == (0.48145466, 0.4578275, 0.40821073)
    assert backbone.activation == "quick_gelu"


def test_every_block_equals_that_of_transformers(backbone, reference):
    values = pixels(40)
    with torch.no_grad():
        output = reference.vision_model(
            values, interpolate_pos_encoding=True, output_hidden_states=True
        )
        hidden, state = backbone.image.embed(values)
        for index in range(1, 7):
            before, hidden = hidden, backbone.image.block(index, hidden, state)
            assert (hidden - before).abs().max() > 0.01
            torch.testing.assert_close(hidden, output.hidden_states[index], rtol=0, atol=1e-5)
