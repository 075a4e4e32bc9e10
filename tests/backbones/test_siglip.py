"""The layer-by-layer SigLIP against ``transformers``' own, in each format of the hub."""

import json
import shutil
import sys

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize
from transformers import PreTrainedTokenizerFast, Siglip2Model, SiglipModel
from transformers.models.siglip2.image_processing_pil_siglip2 import convert_image_to_patches

from sdmad import SDMAD, SDMADConfig, SignBank, load_backbone
from sdmad.errors import InputError, ModelError

SENTENCES = ["Mass", "a small bright ring", "Kerley B lines, 3 mm!", "", "x " * 40]
KINDS = {
    "siglip": {},
    "siglip2": {"version": 2, "projection": 32},
    "naflex": {"version": 2, "naflex": True},
}


@pytest.fixture(scope="module", params=KINDS)
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def folder(kind, make_siglip):
    return make_siglip(**KINDS[kind])


@pytest.fixture(scope="module")
def backbone(folder):
    return load_backbone(folder)


@pytest.fixture(scope="module")
def reference(kind, folder):
    """The same checkpoint as ``transformers`` runs it."""
    model_class = Siglip2Model if kind == "naflex" else SiglipModel
    return model_class.from_pretrained(folder, local_files_only=True).eval()


@pytest.fixture
def damaged(tiny_siglip, tmp_path):
    """A copy of the small SigLIP, to be damaged."""
    return shutil.copytree(tiny_siglip, tmp_path / "checkpoint")


def change_json(path, part=None, **values):
    content = json.loads(path.read_text(encoding="utf-8"))
    (content[part] if part else content).update(values)
    path.write_text(json.dumps(content), encoding="utf-8")


def refused(folder, message):
    with pytest.raises(ModelError, match=message) as caught:
        load_backbone(folder)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


