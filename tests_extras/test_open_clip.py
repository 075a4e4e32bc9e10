"""open_clip's models: the library's own numbers, block by block."""

import json
import shutil

import numpy as np
import open_clip
import pytest
import safetensors.torch
import torch
from torch.nn.functional import normalize

from sdmad import SDMAD, SDMADConfig
from sdmad.backbones import load_backbone
from sdmad.backbones.open_clip import load_open_clip
from sdmad.errors import InputError, ModelError, WeightsMissingError
from tests_extras.checkpoints import (
    BIOMED,
    CONFIGS,
    MEAN,
    SENTENCES,
    STD,
    TEXT,
    VISION,
    WEIGHTS,
    WORDS,
    build,
    clip_config,
    in_the_cache,
    pixels,
    refused,
    write_config,
)

# --- the same numbers -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", CONFIGS)
def test_images_agree_with_the_library(checkpoints, name):
    folder, model = checkpoints[name]
    backbone = load_backbone(f"open_clip:{folder}")
    values = pixels(backbone.preprocessing.size)
    with torch.no_grad():
        expected = model.encode_image(values, normalize=True)
    torch.testing.assert_close(backbone.encode_image(values), expected, rtol=0, atol=1e-5)
    assert backbone.dimension == expected.shape[1]
    assert (expected[0] @ expected[1]) < 0.9999  # the comparison would see a difference


