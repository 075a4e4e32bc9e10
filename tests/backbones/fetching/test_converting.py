"""Backbones from pickles that are here, and which are known and here."""

import json
from pathlib import Path

import pytest
import torch
from transformers import (
    CLIPConfig,
    CLIPModel,
    Siglip2Config,
    Siglip2Model,
    SiglipConfig,
    SiglipModel,
)

from sdmad import load_backbone
from sdmad.backbones.fetching import catalogue
from sdmad.backbones.fetching.folder import convert_backbone, fetch_backbone
from sdmad.backbones.medclip import load_medclip
from sdmad.errors import InputError, ModelError, WeightsMissingError
from tests.backbones.fetching.published import as_pickle, parts, pickled
from tests.backbones.fetching.test_fetching import shards, weights_hash
from tests.backbones.medclip_checkpoints import make_parts, published_state, write_folder

pytestmark = pytest.mark.usefixtures("at_once")


def convert(source, out):
    return convert_backbone(source, out, tell=lambda _: None)


def laid_out(repository, folder):
    folder.mkdir()
    for name, content in repository.files.items():
        (folder / name).write_bytes(content)
    return folder


@pytest.mark.parametrize("given", ["pytorch_model.bin", ""])
def test_a_clip(tiny_clip, tmp_path, given):
    folder = laid_out(as_pickle(tiny_clip), tmp_path / "downloads")
    made = convert(folder / given, tmp_path / "out")
    assert (made.backbone, made.lacks) == (str(tmp_path / "out"), ())
    assert weights_hash(tmp_path / "out") == weights_hash(tiny_clip)
    assert str(tmp_path) not in (tmp_path / "out" / "manifest.json").read_text(encoding="utf-8")


@pytest.mark.parametrize("given", ["pytorch_model.bin.index.json", ""])
def test_shards(tiny_clip, tmp_path, given):
    folder = laid_out(shards(tiny_clip), tmp_path / "downloads")
    convert(folder / given, tmp_path / "out")
    assert weights_hash(tmp_path / "out") == weights_hash(tiny_clip)


def test_medclip(tmp_path):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    state = published_state(make_parts(), scratch)
    expected = write_folder(scratch, state)
    folder = tmp_path / "downloads"
    folder.mkdir()
    (folder / "pytorch_model.bin").write_bytes(pickled(state))
    (folder / "config.json").write_bytes((expected / "config.json").read_bytes())
    made = convert(folder / "pytorch_model.bin", tmp_path / "out")
    assert made.lacks == (
        "these are MedCLIP's weights: put vocab.txt of emilyalsentzer/Bio_ClinicalBERT in",
    )
    (made.folder / "vocab.txt").write_bytes((expected / "vocab.txt").read_bytes())
    assert load_medclip(str(made.folder)).weights_hash == load_medclip(str(expected)).weights_hash


def test_open_clips_weights_without_their_configuration(tmp_path):
    state = {"visual.conv1.weight": torch.ones(1), "transformer.resblocks.0.a": torch.ones(1)}
    (tmp_path / "epoch_9.pt").write_bytes(pickled({"state_dict": state, "epoch": 9}))
    made = convert(tmp_path / "epoch_9.pt", tmp_path / "out")
    assert made.backbone == f"open_clip:{tmp_path / 'out'}"
    assert "ARCHITECTURE/out/open_clip_model.safetensors" in made.lacks[-1]
    assert list(json.loads((tmp_path / "out/manifest.json").read_text())["converted"]) == [
        "open_clip_model.safetensors"
    ]


