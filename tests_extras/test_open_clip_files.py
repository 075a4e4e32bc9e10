"""open_clip's files: names that say nothing and files that do not fit, each refused clearly."""

import shutil

import pytest
import safetensors.torch
import torch

from sdmad.backbones import load_backbone
from sdmad.backbones.fetching.folder import convert_backbone
from sdmad.backbones.open_clip import load_open_clip
from sdmad.errors import ModelError, WeightsMissingError
from tests_extras.checkpoints import (
    BIOMED,
    TEXT,
    VISION,
    WEIGHTS,
    change_weights,
    clip_config,
    refused,
    write_config,
)


def test_names_that_say_nothing_are_told_the_forms():
    for name, message in {
        "": "which model of open_clip",
        "ViT-L-41/openai": "no architecture 'ViT-L-41'; near it are .*ViT-L-14",
        "ViT-L-14": "no weights '' for ViT-L-14; its tags: openai, laion400m_e31",
        "ViT-L-14/nosuch": "no weights 'nosuch' for ViT-L-14; its tags: openai",
        "/no/such/folder": "no folder '/no/such/folder'",
        "x" * 5_000: "no architecture",
        "~nosuchuser/x": "no folder '~nosuchuser/x'",
        "a\0b": "no architecture",
    }.items():
        with pytest.raises(ModelError, match=message) as caught:
            load_backbone(f"open_clip:{name}")
        assert "Give open_clip:ARCHITECTURE/TAG" in str(caught.value)
        assert len(str(caught.value)) < 3_000


def test_a_repository_that_is_not_in_the_cache():
    with pytest.raises(WeightsMissingError, match="owner/name: no such folder, not in the cache"):
        load_backbone("open_clip:hf-hub:owner/name")


def test_a_text_tower_whose_configuration_is_nowhere(folder_of, tmp_path):
    folder = shutil.copytree(folder_of["biomedclip"], tmp_path / "x")
    (folder / "config.json").unlink()
    with pytest.raises(WeightsMissingError, match=r"microsoft/BiomedNLP.* not in the cache"):
        load_backbone(f"open_clip:{folder}")


def test_pickled_weights_are_never_read(folder):
    state = safetensors.torch.load((folder / WEIGHTS).read_bytes())
    torch.save(state, folder / "open_clip_pytorch_model.bin")
    (folder / WEIGHTS).unlink()
    with pytest.raises(
        WeightsMissingError, match=r"open_clip_pytorch_model.bin is pickled.*convert"
    ):
        load_backbone(f"open_clip:{folder}")
    with pytest.raises(ModelError, match="pickled, which is not read"):
        load_backbone(f"open_clip:ViT-B-32/{folder / 'open_clip_pytorch_model.bin'}")


def test_a_converted_folder(folder, tmp_path):
    before = load_open_clip(str(folder)).weights_hash
    state = safetensors.torch.load((folder / WEIGHTS).read_bytes())
    torch.save(state, folder / "open_clip_pytorch_model.bin")
    (folder / WEIGHTS).unlink()
    made = convert_backbone(folder, tmp_path / "out")
    assert load_backbone(made.backbone).weights_hash == before


def test_old_files_of_a_separate_text_tower(folder_of, tmp_path):
    """Its tensors without ``text.`` before them, and a temperature of another shape."""
    folder = shutil.copytree(folder_of["averaged"], tmp_path / "x")
    before = load_open_clip(str(folder)).weights_hash
    change_weights(
        folder,
        lambda s: (
            {k.removeprefix("text."): t for k, t in s.items()} | {"logit_scale": torch.ones(1)}
        ),
    )
    assert load_open_clip(str(folder)).weights_hash == before


def test_saved_position_numbers_of_bert(folder_of, tmp_path):
    folder = shutil.copytree(folder_of["biomedclip"], tmp_path / "x")
    numbers = {"text.transformer.embeddings.position_ids": torch.arange(48)[None]}
    change_weights(folder, lambda state: state | numbers)
    assert load_open_clip(str(folder)).weights_hash


def test_weights_that_do_not_fit(folder):
    change_weights(folder, lambda s: {k: t for k, t in s.items() if k != "visual.proj"})
    refused(folder, "tensors .* fit. 1 missing: visual.proj")
    change_weights(folder, lambda s: s | {"visual.proj": torch.zeros(3, 4), "head": torch.ones(1)})
    refused(folder, r"1 too many: head. 1 of another shape: visual.proj is \[3, 4\]")


def test_another_architectures_weights_are_refused_whole(folder, folder_of):
    shutil.copy(folder_of["convnext"] / WEIGHTS, folder / WEIGHTS)
    refused(folder, r"missing: visual.class_embedding; .*too many: visual.head.proj.weight; ")


def test_sizes_that_the_file_does_not_have_take_no_memory(folder):
    write_config(folder, clip_config(mlp_ratio=1e9))
    refused(folder, "of another shape")
    write_config(folder, clip_config(layers=10**9))
    refused(folder, "more than 512 blocks")


