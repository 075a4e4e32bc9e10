"""What checkpoints were trained with, and how a contradiction is settled."""

import json
import shutil

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize
from transformers import CLIPModel

from sdmad import SDMAD, SDMADConfig, load_backbone
from sdmad.backbones.known import (
    OPENAI_MEAN,
    Voice,
    recognise,
    same_activation,
    same_channels,
    settle,
)
from sdmad.backbones.weights import hash_weights
from sdmad.errors import ModelError

OPENAI = {
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
}


def change_json(path, part=None, **values):
    content = json.loads(path.read_text(encoding="utf-8"))
    (content[part] if part else content).update(values)
    path.write_text(json.dumps(content), encoding="utf-8")


def set_activation(folder, name):
    for part in ("vision_config", "text_config"):
        change_json(folder / "config.json", part, hidden_act=name)


@pytest.fixture
def openai(tiny_clip, tmp_path):
    """A small CLIP in a folder of OpenAI's name, with OpenAI's preprocessing."""
    folder = shutil.copytree(tiny_clip, tmp_path / "clip-vit-base-patch32")
    (folder / "preprocessor_config.json").write_text(json.dumps(OPENAI), encoding="utf-8")
    return folder


def pixels():
    return torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def library(folder, activation):
    """Image embeddings as the library computes them with another activation."""
    config = CLIPModel.config_class.from_pretrained(folder)
    config.vision_config.hidden_act = activation
    model = CLIPModel.from_pretrained(folder, config=config, local_files_only=True).eval()
    return normalize(model.get_image_features(pixels()).pooler_output, dim=-1)


@pytest.mark.parametrize(
    ("checkpoint", "trained", "stated", "result"),
    [
        ("a", None, None, "a"),
        ("a", "a", None, "a"),
        ("a", "b", None, None),
        ("a", "b", "a", "a"),
        ("a", "b", "b", "b"),
        ("a", "b", "c", None),
        ("a", "a", "b", None),
        ("a", None, "b", None),
        ("a", None, "a", "a"),
        (None, "b", None, "b"),
        (None, "b", "b", "b"),
        (None, "b", "c", None),
        (None, None, "c", "c"),
        (None, None, None, "default"),
    ],
)
def test_two_that_agree_settle_it(checkpoint, trained, stated, result):
    voices = tuple(None if v is None else Voice(v, "x") for v in (checkpoint, trained, stated))
    if result is None:
        with pytest.raises(ModelError, match=r"Either .* or"):
            settle("activation", "file", voices, str.__eq__, "default")
    else:
        assert settle("activation", "file", voices, str.__eq__, "default") == result


def test_the_same_function_under_two_names():
    assert same_activation("gelu_new", ("gelu_pytorch_tanh", "gelu_fast"))
    assert not same_activation("gelu", ("gelu", "quick_gelu"))
    assert not same_activation("gelu", "gelu_pytorch_tanh")


def test_rounding_is_no_contradiction():
    assert same_channels((0.4815, 0.4578, 0.4082), OPENAI_MEAN)
    assert not same_channels((0.485, 0.456, 0.406), OPENAI_MEAN)  # ImageNet's


@pytest.mark.parametrize(
    ("path", "activation", "mean"),
    [
        ("models--openai--clip-vit-large-patch14-336/snapshots/0", "quick_gelu", 0.4815),
        ("clip-vit-base-patch16", "quick_gelu", 0.4815),
        ("openai_clip-vit-base-patch16", "quick_gelu", 0.4815),
        (
            "models--flaviagiammarino--pubmed-clip-vit-base-patch32/snapshots/0",
            "quick_gelu",
            0.4815,
        ),
        ("CLIP-ViT-H-14-laion2B-s32B-b79K", "gelu", 0.4815),
        ("models--laion--CLIP-ViT-L-14-laion2B-s32B-b82K/snapshots/0", "gelu", 0.5),
        ("siglip-so400m-patch14-384", "gelu_pytorch_tanh", 0.5),
        ("google--siglip2-base-patch16-naflex", "gelu_pytorch_tanh", 0.5),
        ("models--google--medsiglip-448/snapshots/0", "gelu_pytorch_tanh", 0.5),
    ],
)
def test_names_as_on_the_hub(tmp_path, path, activation, mean):
    found = recognise(tmp_path / path, None)
    assert found.known.activation == activation
    assert found.known.mean[0] == pytest.approx(mean, abs=1e-4)
    assert not found.derived