def pixels(size, n=3, seed=0):
    return torch.randn(n, 3, size, size, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def library_image(model, values, **settings):
    """Image features as the library computes them, hidden states among the output."""
    if isinstance(model, Siglip2Model):
        patches = [convert_image_to_patches(image.numpy(), 8) for image in values]
        side = values.shape[-1] // 8
        values = torch.from_numpy(np.stack(patches))
        settings = {
            "pixel_attention_mask": torch.ones(values.shape[:2], dtype=torch.int32),
            "spatial_shapes": torch.full((len(values), 2), side),
        }
    else:
        settings["interpolate_pos_encoding"] = True
    return model.get_image_features(values, output_hidden_states=True, **settings)


@torch.no_grad()
def library_text(model, folder, sentences):
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
    lower = [sentence.lower() for sentence in sentences]
    ids = tokenizer(
        lower, padding="max_length", truncation=True, max_length=24, return_tensors="pt"
    )["input_ids"]
    return model.get_text_features(ids, output_hidden_states=True)


@pytest.mark.parametrize("size", [32, 24, 40, 64])
def test_image_embeddings_equal_those_of_transformers(backbone, reference, size):
    values = pixels(size)
    found = backbone.encode_image(values)
    expected = normalize(library_image(reference, values).pooler_output, dim=-1)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    # The random images are told apart, or the comparison would say little.
    assert (found @ found.T).min() < 0.99


def test_pixels_behind_the_last_whole_patch_are_not_seen(backbone):
    values = pixels(44)
    torch.testing.assert_close(
        backbone.encode_image(values), backbone.encode_image(values[:, :, :40, :40])
    )


def test_text_embeddings_equal_those_of_transformers(backbone, reference, folder):
    found = backbone.encode_text(SENTENCES)
    expected = normalize(library_text(reference, folder, SENTENCES).pooler_output, dim=-1)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert (found @ found.T).min() < 0.99


def test_every_block_equals_that_of_transformers(backbone, reference, folder):
    values, ids = pixels(40), backbone.tokenize(SENTENCES)
    for tower, inputs, output in (
        (backbone.image, values, library_image(reference, values)),
        (backbone.text, ids, library_text(reference, folder, SENTENCES)),
    ):
        with torch.no_grad():
            hidden, state = tower.embed(inputs)
            assert len(output.hidden_states) == tower.depth + 1
            for index, expected in enumerate(output.hidden_states):
                if index:
                    before, hidden = hidden, tower.block(index, hidden, state)
                    assert (hidden - before).abs().max() > 0.01
                torch.testing.assert_close(hidden, expected, rtol=0, atol=1e-5)


def test_sizes_depths_and_preprocessing(backbone, kind):
    assert (backbone.image.depth, backbone.image.widths) == (5, (32,) * 5)
    assert (backbone.text.depth, backbone.text.widths) == (4, (32,) * 4)
    assert (backbone.dimension, backbone.context_length) == (32, 24)
    assert backbone.activation == "gelu_pytorch_tanh"
    assert backbone.preprocessing.size == 32  # NaFlex: 4 x 4 positions of 8 px
    assert backbone.preprocessing.mean == backbone.preprocessing.std == (0.5, 0.5, 0.5)
    hidden, state = backbone.image.embed(pixels(32))
    assert hidden.shape == (3, 16, 32)  # no class token
    assert backbone.image.block(5, hidden, state).shape == (3, 16, 32)


def test_sentences_are_padded_to_the_context_length(backbone, kind):
    ids = backbone.tokenize(["mass", "mass ring mass"])
    assert ids.shape == (2, 24)
    end, pad = (1, 1) if kind == "siglip" else (1, 0)
    length = backbone.token_counts(["mass"])[0]
    assert ids[0, length - 1] == end
    assert ids[0, length:].tolist() == [pad] * (24 - length)
    assert torch.equal(backbone.tokenize(["mass"]), ids[:1])


def test_truncation_keeps_the_end_token(backbone):
    assert backbone.token_counts(["x " * 40])[0] > 24
    ids = backbone.tokenize(["x " * 40])
    assert ids.shape == (1, 24)
    assert ids[0, -1] == 1
    assert (ids == 1).sum() == 1


def test_case_does_not_matter(backbone):
    """SigLIP was trained on lower case; the file of SigLIP 2's tokenizer leaves that out."""
    upper, lower, other = backbone.encode_text(["MASS", "mass", "ring"])
    torch.testing.assert_close(upper, lower)
    assert (upper - other).abs().max() > 1e-3


def test_a_tokenizer_that_lowers_by_itself(make_siglip):
    backbone = load_backbone(make_siglip(version=2, lower_case=True))
    plain = load_backbone(make_siglip(version=2))
    assert torch.equal(backbone.tokenize(SENTENCES), plain.tokenize(SENTENCES))


def test_punctuation_is_left_out_of_the_first_siglips_sentences_alone(backbone, kind):
    with_it, without = backbone.tokenize(["mass,  3 mm! "]), backbone.tokenize(["mass 3 mm"])
    assert torch.equal(with_it, without) == (kind == "siglip")


def test_a_tokenizer_file_that_leaves_the_cleaning_out(damaged, tiny_siglip):
    """As the library's SiglipTokenizer, which cleans before its SentencePiece model sees a word."""
    change_json(damaged / "tokenizer.json", normalizer=None)
    found, expected = load_backbone(damaged), load_backbone(tiny_siglip)
    assert torch.equal(found.tokenize(SENTENCES), expected.tokenize(SENTENCES))
    assert found.token_counts(SENTENCES) == expected.token_counts(SENTENCES)


def test_an_end_token_that_only_the_settings_name(make_siglip, tmp_path):
    folder = shutil.copytree(make_siglip(version=2), tmp_path / "checkpoint")
    expected = load_backbone(folder).tokenize(SENTENCES)
    change_json(folder / "tokenizer.json", post_processor=None)
    assert torch.equal(load_backbone(folder).tokenize(SENTENCES), expected)
    change_json(folder / "tokenizer_config.json", add_eos_token=False)
    refused(folder, r"of a letter, SigLIP's ends it with token 1")


def test_a_sentence_does_not_depend_on_those_beside_it(backbone):
    together = backbone.encode_text(SENTENCES)
    for i, sentence in enumerate(SENTENCES):
        torch.testing.assert_close(backbone.encode_text([sentence])[0], together[i])


def test_batches_of_sentences(backbone):
    ids = backbone.tokenize(SENTENCES)
    with torch.no_grad():
        hidden, state = backbone.text.embed(ids)
        rows = slice(1, 3)
        torch.testing.assert_close(
            backbone.text.pool(hidden[rows], state[rows]), backbone.text.pool(hidden, state)[rows]
        )


@pytest.mark.parametrize("sentences", [[], "a single sentence"])
def test_sentences_are_a_list(tiny_siglip, sentences):
    with pytest.raises(InputError, match="a list of sentences"):
        load_backbone(tiny_siglip).encode_text(sentences)


def test_everything_is_frozen_and_in_evaluation_mode(backbone):
    for tower in (backbone.image, backbone.text):
        assert not any(p.requires_grad for p in tower.parameters())
        assert not any(module.training for module in tower.children())


def test_training_saving_and_loading(backbone, pictures, tmp_path):
    """Adapters on both towers, trained for an epoch; the saved model judges alike."""
    bank = SignBank(
        "two", "picture", ("a plain picture",), {"Ring": ("a ring",), "Bar": ("a bar", "a line")}
    )
    images, labels = pictures
    detector = SDMAD(bank, backbone, SDMADConfig(epochs=1)).fit(images, labels[:, :2])
    assert sorted(detector.image_adapters_) == ["1", "2", "4", "5"]
    assert np.isfinite(detector.log_[0].loss)
    bare = backbone.encode_image(backbone.preprocessing(images))
    adapted = detector.image_features(backbone.preprocessing(images)).embedding
    assert (bare - adapted).abs().max() > 1e-3
    detector.save(tmp_path / "model")
    again = SDMAD.load(tmp_path / "model")
    np.testing.assert_array_equal(
        again.decision_function(images), detector.decision_function(images)
    )


def test_loading_is_silent(folder, capfd):
    load_backbone(folder)
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_weights_in_shards(make_siglip, tiny_siglip):
    folder = make_siglip(shard_size="40KB")
    shards = sorted(folder.glob("model-*.safetensors"))
    assert len(shards) > 2
    assert not (folder / "model.safetensors").exists()
    assert load_backbone(folder).weights_hash == load_backbone(tiny_siglip).weights_hash


def test_a_shard_that_is_missing_or_truncated(make_siglip, tmp_path):
    folder = shutil.copytree(make_siglip(shard_size="40KB"), tmp_path / "checkpoint")
    shard = sorted(folder.glob("model-*.safetensors"))[1]
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-100])
    refused(folder, f"{shard.name} is no readable safetensors file")
    shard.unlink()
    refused(folder, f"lacks {shard.name}")
    index = folder / "model.safetensors.index.json"
    change_json(index, weight_map={"a": "../elsewhere.safetensors"})
    refused(folder, "names files that are no safetensors of this folder")
    change_json(index, weight_map=3)
    refused(folder, "no weight_map")