def test_weights_alone_say_what_they_lack(tiny_clip, tmp_path):
    (tmp_path / "clip.pt").write_bytes(pickled(parts(tiny_clip)[0]))
    made = convert(tmp_path / "clip.pt", tmp_path / "out")
    assert [lack.partition(":")[0] for lack in made.lacks] == [
        "config.json is not there",
        "there is no tokenizer",
    ]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nothing.bin", "no such file or folder"),
        ("nowhere/x.bin", "no such file or folder"),
        ("notes.txt", r"is no pickle: \.bin, \.pt"),
        ("empty", r"holds no weights .*in folders inside it none are looked for"),
        ("safe", r"safe holds safetensors, which need no conversion: give their folder"),
        ("safe/model.safetensors", "model.safetensors holds safetensors, which need no conversion"),
        ("index/pytorch_model.bin.index.json", r"index has .*json, and none of the files it is of"),
        (
            "shard/pytorch_model-00001-of-00002.bin",
            r"shard: .*00001-of-00002.bin is one of several .* by their index, .*bin.index.json",
        ),
        ("shard", r"is one of several files of weights"),
    ],
)
def test_what_cannot_be_converted(tmp_path, name, message):
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "empty").mkdir()
    for file in (
        "safe/model.safetensors",
        "index/pytorch_model.bin.index.json",
        "shard/pytorch_model-00001-of-00002.bin",
    ):
        (tmp_path / file).parent.mkdir()
        (tmp_path / file).write_bytes(b"{}")
    with pytest.raises((InputError, WeightsMissingError), match=message):
        convert(tmp_path / name, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_that_may_not_be_read(tmp_path, monkeypatch):
    def refuse(self):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(InputError, match=rf"^{tmp_path} cannot be read \(Permission denied\)"):
        convert(tmp_path, tmp_path / "out")


def test_the_folder_that_is_read_is_not_written_over(tiny_clip, tmp_path):
    folder = laid_out(as_pickle(tiny_clip), tmp_path / "downloads")
    with pytest.raises(InputError, match="which would be lost"):
        convert_backbone(folder, folder, force=True)


def test_loading_names_the_command(tiny_clip, tmp_path):
    folder = laid_out(as_pickle(tiny_clip), tmp_path / "downloads")
    with pytest.raises(
        WeightsMissingError, match=f"sdmad backbone convert {folder} --out NEW-FOLD"
    ):
        load_backbone(folder)
    file = folder / "pytorch_model.bin"
    with pytest.raises(ModelError, match=f"sdmad backbone convert {file} --out FOLDER"):
        load_backbone(file)


def test_the_command_that_is_named_has_quotation_marks_around_a_space(tiny_clip, tmp_path):
    folder = laid_out(as_pickle(tiny_clip), tmp_path / "my downloads")
    with pytest.raises(WeightsMissingError, match=f'convert "{folder}" --out NEW-FOLDER'):
        load_backbone(folder)
    file = folder / "pytorch_model.bin"
    with pytest.raises(ModelError, match=f'convert "{file}" --out FOLDER'):
        load_backbone(file)


def test_what_is_here(hub, tiny_clip, tmp_path):
    known = "openai/clip-vit-base-patch32"
    hub.repositories[known] = hub.repositories["owner/clip"] = as_pickle(tiny_clip)
    assert catalogue.here() == {"lite": "packaged"}
    for name in (known, "owner/clip"):
        fetch_backbone(name, tell=lambda _: None)
    snapshots = tmp_path / "caches" / "hub" / "models--google--medsiglip-448" / "snapshots"
    snapshots.mkdir(parents=True)
    assert catalogue.here() == {
        "lite": "packaged",
        known: "fetched",
        "owner/clip": "fetched",
        "google/medsiglip-448": "in the hub's cache",
    }


def million(kind, config):
    with torch.device("meta"):
        return round(sum(p.numel() for p in kind(config).parameters()) / 1e6)


def test_the_sizes_are_those_of_the_published_configurations():
    patch_16 = CLIPConfig(vision_config={"patch_size": 16})
    text = {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12}
    large = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24}
    large |= {"num_attention_heads": 16, "patch_size": 14}
    patch_14 = CLIPConfig(text_config=text, vision_config=large, projection_dim=768)
    so = {"hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 27}
    so |= {"num_attention_heads": 16}
    so400m = SiglipConfig(text_config=so, vision_config={**so, "patch_size": 14, "image_size": 384})
    gemma = {"text_config": {"vocab_size": 256000}}
    sizes = {
        "openai/clip-vit-base-patch32": million(CLIPModel, CLIPConfig()),
        "flaviagiammarino/pubmed-clip-vit-base-patch32": million(CLIPModel, CLIPConfig()),
        "openai/clip-vit-base-patch16": million(CLIPModel, patch_16),
        "openai/clip-vit-large-patch14": million(CLIPModel, patch_14),
        "google/siglip-base-patch16-224": million(SiglipModel, SiglipConfig()),
        "google/siglip-so400m-patch14-384": million(SiglipModel, so400m),
        "google/siglip2-base-patch16-224": million(SiglipModel, SiglipConfig(**gemma)),
        "google/siglip2-base-patch16-naflex": million(Siglip2Model, Siglip2Config(**gemma)),
    }
    told = {one.name: one.size for one in catalogue.known()}
    assert {name: told[name] for name in sizes} == {n: str(size) for n, size in sizes.items()}