@pytest.mark.parametrize(
    "path",
    [
        "my-model",
        "my-clip-vit-base-patch32",
        "lite",
        "models--somebody--clip-vit-base-patch32/snapshots/0",
        "models--google--siglip/snapshots/0",
    ],
)
def test_other_names_say_nothing(tmp_path, path):
    assert recognise(tmp_path / path, None) is None


def test_a_checkpoint_that_started_from_a_known_one(tmp_path):
    found = recognise(tmp_path / "mine", "openai/clip-vit-base-patch32")
    assert found.derived
    assert found.known.activation == "quick_gelu"
    for other in ("./clip", "somebody/clip", 3, None):
        assert recognise(tmp_path / "mine", other) is None


def test_the_checkpoints_activation_is_run(tiny_clip, tmp_path):
    folder = shutil.copytree(tiny_clip, tmp_path / "mine")
    plain = load_backbone(folder)
    assert plain.activation == "quick_gelu"  # CLIPConfig's default, which the format implies
    set_activation(folder, "gelu")
    found = load_backbone(folder)
    assert found.activation == "gelu"
    assert found.weights_hash == plain.weights_hash
    assert (found.encode_image(pixels()) - plain.encode_image(pixels())).abs().max() > 1e-3


def test_a_known_name_with_the_wrong_activation(openai):
    assert load_backbone(openai).activation == "quick_gelu"
    set_activation(openai, "gelu")
    with pytest.raises(ModelError, match=r"activation is 'gelu' by config.json") as caught:
        load_backbone(openai)
    text = str(caught.value)
    assert "trained with 'quick_gelu', going by its name clip-vit-base-patch32" in text
    assert "mend the checkpoint (hidden_act of vision_config and text_config in config" in text
    assert "activation='quick_gelu'" in text
    assert str(openai) in text


def test_both_ways_to_mend_it(openai):
    right = load_backbone(openai)
    set_activation(openai, "gelu")
    stated = load_backbone(openai, activation="quick_gelu")
    assert stated.activation == "quick_gelu"
    torch.testing.assert_close(
        stated.encode_image(pixels()), library(openai, "quick_gelu"), rtol=0, atol=1e-5
    )
    kept = load_backbone(openai, activation="gelu")
    assert kept.activation == "gelu"
    torch.testing.assert_close(
        kept.encode_image(pixels()), library(openai, "gelu"), rtol=0, atol=1e-5
    )
    set_activation(openai, "quick_gelu")
    mended = load_backbone(openai)
    for other in (stated, mended):
        assert torch.equal(other.encode_image(pixels()), right.encode_image(pixels()))
        assert torch.equal(other.encode_text(["mass"]), right.encode_text(["mass"]))


def test_towers_that_differ(openai, tiny_clip, tmp_path):
    change_json(openai / "config.json", "vision_config", hidden_act="gelu")
    with pytest.raises(ModelError, match=r"activation is 'gelu' and 'quick_gelu' by config.json"):
        load_backbone(openai)
    folder = shutil.copytree(openai, tmp_path / "mine")
    assert load_backbone(folder).activation == "gelu/quick_gelu"
    with pytest.raises(ModelError, match="activation='gelu' was stated, but it is 'gelu' and"):
        load_backbone(folder, activation="gelu")


def test_a_statement_alone_against_the_checkpoint(openai, tiny_clip):
    with pytest.raises(ModelError, match="activation='gelu' was stated, but it is 'quick_gelu'"):
        load_backbone(tiny_clip, activation="gelu")
    with pytest.raises(ModelError) as caught:
        load_backbone(openai, activation="gelu")
    assert "leave activation= out, or, if 'gelu' is right, write it into" in str(caught.value)
    assert "and leave the statement as it is" in str(caught.value)
    # MVFA's way with OpenAI's weights: said twice, in the file and in the call.
    set_activation(openai, "gelu")
    assert load_backbone(openai, activation="gelu").activation == "gelu"


def test_siglips_pooling_head_changes_too(tiny_siglip, tmp_path):
    folder = shutil.copytree(tiny_siglip, tmp_path / "medsiglip-448")
    right = load_backbone(folder).encode_image(pixels())
    set_activation(folder, "gelu")
    with pytest.raises(ModelError, match="trained with 'gelu_pytorch_tanh', going by its name"):
        load_backbone(folder)
    assert torch.equal(
        load_backbone(folder, activation="gelu_pytorch_tanh").encode_image(pixels()), right
    )
    other = load_backbone(folder, activation="gelu")
    modules = [m for m in other.image.modules() if hasattr(m, "activation_fn")]
    assert len(modules) == 5 + 1
    assert len({type(m.activation_fn) for m in modules}) == 1