@pytest.mark.parametrize("name", CONFIGS)
def test_texts_agree_with_the_library(checkpoints, name):
    folder, model = checkpoints[name]
    backbone = load_backbone(f"open_clip:{folder}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    with torch.no_grad():
        expected = model.encode_text(tokenizer(SENTENCES), normalize=True)
    torch.testing.assert_close(backbone.encode_text(SENTENCES), expected, rtol=0, atol=1e-5)
    assert (expected[0] @ expected[1]) < 0.9999


@pytest.mark.parametrize("size", [32, 40, 77])
@pytest.mark.parametrize("name", ["quickgelu", "averaged"])
def test_other_image_sizes_agree_with_force_image_size(folder_of, name, size):
    folder = folder_of[name]
    model = open_clip.create_model(f"local-dir:{folder}", force_image_size=size).eval()
    with torch.no_grad():
        expected = model.encode_image(pixels(size), normalize=True)
    backbone = load_backbone(f"open_clip:{folder}", image_size=size)
    assert backbone.preprocessing.size == size
    torch.testing.assert_close(backbone.encode_image(pixels(size)), expected, rtol=0, atol=1e-5)
    assert backbone.weights_hash == load_backbone(f"open_clip:{folder}").weights_hash


@pytest.mark.parametrize("name", ["biomedclip", "siglip"])
def test_other_image_sizes_agree_with_timm(checkpoints, name):
    folder, model = checkpoints[name]
    other = build(CONFIGS[name], folder if name == "biomedclip" else None)
    other.load_state_dict(model.state_dict())
    other.visual.set_input_size(96)
    with torch.no_grad():
        expected = other.encode_image(pixels(96), normalize=True)
    backbone = load_backbone(f"open_clip:{folder}", image_size=96)
    torch.testing.assert_close(backbone.encode_image(pixels(96)), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("size", [64, 101])
def test_convnext_takes_any_size(checkpoints, size):
    folder, model = checkpoints["convnext"]
    with torch.no_grad():
        expected = model.encode_image(pixels(size), normalize=True)
    found = load_backbone(f"open_clip:{folder}").encode_image(pixels(size))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("pooler", ["mean_pooler", "cls_pooler", "cls_last_hidden_state_pooler"])
@pytest.mark.parametrize("projection", ["mlp", "linear"])
def test_poolers_of_bert(make_folder, pooler, projection):
    config = {
        "embed_dim": 16,
        "vision_cfg": VISION,
        "text_cfg": {**BIOMED["text_cfg"], "hf_pooler_type": pooler, "hf_proj_type": projection},
    }
    folder, model = make_folder(config, bert=True, seed=5)
    backbone = load_open_clip(str(folder))
    with torch.no_grad():
        expected = model.encode_text(backbone.tokenize(SENTENCES), normalize=True)
    torch.testing.assert_close(backbone.encode_text(SENTENCES), expected, rtol=0, atol=1e-5)


def test_the_activation_matters(checkpoints):
    """Otherwise the agreement above would not see a wrong one."""
    folder, _ = checkpoints["quickgelu"]
    other = build(clip_config())
    state = safetensors.torch.load((folder / WEIGHTS).read_bytes())
    other.load_state_dict(state)
    with torch.no_grad():
        plain = other.encode_image(pixels(32), normalize=True)
    found = load_open_clip(str(folder)).encode_image(pixels(32))
    assert (found - plain).abs().max() > 1e-3


# --- blocks, states, training ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "image", "text"),
    [
        ("quickgelu", (32,) * 4, (32,) * 3),
        ("biomedclip", (64,) * 6, (24,) * 3),
        ("convnext", (24, 32, 48, 64), (32,) * 3),
    ],
)
def test_depths_and_widths(folder_of, name, image, text):
    backbone = load_open_clip(str(folder_of[name]))
    assert (backbone.image.depth, backbone.image.widths) == (len(image), image)
    assert (backbone.text.depth, backbone.text.widths) == (len(text), text)
    hidden, state = backbone.image.embed(pixels(backbone.preprocessing.size))
    for index, width in enumerate(image, 1):
        hidden = backbone.image.block(index, hidden, state)
        assert hidden.shape[::2] == (2, width)
    for tower in (backbone.image, backbone.text):
        assert not any(p.requires_grad for p in tower.parameters())
        assert not any(m.training for m in tower.children())


@pytest.mark.parametrize("name", CONFIGS)
def test_the_state_of_some_sentences(folder_of, name):
    backbone = load_open_clip(str(folder_of[name]))
    tower, ids = backbone.text, backbone.tokenize(SENTENCES)
    rows = slice(1, 3)
    with torch.no_grad():
        whole = tower(ids)
        hidden, state = tower.embed(ids)
        hidden, state = hidden[rows], state[rows]
        for index in range(1, tower.depth + 1):
            hidden = tower.block(index, hidden, state)
        torch.testing.assert_close(tower.pool(hidden, state), whole[rows])


@pytest.mark.parametrize("name", ["quickgelu", "biomedclip", "convnext"])
def test_training_and_a_saved_detector(folder_of, bank, pictures, tmp_path, name):
    backbone = load_backbone(f"open_clip:{folder_of[name]}")
    detector = SDMAD(bank, backbone, SDMADConfig(epochs=1), seed=3).fit(*pictures)
    scores = detector.decision_function(pictures[0])
    assert scores.shape == (8, 3)
    assert np.isfinite(scores).all()
    detector.save(tmp_path / "model")
    again = SDMAD.load(tmp_path / "model").decision_function(pictures[0])
    np.testing.assert_array_equal(again, scores)


# --- tokenizers -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["quickgelu", "biomedclip", "siglip"])
def test_tokens_are_the_librarys_without_the_padding(folder_of, name):
    backbone = load_open_clip(str(folder_of[name]))
    sentences = [*SENTENCES, " Much &amp;   space ", "x " * 60]
    expected = open_clip.get_tokenizer(f"local-dir:{folder_of[name]}")(sentences)
    found = backbone.tokenize(sentences)
    assert backbone.context_length == 40 == found.shape[1]
    assert torch.equal(found, expected)
    short = backbone.tokenize(["x"])
    assert torch.equal(short, expected[2:3, : short.shape[1]])
    assert short.shape[1] == (40 if name == "siglip" else 3)  # SigLIP pools the last one
    assert backbone.token_counts(["x", "x " * 60]) == [3, 62]
    with pytest.raises(InputError, match="a list of sentences"):
        backbone.tokenize("x")


@pytest.mark.parametrize("mode", [None, "clips"])
def test_a_tokenizer_of_the_hub_for_open_clips_own_tower(make_folder, mode):
    """As SigLIP and MetaCLIP have it: the folder's tokenizer, padding up to the context length."""
    text = {**TEXT, "hf_tokenizer_name": "owner/name", "no_causal_mask": True, "pool_type": "first"}
    text |= {"vocab_size": len(WORDS), "tokenizer_kwargs": {"clean": "canonicalize"}}
    config = {**clip_config(), "text_cfg": {**text, "tokenizer_mode": mode}}
    folder, model = make_folder(config, bert=True, own_text=True)
    if mode == "clips":
        refused(folder, "no readable tokenizer")  # BERT's has no start and end
        settings = {"tokenizer_class": "BertTokenizer", "bos_token": "[MASK]", "eos_token": "[SEP]"}
        (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    backbone = load_open_clip(str(folder))
    expected = open_clip.get_tokenizer(f"local-dir:{folder}")(SENTENCES)
    assert torch.equal(backbone.tokenize(SENTENCES), expected)
    with torch.no_grad():
        features = model.encode_text(expected, normalize=True)
    torch.testing.assert_close(backbone.encode_text(SENTENCES), features, rtol=0, atol=1e-5)
    added = 2 if mode is None else 3
    assert backbone.token_counts(["x", "x y."]) == [1 + added, 2 + added]


def test_a_tokenizer_that_ends_sentences_otherwise(make_folder):
    text = {**TEXT, "hf_tokenizer_name": "owner/name", "pool_type": "eos", "eos_id": 3}
    folder, _ = make_folder({**clip_config(), "text_cfg": text}, bert=True, own_text=True)
    refused(folder, "ends a text with token None, the text tower expects 3")


# --- activation, mean, deviation ------------------------------------------------------------------


def test_preprocessing_comes_from_the_configuration(folder_of, folder):
    preprocessing = load_open_clip(str(folder_of["gelu"])).preprocessing
    assert (list(preprocessing.mean), list(preprocessing.std)) == (MEAN, STD)
    write_config(folder, clip_config(), {"size": 32})
    assert load_open_clip(str(folder)).preprocessing.mean == pytest.approx(
        (0.4815, 0.4578, 0.4082), abs=1e-4
    )
    write_config(folder, clip_config(), {"mean": [0.5, 0.5]})
    refused(folder, "preprocess_cfg, mean must be three finite numbers")


def test_overrides_must_agree_with_the_configuration(folder):
    assert load_open_clip(str(folder), activation="gelu", mean=MEAN).activation == "gelu"
    refused(folder, "Either leave activation= out, or.*quick_gelu", activation="quick_gelu")
    refused(folder, "Either leave mean= out, or.*preprocess_cfg, mean", mean=[0.5] * 3)
    with pytest.raises(ModelError, match="activation must be one of"):
        load_open_clip(str(folder), activation="relu")


def test_a_tag_and_an_architecture_that_disagree_name_both_ways():
    """MVFA's trap: OpenAI's weights in the architecture without QuickGELU."""
    with pytest.raises(ModelError) as caught:
        load_backbone("open_clip:ViT-B-32/openai")
    text = str(caught.value)
    assert "'gelu' by the architecture ViT-B-32" in text
    assert "trained with 'quick_gelu', going by its tag openai" in text
    assert "open_clip:ViT-B-32-quickgelu/openai" in text
    assert "activation='quick_gelu'" in text


@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        ("ViT-L-14-336-quickgelu/openai", {}),
        ("ViT-B-32/openai", {"activation": "quick_gelu"}),
        ("ViT-B-32/openai", {"activation": "gelu"}),  # MVFA's numbers
        ("ViT-B-32/laion2b_s34b_b79k", {}),
        ("ViT-B-16-SigLIP/webli", {}),
        ("ViT-B-32-SigLIP2-256/webli", {}),
    ],
)
def test_tags_that_agree_get_as_far_as_the_missing_weights(name, overrides):
    with pytest.raises(WeightsMissingError, match=r"not in the cache .*HF_HUB_OFFLINE is set"):
        load_backbone(f"open_clip:{name}", 240, **overrides)