def test_weights_of_another_architecture(damaged, tiny_clip):
    shutil.copy(tiny_clip / "model.safetensors", damaged / "model.safetensors")
    refused(damaged, r"do not fit config.json in \d+ tensors: .* is missing")


def test_weights_of_another_family(make_siglip, tmp_path):
    """NaFlex cuts patches itself: its first layer has another shape."""
    folder = shutil.copytree(make_siglip(naflex=True, version=2), tmp_path / "checkpoint")
    change_json(folder / "config.json", model_type="siglip")
    change_json(folder / "config.json", "vision_config", image_size=32)
    refused(folder, r"patch_embedding.weight has shape \[32, 192\], not \[32, 3, 8, 8\]")


def test_a_clip_tokenizer_does_not_belong(damaged, tiny_clip):
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tiny_clip / name, damaged / name)
    (damaged / "special_tokens_map.json").unlink()
    refused(damaged, "tokenizer has 514 tokens up to number 513, the text tower 42; they do not")


def test_a_tokenizer_of_another_vocabulary(make_siglip, tiny_siglip, tmp_path):
    folder = shutil.copytree(make_siglip(version=2), tmp_path / "checkpoint")
    shutil.copy(tiny_siglip / "tokenizer.json", folder / "tokenizer.json")
    refused(folder, "tokenizer has .* do not belong together")


