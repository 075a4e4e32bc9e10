"""Which loader a name goes to."""

import json
import shutil

import pytest

import sdmad.backbones as registry
from sdmad import load_backbone
from sdmad.backbones import list_backbones
from sdmad.backbones.clip import CLIPBackbone
from sdmad.backbones.siglip import NaFlexImageTower, SiglipBackbone
from sdmad.errors import ModelError


class AskedError(Exception):
    """Carries what a loader was called with."""


@pytest.fixture
def loaders(monkeypatch):
    """Loaders that say what they were asked for."""

    def asking(module, function):
        def loader(name, image_size=None, **overrides):
            raise AskedError(module, function, name, image_size, overrides)

        return loader

    for module, function in (*registry.PREFIXES.values(), *registry.MODEL_TYPES.values()):
        loader = asking(module, function)
        monkeypatch.setattr(f"sdmad.backbones.{module}.{function}", loader)
    for module, test, _ in registry.FOLDERS:
        monkeypatch.setattr(f"sdmad.backbones.{module}.{test}", lambda folder: True)


def asked(name, *arguments, **overrides):
    with pytest.raises(AskedError) as caught:
        load_backbone(name, *arguments, **overrides)
    return caught.value.args


@pytest.mark.parametrize(
    ("name", "module", "function"),
    [
        ("open_clip:ViT-L-14-336-quickgelu/openai", "open_clip", "load_open_clip"),
        ("open_clip:hf-hub:owner/name", "open_clip", "load_open_clip"),
        ("medclip:some/folder", "medclip", "load_medclip"),
        ("medclip", "medclip", "load_medclip"),
    ],
)
def test_prefixes(loaders, name, module, function):
    assert asked(name) == (module, function, name, None, {})


def test_what_is_stated_travels_to_the_loader(loaders):
    stated = {"activation": "gelu", "mean": (0, 0, 0), "std": [1, 1, 1]}
    overrides = {"activation": "gelu", "mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0]}
    assert asked("open_clip:a/b", 240, **stated)[3:] == (240, overrides)
    assert asked("lite", mean=[0.5] * 3)[4] == {"mean": [0.5] * 3}


@pytest.mark.parametrize(
    ("kind", "module"), [("clip", "clip"), ("siglip", "siglip"), ("siglip2", "siglip")]
)
def test_a_folder_goes_by_its_configuration(loaders, tmp_path, kind, module):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": kind}), encoding="utf-8")
    assert asked(tmp_path) == (module, f"load_{module}", str(tmp_path), None, {})


@pytest.mark.parametrize("content", [None, {}, {"model_type": "medclip"}])
def test_a_folder_in_medclips_layout(loaders, tmp_path, content):
    if content is not None:
        (tmp_path / "config.json").write_text(json.dumps(content), encoding="utf-8")
    assert asked(tmp_path)[:3] == ("medclip", "load_medclip", str(tmp_path))


def test_the_door_is_the_same_for_every_family(make_siglip, tiny_clip, tiny_siglip):
    assert isinstance(load_backbone(tiny_clip), CLIPBackbone)
    assert isinstance(load_backbone(tiny_siglip), SiglipBackbone)
    naflex = load_backbone(make_siglip(version=2, naflex=True))
    assert isinstance(naflex.image, NaFlexImageTower)


@pytest.mark.parametrize(
    "overrides",
    [
        {"activation": "relu"},
        {"activation": 3},
        {"mean": 0.5},
        {"mean": "abc"},
        {"mean": (0.5, 0.5)},
        {"mean": (0.5, 0.5, float("nan"))},
        {"std": (0, 1, 1)},
        {"std": (1, 1, None)},
    ],
)
def test_overrides_are_checked(overrides):
    (name,) = overrides
    with pytest.raises(ModelError, match=f"^{name} must be "):
        load_backbone("lite", **overrides)


def test_the_packaged_one():
    assert list_backbones() == ["lite"]
    lite = load_backbone("lite")
    assert (lite.name, dict(lite.overrides), lite.activation) == ("lite", {}, "gelu")


def test_a_folder_named_as_a_path_keeps_its_name(tiny_clip, tmp_path, monkeypatch):
    shutil.copytree(tiny_clip, tmp_path / "mine")
    monkeypatch.chdir(tmp_path)
    assert load_backbone("mine").name == "mine"
    (tmp_path / "mine" / "config.json").unlink()
    with pytest.raises(ModelError, match=r"^mine lacks config.json"):
        load_backbone("mine")


def test_open_clips_layout_without_its_prefix(tmp_path):
    (tmp_path / "open_clip_config.json").write_text("{}")
    with pytest.raises(ModelError, match="give open_clip:FOLDER, or open_clip:hf-hub:OWNER/NAME"):
        load_backbone(tmp_path)