def test_openais_mean_is_known_by_the_tag():
    with pytest.raises(ModelError, match=r"mean=.* was stated, but .* by its tag openai"):
        load_backbone("open_clip:ViT-B-32-quickgelu/openai", mean=[0.5] * 3)


def test_a_tag_with_its_weights_in_the_cache(monkeypatch, tmp_path):
    """A small stand-in for OpenAI's ViT-B/32: one block of each tower."""
    config = open_clip.get_model_config("ViT-B-32-quickgelu")
    config["vision_cfg"] |= {"layers": 1, "width": 64}
    config["text_cfg"] |= {"layers": 1, "width": 32, "heads": 2}
    model = build(config)
    state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    (tmp_path / "files").mkdir()
    safetensors.torch.save_file(state, tmp_path / "files" / WEIGHTS)
    repository = "timm/vit_base_patch32_clip_224.openai"
    in_the_cache(monkeypatch, tmp_path / "cache", repository, tmp_path / "files")
    monkeypatch.setattr("open_clip.get_model_config", lambda name: json.loads(json.dumps(config)))
    backbone = load_backbone("open_clip:ViT-B-32-quickgelu/openai", 240)
    assert backbone.activation == "quick_gelu"
    assert backbone.preprocessing.size == 240
    assert backbone.preprocessing.mean[0] == pytest.approx(0.48145466)
    tokens = open_clip.get_tokenizer("ViT-B-32-quickgelu")(SENTENCES)
    with torch.no_grad():
        expected = normalize(model.encode_text(tokens), dim=-1)
    torch.testing.assert_close(backbone.encode_text(SENTENCES), expected, rtol=0, atol=1e-5)
    same = load_backbone(f"open_clip:ViT-B-32-quickgelu/{tmp_path / 'files' / WEIGHTS}")
    assert same.weights_hash == backbone.weights_hash


