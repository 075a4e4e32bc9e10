"""Checkpoints: folders as they come, and a clear error for every one that cannot be read."""

import json
import math
import shutil

import pytest
import safetensors.torch
import torch
from transformers import CLIPTokenizer
from transformers.utils import logging as transformers_logging

from sdmad import load_backbone
from sdmad.backbones.weights import hash_weights
from sdmad.errors import ModelError

SENTENCES = ["mass", "a small bright focus", "Ödem, 3 mm!"]


@pytest.fixture(scope="module")
def backbone(tiny_clip):
    return load_backbone(tiny_clip)


def pixels(size, n=3, seed=0):
    return torch.randn(n, 3, size, size, generator=torch.Generator().manual_seed(seed))


def copy_of(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "checkpoint")


def change_json(path, part=None, **values):
    content = json.loads(path.read_text(encoding="utf-8"))
    (content[part] if part else content).update(values)
    path.write_text(json.dumps(content), encoding="utf-8")


def change_weights(folder, change):
    path = folder / "model.safetensors"
    tensors = change(safetensors.torch.load(path.read_bytes()))
    safetensors.torch.save_file(tensors, path, metadata={"format": "pt"})


def with_vocabulary_files(folder, merges):
    path = folder / "tokenizer.json"
    vocabulary = json.loads(path.read_text(encoding="utf-8"))["model"]["vocab"]
    path.unlink()
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    (folder / "merges.txt").write_text(merges, encoding="utf-8")
    return folder


def refused(folder, message):
    """The folder is refused with one line that names it and says the message."""
    with pytest.raises(ModelError, match=message) as caught:
        load_backbone(folder)
    text = str(caught.value)
    assert str(folder) in text
    assert "\n" not in text


@pytest.fixture
def folder(tiny_clip, tmp_path):
    """A copy of the small checkpoint, to be damaged."""
    return copy_of(tiny_clip, tmp_path)


def test_padding_is_on_the_right_whatever_the_tokenizer_says(tiny_clip, tmp_path, backbone):
    folder = copy_of(tiny_clip, tmp_path)
    change_json(folder / "tokenizer_config.json", padding_side="left")
    other = load_backbone(folder)
    assert torch.equal(other.tokenize(SENTENCES), backbone.tokenize(SENTENCES))


def test_preprocessing_comes_from_the_checkpoint(backbone, tiny_clip):
    assert backbone.preprocessing.size == 32
    assert backbone.preprocessing.mean == (0.35, 0.4, 0.45)
    assert backbone.preprocessing.std == (0.25, 0.27, 0.29)
    assert load_backbone(tiny_clip, image_size=40).preprocessing.size == 40


def test_the_processor_file_of_transformers_5_goes_first(tiny_clip, tmp_path):
    folder = copy_of(tiny_clip, tmp_path)
    processor = {"image_processor": {"image_mean": [0.1, 0.2, 0.3], "image_std": [1, 2, 3]}}
    (folder / "processor_config.json").write_text(json.dumps(processor))
    preprocessing = load_backbone(folder).preprocessing
    assert (preprocessing.mean, preprocessing.std) == ((0.1, 0.2, 0.3), (1, 2, 3))
    # One without an image processor leaves the other file its say.
    (folder / "processor_config.json").write_text('{"processor_class": "CLIPProcessor"}')
    assert load_backbone(folder).preprocessing.mean == (0.35, 0.4, 0.45)


def test_openais_values_where_no_processor_file_is(tiny_clip, tmp_path):
    folder = copy_of(tiny_clip, tmp_path)
    (folder / "preprocessor_config.json").unlink()
    preprocessing = load_backbone(folder).preprocessing
    assert preprocessing.mean == pytest.approx((0.4815, 0.4578, 0.4082), abs=1e-4)
    assert preprocessing.std == pytest.approx((0.2686, 0.2613, 0.2758), abs=1e-4)


def test_the_hash_tells_weights_apart(tiny_clip, make_clip, backbone):
    assert load_backbone(tiny_clip).weights_hash == backbone.weights_hash
    assert load_backbone(make_clip(seed=1)).weights_hash != backbone.weights_hash
    model = torch.nn.Linear(2, 2)
    before = hash_weights(model)
    with torch.no_grad():
        model.weight[0, 0] += 1e-6
    assert hash_weights(model) != before
    assert len(before) == 64