def test_a_tokenizer_that_starts_with_a_token(damaged):
    content = json.loads((damaged / "tokenizer.json").read_text(encoding="utf-8"))
    template = content["post_processor"]["single"]
    template.insert(0, template[-1])
    (damaged / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    refused(
        damaged, r"makes \[1, 3, 4, 1\] of a letter, SigLIP's ends it with token 1 and puts none"
    )


def test_a_tokenizer_without_padding(damaged):
    change_json(damaged / "tokenizer_config.json", pad_token=None)
    (damaged / "special_tokens_map.json").unlink()
    refused(damaged, "names no pad_token or no eos_token")


@pytest.mark.parametrize(
    "change",
    [
        {"normalizer": {"type": "NoSuch"}},
        {"normalizer": 3},
        {"pre_tokenizer": {"type": "Metaspace", "replacement": 3}},
        {"model": {"type": "Unigram", "vocab": [], "unk_id": 5}},
        {"model": None},
        {"version": "99.0"},
    ],
    ids=["normalizer", "number", "pre-tokenizer", "vocabulary", "model", "version"],
)
def test_a_bogus_tokenizer(damaged, change):
    change_json(damaged / "tokenizer.json", **change)
    refused(damaged, "tokenizer.json is no readable tokenizer file")


@pytest.mark.parametrize("content", ["", "{bad", "[]"])
def test_a_broken_tokenizer(damaged, content):
    (damaged / "tokenizer.json").write_text(content, encoding="utf-8")
    refused(damaged, "tokenizer.json is not readable JSON")


def replace(pattern, content):
    return {"type": "Replace", "pattern": pattern, "content": content}


GROWING = {
    "doubled": {"type": "Sequence", "normalizers": [replace({"String": "a"}, "aa")] * 40},
    "between": {"type": "Sequence", "normalizers": [replace({"Regex": ""}, "a")] * 40},
    "nested": {
        "type": "Sequence",
        "normalizers": [{"type": "Sequence", "normalizers": [replace({"String": "a"}, "a" * 99)]}]
        * 3,
    },
    "at once": replace({"String": "a"}, "b" * 10_000),
    "many": {"type": "Sequence", "normalizers": [{"type": "Lowercase"}] * 100},
    "long": replace({"String": "a" * 2_000_000}, "b"),
}


@pytest.mark.parametrize("kind", GROWING)
def test_a_tokenizer_that_makes_sentences_grow_is_refused(damaged, kind):
    """The library ends the process when there is no memory left."""
    change_json(damaged / "tokenizer.json", normalizer=GROWING[kind])
    refused(damaged, r"tokenizer.json: its .* could make a sentence grow without bounds")


def test_a_template_that_repeats_the_sentence_is_refused(damaged):
    content = json.loads((damaged / "tokenizer.json").read_text(encoding="utf-8"))
    content["post_processor"]["single"] = [{"Sequence": {"id": "A", "type_id": 0}}] * 2000
    (damaged / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    refused(damaged, "could make a sentence grow without bounds")


def test_a_pattern_that_cannot_be_searched_is_told(damaged):
    """The library gives up after ten million steps, with a mistake of its own."""
    change_json(damaged / "tokenizer.json", normalizer=replace({"Regex": "(x+)+$"}, "x"))
    backbone = load_backbone(damaged)
    for read in (backbone.tokenize, backbone.token_counts):
        with pytest.raises(ModelError, match="tokenizer cannot read the sentences"):
            read(["x" * 100 + " end"])


CODE = "open({marker!r}, 'w').close()\nclass Evil: pass\n"


def test_nothing_but_the_sizes_is_heard_of_a_configuration(damaged, tiny_siglip, tmp_path):
    """No code, no package, no file elsewhere, whatever the files name."""
    marker = tmp_path / "executed"
    for name in ("modeling_evil.py", "configuration_evil.py", "tokenization_evil.py"):
        (damaged / name).write_text(CODE.format(marker=str(marker)))
    evil = {
        "auto_map": {
            "AutoConfig": "configuration_evil.Evil",
            "AutoModel": "modeling_evil.Evil",
            "AutoTokenizer": ["tokenization_evil.Evil", "tokenization_evil.Evil"],
        },
        "trust_remote_code": True,
        "attn_implementation": "someone/kernel",
        "_attn_implementation": "someone/kernel",
        "quantization_config": {"quant_method": "gptq", "bits": 4},
        "num_labels": 10**9,
        "torch_dtype": "nosuch",
    }
    for part in (None, "vision_config", "text_config"):
        change_json(damaged / "config.json", part, **evil)
    change_json(damaged / "tokenizer_config.json", auto_map=evil["auto_map"])
    elsewhere = {"base_model_name_or_path": str(tmp_path / "nowhere"), "peft_type": "LORA"}
    (damaged / "adapter_config.json").write_text(json.dumps(elsewhere))
    (damaged / "generation_config.json").write_text("{bad")
    found, expected = load_backbone(damaged), load_backbone(tiny_siglip)
    assert found.weights_hash == expected.weights_hash
    assert torch.equal(found.tokenize(SENTENCES), expected.tokenize(SENTENCES))
    assert not marker.exists()


def test_shards_that_lie(make_siglip, tiny_siglip, tmp_path):
    folder = shutil.copytree(make_siglip(shard_size="40KB"), tmp_path / "checkpoint")
    index = folder / "model.safetensors.index.json"
    content = json.loads(index.read_text(encoding="utf-8"))
    names, shards = list(content["weight_map"]), sorted(set(content["weight_map"].values()))
    turned = {name: shards[i % len(shards)] for i, name in enumerate(names)}
    index.write_text(json.dumps({"metadata": {"total_size": -1}, "weight_map": turned}))
    # What lies where is read from the shards themselves.
    assert load_backbone(folder).weights_hash == load_backbone(tiny_siglip).weights_hash
    shutil.copy(folder / shards[0], folder / "again.safetensors")
    index.write_text(json.dumps({"weight_map": {**turned, "more": "again.safetensors"}}))
    refused(folder, "stands in two files")
    index.write_text(json.dumps({"weight_map": {"a": shards[0]}}))
    refused(folder, r"asks for [0-9,]+ weights, but the weight files have")


def test_spiece_model_needs_sentencepiece(damaged, monkeypatch):
    (damaged / "tokenizer.json").rename(damaged / "spiece.model")
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    refused(damaged, r"spiece.model needs packages .* pip install \"sdmad\[sentencepiece\]\"")


def test_no_tokenizer(damaged):
    (damaged / "tokenizer.json").unlink()
    refused(damaged, r"lacks tokenizer.json \(or spiece.model\)")


@pytest.mark.parametrize(
    ("part", "values", "message"),
    [
        ("vision_config", {"vision_use_head": False}, "head.* is too much"),
        ("text_config", {"projection_size": 16}, r"head.weight has shape \[32, 32\], not \[16, 32"),
        ("vision_config", {"image_size": [32, 32]}, "not a readable Siglip"),
        ("vision_config", {"patch_size": 0}, "not a readable Siglip"),
        ("vision_config", {"num_hidden_layers": 0}, "asks for 0 blocks a tower"),
        ("vision_config", {"num_hidden_layers": 10**9}, "asks for 1000000000 blocks a tower"),
        (
            "text_config",
            {"vocab_size": 10**9},
            r"asks for 32,\d+,\d+,\d+ weights, but .* bytes in all",
        ),
        ("vision_config", {"hidden_size": 10**6}, r"asks for .* weights, but .* bytes in all"),
    ],
)
@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
def test_a_configuration_that_does_not_fit(damaged, part, values, message):
    change_json(damaged / "config.json", part, **values)
    refused(damaged, message)


def test_towers_that_end_in_different_spaces(make_siglip):
    refused(make_siglip(projection=16), "images end in 32 numbers, texts in 16")


def test_positions_that_are_no_square(make_siglip, tmp_path):
    folder = shutil.copytree(make_siglip(naflex=True, version=2), tmp_path / "checkpoint")
    change_json(folder / "config.json", "vision_config", num_patches=15)
    refused(folder, "position_embedding.weight has shape")


@pytest.mark.parametrize("size", [7, 0])
def test_an_image_size_below_one_patch(backbone, folder, size):
    with pytest.raises(ModelError, match=f"{size} px is less than one patch"):
        load_backbone(folder, image_size=size)


def test_medsiglips_grid(make_siglip):
    """448 px in patches of 14: 32 x 32 tokens; at 224 px the positions are halved."""
    folder = make_siglip(image_size=448, patch_size=14, image_depth=1)
    backbone, values = load_backbone(folder), pixels(448, n=1)
    model = SiglipModel.from_pretrained(folder, local_files_only=True).eval()
    assert backbone.preprocessing.size == 448
    assert backbone.image.embed(values)[0].shape == (1, 32 * 32, 32)
    for side in (values, values[:, :, ::2, ::2]):
        expected = normalize(library_image(model, side).pooler_output, dim=-1)
        torch.testing.assert_close(backbone.encode_image(side), expected, rtol=0, atol=1e-5)