def test_vit_l_14_336_at_240_pixels(make_folder):
    """The paper's tower, two of its 24 blocks: 17 x 17 patches from 24 x 24."""
    config = open_clip.get_model_config("ViT-L-14-336-quickgelu")
    config["vision_cfg"]["layers"] = 2
    config["text_cfg"] |= {"layers": 1, "width": 32, "heads": 2}
    folder, _ = make_folder(config)
    model = open_clip.create_model(f"local-dir:{folder}", force_image_size=240).eval()
    backbone = load_backbone(f"open_clip:{folder}", 240)
    assert backbone.image.embed(pixels(240, 1))[0].shape == (1, 290, 1024)
    with torch.no_grad():
        expected = model.encode_image(pixels(240, 1), normalize=True)
    torch.testing.assert_close(backbone.encode_image(pixels(240, 1)), expected, rtol=0, atol=1e-5)


def test_a_model_of_the_hub(folder_of, monkeypatch, tmp_path):
    """BiomedCLIP's own name, converted weights in its repository's place, its BERT in another."""
    files = shutil.copytree(folder_of["biomedclip"], tmp_path / "files")
    bert = tmp_path / "bert"
    bert.mkdir()
    for name in ("config.json", "vocab.txt", "tokenizer_config.json"):
        shutil.move(files / name, bert / name)
    name = "microsoft/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224"
    in_the_cache(monkeypatch, tmp_path / "cache", name, files)
    in_the_cache(monkeypatch, tmp_path / "cache", BIOMED["text_cfg"]["hf_model_name"], bert)
    backbone = load_backbone(f"open_clip:hf-hub:{name}")
    assert backbone.name == f"open_clip:hf-hub:{name}"
    local = load_open_clip(str(folder_of["biomedclip"]))
    assert backbone.weights_hash == local.weights_hash
    assert torch.equal(backbone.encode_text(SENTENCES), local.encode_text(SENTENCES))


def test_a_repository_without_safetensors(folder_of, monkeypatch, tmp_path):
    files = shutil.copytree(folder_of["biomedclip"], tmp_path / "files")
    (files / WEIGHTS).rename(files / "open_clip_pytorch_model.bin")
    in_the_cache(monkeypatch, tmp_path / "cache", "owner/name", files)
    with pytest.raises(
        WeightsMissingError,
        match=r"has no open_clip_model\.safetensors\. .* backbone fetch open_clip:hf-hub",
    ):
        load_backbone("open_clip:hf-hub:owner/name")


def test_the_tag_of_a_model_of_the_hub_is_known(folder, monkeypatch):
    """The same trap by another door: OpenAI's weights in a repository that forgot QuickGELU."""
    monkeypatch.setattr("sdmad.backbones.open_clip_files.resolve", lambda name, patterns: folder)
    mean, std = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
    write_config(folder, clip_config(), {"mean": mean, "std": std})
    name = "open_clip:hf-hub:timm/vit_base_patch32_clip_224.openai"
    with pytest.raises(
        ModelError, match=r"'gelu' by open_clip_config.json, but .*'quick_gelu', go"
    ):
        load_backbone(name)
    stated = load_backbone(name, activation="quick_gelu")
    assert stated.activation == "quick_gelu"
    assert load_backbone(name, activation="gelu").activation == "gelu"
    model = build(clip_config(quick_gelu=True))
    model.load_state_dict(safetensors.torch.load((folder / WEIGHTS).read_bytes()))
    with torch.no_grad():  # what was stated is what runs
        expected = model.encode_image(pixels(32), normalize=True)
    torch.testing.assert_close(stated.encode_image(pixels(32)), expected, rtol=0, atol=1e-5)
    write_config(folder, clip_config(quick_gelu=True), {"mean": mean, "std": std})
    assert load_backbone(name).activation == "quick_gelu"