def test_half_precision_weights_are_read_as_float32(tiny_clip, tmp_path, backbone):
    folder = copy_of(tiny_clip, tmp_path)
    change_weights(folder, lambda tensors: {k: t.half() for k, t in tensors.items()})
    half = load_backbone(folder)
    assert half.encode_image(pixels(32)).dtype == torch.float32
    torch.testing.assert_close(
        half.encode_image(pixels(32)), backbone.encode_image(pixels(32)), rtol=0, atol=0.01
    )


def test_old_checkpoints_with_saved_position_numbers_load(tiny_clip, tmp_path, backbone):
    folder = copy_of(tiny_clip, tmp_path)
    numbers = {"text_model.embeddings.position_ids": torch.arange(24).unsqueeze(0)}
    change_weights(folder, lambda tensors: tensors | numbers)
    assert load_backbone(folder).weights_hash == backbone.weights_hash


def test_vocabulary_and_merges_in_files_of_their_own(tiny_clip, tmp_path, backbone):
    folder = with_vocabulary_files(copy_of(tiny_clip, tmp_path), "#version: 0.2\n")
    assert torch.equal(load_backbone(folder).tokenize(SENTENCES), backbone.tokenize(SENTENCES))


def test_loading_leaves_the_logging_of_transformers_as_it_was(tiny_clip, tmp_path):
    level, bar = (
        transformers_logging.get_verbosity(),
        transformers_logging.is_progress_bar_enabled(),
    )
    transformers_logging.set_verbosity_info()
    transformers_logging.enable_progress_bar()
    try:
        load_backbone(tiny_clip)
        broken = copy_of(tiny_clip, tmp_path)
        (broken / "model.safetensors").write_bytes(b"")
        with pytest.raises(ModelError):
            load_backbone(broken)
        assert transformers_logging.get_verbosity() == transformers_logging.INFO
        assert transformers_logging.is_progress_bar_enabled()
    finally:
        transformers_logging.set_verbosity(level)
        if not bar:
            transformers_logging.disable_progress_bar()


def test_loading_is_silent(tiny_clip, capfd):
    load_backbone(tiny_clip)
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err == ""


def test_the_empty_name():
    with pytest.raises(ModelError, match="name is empty; the packaged one is called lite"):
        load_backbone("")


@pytest.mark.parametrize(
    "name", ["nosuch", "/no/such/folder", "./x", "~nosuchuser/x", "a/b/c", "x" * 5_000, "a\0b", " "]
)
def test_an_unknown_name_says_what_may_be_given(name):
    with pytest.raises(ModelError, match=r"no folder .*packaged backbone \(lite\), a folder with"):
        load_backbone(name)


def test_a_file_is_no_folder(folder):
    with pytest.raises(ModelError, match="holds weights alone; give the folder"):
        load_backbone(folder / "model.safetensors")
    with pytest.raises(ModelError, match=r"config.json is a file; give the folder"):
        load_backbone(folder / "config.json")


@pytest.mark.parametrize("file", ["config.json", "model.safetensors"])
def test_a_folder_that_lacks_a_file(folder, file):
    (folder / file).unlink()
    refused(folder, f"lacks {file}")


def test_a_folder_that_lacks_the_tokenizer(folder):
    (folder / "tokenizer.json").unlink()
    refused(folder, r"lacks tokenizer.json \(or vocab.json and merges.txt\)")


def test_an_empty_folder_names_everything(tmp_path):
    refused(tmp_path, r"lacks config.json, model.safetensors, tokenizer.json\. ")


def test_pickled_weights_are_never_read(folder):
    weights = safetensors.torch.load((folder / "model.safetensors").read_bytes())
    torch.save(weights, folder / "pytorch_model.bin")  # good ones, and still not read
    (folder / "model.safetensors").rename(folder / "model.ema.safetensors")
    refused(
        folder,
        r"lacks model.safetensors\. pytorch_model.bin is pickled, which .*backbone convert",
    )
    (folder / "pytorch_model.bin").unlink()
    refused(folder, r"lacks model.safetensors\. Pickled weights \(.bin, .pt\) are not read")


@pytest.mark.parametrize("keep", [0, 5, 100, 2_000, -10])
def test_truncated_weights(folder, keep):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    refused(folder, "model.safetensors is no readable safetensors file .*header")


def test_weights_that_are_no_safetensors(folder):
    (folder / "model.safetensors").write_bytes(b"<html>Not found</html>" * 10)
    refused(folder, "model.safetensors is no readable safetensors file .*header")


def test_weights_without_a_tensor(folder):
    name = "visual_projection.weight"
    change_weights(folder, lambda tensors: {k: t for k, t in tensors.items() if k != name})
    refused(folder, f"do not fit config.json in 1 tensors: {name} is missing")