def test_a_checkpoint_that_started_from_openais(tiny_clip, tmp_path):
    """Its activation must be OpenAI's, its mean and deviation may be its own."""
    folder = shutil.copytree(tiny_clip, tmp_path / "mine")
    change_json(folder / "config.json", _name_or_path="openai/clip-vit-base-patch32")
    assert load_backbone(folder).preprocessing.mean == (0.35, 0.4, 0.45)
    set_activation(folder, "gelu")
    with pytest.raises(ModelError, match="_name_or_path openai/clip-vit-base-patch32"):
        load_backbone(folder)


@pytest.mark.parametrize("name", ["mean", "std"])
def test_a_known_name_with_another_mean_or_deviation(openai, name):
    change_json(openai / "preprocessor_config.json", **{f"image_{name}": [0.5, 0.5, 0.5]})
    with pytest.raises(ModelError, match=rf"{name} is \(0.5, 0.5, 0.5\) by the check") as caught:
        load_backbone(openai)
    right = tuple(OPENAI[f"image_{name}"])
    assert f"mend the checkpoint (image_{name} in preprocessor_config.json: " in str(caught.value)
    assert f"load_backbone(..., {name}=({right[0]:.6g}, " in str(caught.value)
    assert getattr(load_backbone(openai, **{name: right}).preprocessing, name) == right
    halves = (0.5, 0.5, 0.5)
    assert getattr(load_backbone(openai, **{name: halves}).preprocessing, name) == halves


def test_a_missing_processor_file_leaves_the_say_to_what_is_known(tiny_clip, tmp_path):
    name = "CLIP-ViT-L-14-laion2B-s32B-b82K"
    folder = shutil.copytree(tiny_clip, tmp_path / name)
    set_activation(folder, "gelu")
    (folder / "preprocessor_config.json").unlink()
    assert load_backbone(folder).preprocessing.mean == (0.5, 0.5, 0.5)
    with pytest.raises(ModelError, match=r"mean=\(0.1, 0.1, 0.1\) was stated, but it is \(0.5"):
        load_backbone(folder, mean=(0.1, 0.1, 0.1))


def test_a_statement_fills_what_nobody_else_says(tiny_clip, tmp_path):
    folder = shutil.copytree(tiny_clip, tmp_path / "mine")
    (folder / "preprocessor_config.json").unlink()
    backbone = load_backbone(folder, mean=np.array([0.1, 0.2, 0.3]).tolist(), std=(1, 1, 1))
    assert backbone.preprocessing.mean == (0.1, 0.2, 0.3)
    assert backbone.preprocessing.std == (1.0, 1.0, 1.0)


def test_siglip_without_a_processor_file_is_halved(tiny_siglip, tmp_path):
    folder = shutil.copytree(tiny_siglip, tmp_path / "mine")
    (folder / "preprocessor_config.json").unlink()
    assert load_backbone(folder).preprocessing.mean == (0.5, 0.5, 0.5)


def test_a_processor_that_does_not_normalise(tiny_clip, tmp_path):
    folder = shutil.copytree(tiny_clip, tmp_path / "mine")
    change_json(folder / "preprocessor_config.json", do_normalize=False)
    preprocessing = load_backbone(folder).preprocessing
    assert (preprocessing.mean, preprocessing.std) == ((0, 0, 0), (1, 1, 1))


def test_what_was_stated_travels_with_a_saved_model(openai, small_bank, pictures, tmp_path):
    set_activation(openai, "gelu")
    backbone = load_backbone(openai, activation="quick_gelu")
    images, labels = pictures
    detector = SDMAD(small_bank, backbone, SDMADConfig(epochs=1)).fit(images, labels)
    detector.save(tmp_path / "model")
    config = json.loads((tmp_path / "model" / "config.json").read_text(encoding="utf-8"))
    assert config["backbone_overrides"] == {"activation": "quick_gelu"}
    again = SDMAD.load(tmp_path / "model")
    assert again.backbone_.activation == "quick_gelu"
    np.testing.assert_array_equal(
        again.decision_function(images), detector.decision_function(images)
    )
    # The weights' hash does not tell activations apart; what was run is written down too.
    with pytest.raises(ModelError, match=r"was fitted with activation 'quick_gelu', but .* 'gelu'"):
        SDMAD.load(tmp_path / "model", load_backbone(openai, activation="gelu"))
    set_activation(openai, "quick_gelu")
    assert SDMAD.load(tmp_path / "model", load_backbone(openai)).backbone.overrides == {}


def test_the_hash_says_nothing_of_the_activation(openai):
    model = CLIPModel.from_pretrained(openai, local_files_only=True)
    assert load_backbone(openai).weights_hash == hash_weights(model.float())