@pytest.mark.parametrize("keep", [0, 5, 1_000, -10])
def test_truncated_weights(folder, keep):
    path = folder / WEIGHTS
    path.write_bytes(path.read_bytes()[:keep])
    refused(folder, f"{WEIGHTS} is no readable safetensors file")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "not readable JSON"),
        ("[]", "not readable JSON"),
        ("{}", "no model_cfg"),
        ('{"model_cfg": {"embed_dim": 4}}', "lacks embed_dim, vision_cfg or text_cfg"),
        ('{"model_cfg": 3}', "no model_cfg"),
        ('{"model_cfg": {}, "preprocess_cfg": [1]}', "preprocess_cfg is no object"),
    ],
)
def test_a_broken_configuration(folder, content, message):
    (folder / "open_clip_config.json").write_text(content)
    refused(folder, message)


def test_a_configuration_of_another_format(folder):
    (folder / "open_clip_config.json").unlink()
    refused(folder, "lacks open_clip_config.json")


@pytest.mark.parametrize(
    ("part", "values"),
    [
        ("vision_cfg", {"width": "abc"}),
        ("vision_cfg", {"patch_size": 0}),
        ("vision_cfg", {"unknown_setting": 1}),
        ("vision_cfg", {"timm_model_name": "nosuch_model"}),
        ("text_cfg", {"heads": 3}),
        ("text_cfg", {"layers": "many"}),
        ("text_cfg", {"act_kwargs": [1]}),
        ("text_cfg", {"context_length": "long"}),
        ("text_cfg", {"tokenizer_kwargs": [[1]]}),
        ("vision_cfg", {"timm_model_name": "test_vit", "image_size": [1, 2, 3]}),
        ("vision_cfg", {"timm_model_name": "test_vit", "image_size": "large"}),
    ],
)
def test_a_configuration_that_makes_no_model(folder, part, values):
    config = clip_config()
    config[part] |= values
    write_config(folder, config)
    refused(folder, "open_clip_config.json describes no model of open_clip")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vision_cfg": {"layers": [1, 1, 1, 1], "width": 16, "image_size": 32}}, "ModifiedResNet"),
        ({"vision_cfg": {**VISION, "attentional_pool": True}}, "attentional pooling"),
        ({"vision_cfg": {**VISION, "pool_type": "none"}}, "VisionTransformer"),
        ({"vision_cfg": {"timm_model_name": "test_resnet", "image_size": 96}}, "ResNet of timm"),
        ({"multimodal_cfg": {}}, "CoCa"),
        ({"custom_text": True, "text_cfg": {**TEXT, "embed_cls": True}}, "class token"),
        ({"text_cfg": {**TEXT, "pool_type": "none"}}, "pools by 'none'"),
    ],
)
def test_towers_that_cannot_be_run_block_by_block(folder, change, message):
    write_config(folder, {**clip_config(), **change})
    refused(folder, f"{message}.*supported are open_clip's vision transformers")


def test_a_text_tower_that_is_no_bert(folder_of, tmp_path):
    folder = shutil.copytree(folder_of["biomedclip"], tmp_path / "x")
    (folder / "config.json").write_text('{"model_type": "gpt2"}')
    write_config(
        folder, {**BIOMED, "text_cfg": {**BIOMED["text_cfg"], "hf_model_name": str(folder)}}
    )
    refused(folder, "is a gpt2; supported are")


def test_a_configuration_may_not_ask_for_code(folder):
    config = clip_config()
    config["text_cfg"] |= {"hf_tokenizer_name": "x/y", "tokenizer_kwargs": {"trust_remote_code": 1}}
    write_config(folder, config)
    refused(folder, "tokenizer_kwargs may not hold trust_remote_code")


def test_a_configuration_may_not_fetch_a_tower(folder):
    write_config(folder, clip_config(timm_model_name="hf-hub:owner/name"))
    refused(folder, "timm_model_name must be one of timm's own")


def test_a_tokenizer_that_does_not_belong(folder_of, tmp_path):
    folder = shutil.copytree(folder_of["biomedclip"], tmp_path / "x")
    with (folder / "vocab.txt").open("a") as file:
        file.write("more\n")
    refused(folder, "vocab.txt has 82 tokens .* the text tower has 81")
    (folder / "vocab.txt").unlink()
    with pytest.raises(WeightsMissingError, match=r"BiomedBERT.* not in the cache"):
        load_backbone(f"open_clip:{folder}")


def test_a_vocabulary_larger_than_the_tower(make_folder):
    config = {**clip_config(), "text_cfg": {**TEXT, "vocab_size": 100}}
    folder, _ = make_folder(config)
    refused(folder, "the tokenizer has 49408 tokens, the text tower only 100")


def test_an_image_smaller_than_a_patch(folder):
    with pytest.raises(ModelError, match="4 px is less than one patch of 8"):
        load_backbone(f"open_clip:{folder}", 4)


def test_loading_asks_nobody_and_says_nothing(folder_of, capfd, caplog):
    load_backbone(f"open_clip:{folder_of['biomedclip']}")
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err == ""
    assert not caplog.records