def test_weights_of_another_shape(folder):
    change_weights(folder, lambda tensors: tensors | {"text_projection.weight": torch.zeros(3, 4)})
    refused(folder, r"text_projection.weight has shape \[3, 4\], not \[16, 32\]")


@pytest.mark.parametrize(("depth", "state"), [(9, "is missing"), (5, "is too much")])
def test_a_depth_that_the_weights_do_not_have(folder, depth, state):
    change_json(folder / "config.json", "vision_config", num_hidden_layers=depth)
    refused(folder, f"vision_model.encoder.layers.[56].* {state}")


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_that_are_no_number(folder, value):
    change_weights(
        folder, lambda tensors: tensors | {"visual_projection.weight": torch.full((16, 32), value)}
    )
    refused(folder, "NaN or infinite values, first in visual_projection.weight")


@pytest.mark.parametrize(
    "content",
    ["", "{not json", "[]", "3", "\xff", "[" * 100_000],
    ids=["empty", "not json", "list", "number", "latin", "deep"],
)
def test_a_broken_configuration(folder, content):
    (folder / "config.json").write_text(content, encoding="latin-1")
    refused(folder, "config.json is not readable JSON")


@pytest.mark.parametrize("kind", ["bert", "align", None, 3])
def test_another_models_configuration(folder, kind):
    change_json(folder / "config.json", model_type=kind)
    kind = kind if isinstance(kind, str) else None
    known = "clip, sdmad_lite, siglip, siglip2"
    refused(folder, f"config.json says model_type {kind!r}; {known} can be read, open_")


def test_another_familys_configuration(folder):
    change_json(folder / "config.json", model_type="siglip")
    refused(folder, r"the weights do not fit config.json in \d+ tensors: logit_bias is missing")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"hidden_size": "abc"}, "vision_config.hidden_size must be a whole number"),
        ({"hidden_size": 33}, "2 heads do not divide a width of 33"),
        ({"num_attention_heads": 0}, "num_attention_heads must be a whole number"),
        ({"patch_size": 0}, "patch_size must be a whole number"),
        ({"image_size": [32, 32]}, "image_size must be a whole number"),
        ({"hidden_act": "nosuch"}, "hidden_act must be one of quick_gelu, gelu, gelu_pytorch_tanh"),
        ({"hidden_act": ["gelu"]}, "hidden_act must be one of"),
        ({"layer_norm_eps": None, "num_channels": 4}, "4 channels; only 3"),
        ({"layer_norm_eps": "tiny"}, "layer_norm_eps must lie in"),
    ],
)
def test_a_configuration_that_makes_no_model(folder, values, message):
    change_json(folder / "config.json", "vision_config", **values)
    refused(folder, message)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "tokenizer.json is no readable tokenizer file"),
        ("{bad", "tokenizer.json is no readable tokenizer file"),
        ("{}", "tokenizer.json is no readable tokenizer file"),
        ("[]", "tokenizer.json is no readable tokenizer file"),
        ('{"model": null}', "tokenizer.json is no readable tokenizer file"),
    ],
)
def test_a_broken_tokenizer(folder, content, message):
    (folder / "tokenizer.json").write_text(content, encoding="utf-8")
    refused(folder, message)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"merges": [["x", "yyy"]]}, "merges lead to 'xyyy', not in the vocabulary"),
        ({"merges": [3]}, "no readable tokenizer file"),
        ({"vocab": 3}, "no readable tokenizer file"),
        ({"type": "WordPiece"}, "a tokenizer of type WordPiece; CLIP's is BPE"),
        ({"vocab": {}}, "ends a text with token 1, the text tower expects 513"),
    ],
)
def test_a_tokenizer_of_another_kind(folder, values, message):
    change_json(folder / "tokenizer.json", "model", **values)
    refused(folder, message)


@pytest.mark.parametrize(
    "change", [{"normalizer": {"type": "NoSuch"}}, {"pre_tokenizer": 3}, {"version": "99.0"}]
)
def test_a_bogus_tokenizer(folder, change):
    """The tokenizers library raises a plain Exception for these."""
    change_json(folder / "tokenizer.json", **change)
    refused(folder, "not a readable CLIP tokenizer")


def test_a_truncated_tokenizer(folder):
    path = folder / "tokenizer.json"
    path.write_bytes(path.read_bytes()[:5_000])
    refused(folder, "tokenizer.json is no readable tokenizer file")


def test_broken_vocabulary_files(folder):
    with_vocabulary_files(folder, "#version: 0.2\nx yyy\n")
    refused(folder, "merges.txt: merges lead to 'xyyy'")
    (folder / "merges.txt").write_bytes(b"\xff\xfe")
    refused(folder, "merges.txt is no readable tokenizer file")
    (folder / "merges.txt").unlink()
    refused(folder, r"lacks tokenizer.json \(or vocab.json and merges.txt\)")
    (folder / "merges.txt").write_text("")
    (folder / "vocab.json").write_text("{bad")
    refused(folder, "vocab.json is no readable tokenizer file")


def test_a_broken_tokenizer_configuration(folder):
    (folder / "tokenizer_config.json").write_text("{bad")
    refused(folder, "not a readable CLIP tokenizer .*JSONDecodeError")


def test_a_tokenizer_with_more_tokens_than_the_tower(folder):
    tokenizer = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
    tokenizer.add_tokens(["<nodule>", "<mass>"])
    tokenizer.save_pretrained(folder)
    refused(folder, "tokenizer has 516 tokens, the text tower only 514; they do not belong")


@pytest.mark.parametrize("end", [7, None])
def test_a_tokenizer_with_another_end_of_text(folder, end):
    """Otherwise every sentence would be pooled at its first token and embed alike."""
    change_json(folder / "config.json", "text_config", eos_token_id=end)
    refused(folder, "ends a text with token 513, the text tower expects .* do not belong together")


def test_an_end_of_text_that_is_no_number(folder):
    change_json(folder / "config.json", "text_config", eos_token_id=[512, 513])
    refused(folder, "eos_token_id must be a number")


def test_a_tokenizer_that_breaks_the_legacy_rule(make_clip, tmp_path):
    folder = copy_of(make_clip(end_token=2), tmp_path)
    content = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    vocabulary = content["model"]["vocab"]
    vocabulary["<|endoftext|>"], vocabulary["a"] = vocabulary["a"], vocabulary["<|endoftext|>"]
    for token in content["added_tokens"]:
        token["id"] = vocabulary[token["content"]]
    (folder / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    refused(folder, "the text tower expects 2")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "not a usable image processor"),
        ("{bad", "not a usable image processor"),
        ("[]", "not a usable image processor"),
        ("[" * 100_000, "not a usable image processor"),
        ('{"image_mean": null}', "not a usable image processor"),
        ('{"image_mean": [0.5, 0.5]}', "not a usable image processor"),
        ('{"image_mean": "abc"}', "not a usable image processor"),
        ('{"image_std": [0, 1, 1]}', "std must be at least"),
        ('{"image_std": [NaN, 1, 1]}', "std must be three finite numbers"),
        ('{"image_mean": [1' + "0" * 400 + ", 1, 1]}", "not a usable image processor"),
    ],
)
def test_a_broken_image_processor(folder, content, message):
    (folder / "preprocessor_config.json").write_text(content, encoding="utf-8")
    refused(folder, f"preprocessor_config.json: .*{message}")


def test_a_broken_processor_of_transformers_5(folder):
    (folder / "processor_config.json").write_text('{"image_processor": [1]}', encoding="utf-8")
    refused(folder, "processor_config.json: not a usable image processor")


@pytest.mark.parametrize(
    "values",
    [{"num_hidden_layers": 10**9}, {"intermediate_size": 10**12}, {"hidden_size": 10**6}],
    ids=["depth", "width", "both"],
)
def test_a_configuration_that_asks_for_too_much_memory(folder, values):
    change_json(folder / "config.json", "vision_config", **values)
    refused(folder, "asks for [0-9,]+ (blocks|weights)|must be a whole number from 1 to 1048576")


@pytest.mark.parametrize("size", [7, 0, -32])
def test_an_image_size_below_one_patch(folder, size):
    with pytest.raises(ModelError, match=f"{size} px is less than one patch"):
        load_backbone(folder, image_size=size)


def test_a_normalizer_of_the_tokenizers_file_is_not_run(folder, backbone):
    """CLIP's own is; that of the file would make memory run out."""
    double = {"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}
    many = {"type": "Sequence", "normalizers": [double] * 40}
    change_json(folder / "tokenizer.json", normalizer=many)
    assert torch.equal(load_backbone(folder).tokenize(SENTENCES), backbone.tokenize(SENTENCES))


def test_a_tensor_in_two_shards(folder):
    for name in ("a.safetensors", "b.safetensors"):
        shutil.copy(folder / "model.safetensors", folder / name)
    (folder / "model.safetensors").unlink()
    index = {"weight_map": {"x": "a.safetensors", "y": "b.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    refused(folder, "stands in two files")
