"""Names, the hub, its cache without a network, and single files."""

import errno
import hashlib
import json
import os
import pickle
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants

from sdmad import load_backbone
from sdmad.backbones import files, hub
from sdmad.errors import ModelError, WeightsMissingError


class Bomb:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("name", ["openai/clip-vit-large-patch14", "bad name/with space", "a/.b"])
def test_a_hub_name_without_network_and_cache(offline, name):
    with pytest.raises(WeightsMissingError, match="HF_HUB_OFFLINE is set") as caught:
        load_backbone(name)
    assert str(caught.value).startswith(f"{name}: no such folder, not in the cache {offline}")


@pytest.mark.parametrize("name", ["google/medsiglip-448", "openai/clip-vit-large-patch14"])
def test_a_cached_checkpoint_loads_without_network(offline, cached, tiny_siglip, tiny_clip, name):
    source = tiny_siglip if "siglip" in name else tiny_clip
    if "clip-vit" in name:
        name = "owner/clip"  # the tiny one has another mean than OpenAI's
    cached(source, offline, name)
    backbone = load_backbone(name)
    assert backbone.name == name
    assert backbone.weights_hash == load_backbone(source).weights_hash


@pytest.mark.parametrize("file", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_cached_checkpoint_that_lacks_a_file(offline, cached, tiny_siglip, file):
    """An interrupted download, or a blob that was cleared away behind its link."""
    snapshot = cached(tiny_siglip, offline, "owner/model")
    (snapshot / file).resolve().unlink()
    with pytest.raises(ModelError, match=f"owner/model: .*{snapshot} lacks {file}") as caught:
        load_backbone("owner/model")
    assert isinstance(caught.value, WeightsMissingError) == (file == "model.safetensors")


def test_a_download_that_is_known_to_be_incomplete(offline, cached, tiny_siglip):
    """Newer clients keep the list of the repository's files and complain themselves."""
    snapshot = cached(tiny_siglip, offline, "owner/model")
    trees = snapshot.parent.parent / "trees"
    trees.mkdir()
    entry = {"size": 3, "blob_id": "0", "lfs_sha256": None, "lfs_size": None, "xet_hash": None}
    tree = {path.name: entry for path in snapshot.iterdir()} | {"notes.txt": entry}
    (trees / f"{snapshot.name}.json").write_text(json.dumps(tree), encoding="utf-8")
    assert load_backbone("owner/model").name == "owner/model"
    (snapshot / "model.safetensors").unlink()
    with pytest.raises(WeightsMissingError, match=f"{snapshot} lacks model.safetensors"):
        load_backbone("owner/model")


def test_a_cached_reference_without_its_snapshot(offline, cached, tiny_siglip):
    snapshot = cached(tiny_siglip, offline, "owner/model")
    shutil.rmtree(snapshot)
    with pytest.raises(WeightsMissingError, match="owner/model: no such folder, not in the cache"):
        load_backbone("owner/model")


def test_the_environment_variable_itself(cached, tiny_siglip, tmp_path):
    """A process of its own, as a hospital's: no network, a cache that was brought along."""
    cached(tiny_siglip, tmp_path / "hub", "owner/model")
    script = (
        "from sdmad import load_backbone\n"
        "from sdmad.errors import ModelError\n"
        "print(load_backbone('owner/model').encode_text(['mass']).shape)\n"
        "try:\n    load_backbone('owner/other')\nexcept ModelError as error:\n    print(error)\n"
    )
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    environment.pop("HF_HUB_CACHE", None)
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    first, second = done.stdout.splitlines()
    assert first == "torch.Size([1, 32])"
    assert f"not in the cache {tmp_path / 'hub'}, and HF_HUB_OFFLINE is set" in second


@pytest.mark.parametrize(
    ("number", "told"),
    [
        (errno.ENOSPC, "No space left on device"),
        (errno.EACCES, "Permission denied"),
        (errno.ENOENT, "No such file or directory"),
    ],
)
def test_a_cache_that_cannot_be_written_is_not_the_hubs_fault(monkeypatch, number, told):
    def fail(*arguments, **settings):
        raise OSError(number, told)

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub, "snapshot_download", fail)
    with pytest.raises(WeightsMissingError, match=rf"cannot be written \({told}\): free") as caught:
        load_backbone("owner/model")
    assert f"the cache {constants.HF_HUB_CACHE} cannot be written" in str(caught.value)


@pytest.mark.parametrize("error", [ConnectionError("no route"), TimeoutError(), *hub.NOT_FETCHED])
def test_a_hub_that_does_not_answer(monkeypatch, error):
    def fail(*arguments, **settings):
        raise error if isinstance(error, Exception) else error("refused")

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub, "snapshot_download", fail)
    with pytest.raises(WeightsMissingError, match="the hub did not give it"):
        load_backbone("owner/model")


def test_only_safe_files_are_asked_of_the_hub(monkeypatch, tiny_clip):
    asked = {}

    def from_cache(name, allow_patterns):
        asked.update(name=name, patterns=allow_patterns)
        return str(tiny_clip)

    monkeypatch.setattr(hub, "snapshot_download", from_cache)
    assert load_backbone("owner/model").name == "owner/model"
    assert asked["name"] == "owner/model"
    for file in ("pytorch_model.bin", "model.py", "open_clip_pytorch_model.safetensors", "x.pt"):
        assert not any(Path(file).match(pattern) for pattern in asked["patterns"])
    for file in ("model-00001-of-00002.safetensors", "model.safetensors.index.json", "merges.txt"):
        assert any(Path(file).match(pattern) for pattern in asked["patterns"])


def test_a_folder_in_the_home_directory(monkeypatch, tiny_clip):
    monkeypatch.setenv("HOME", str(tiny_clip.parent))
    assert load_backbone(f"~/{tiny_clip.name}").name == f"~/{tiny_clip.name}"


def test_a_torchscript_archive_is_refused_with_the_way_to_convert_it(tmp_path):
    path = tmp_path / "ViT-L-14.pt"
    with zipfile.ZipFile(path, "w") as archive:  # the layout of torch.jit.save
        archive.writestr("ViT-L-14/data.pkl", pickle.dumps(Bomb(tmp_path / "bomb")))
        archive.writestr("ViT-L-14/constants.pkl", pickle.dumps(Bomb(tmp_path / "bomb")))
        archive.writestr("ViT-L-14/code/__torch__.py", "raise SystemExit")
    with pytest.raises(ModelError, match=r"is a TorchScript archive.* never run") as caught:
        load_backbone(path)
    text = str(caught.value)
    assert str(path) in text
    assert "openai/clip-vit-large-patch14" in text
    assert "convert_clip_original_pytorch_to_hf.py" in text
    assert not (tmp_path / "bomb").exists()


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_what_torch_itself_writes_is_recognised(tmp_path):
    module = torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2))
    torch.jit.save(module, tmp_path / "script.pt")
    torch.save({"weight": torch.zeros(2)}, tmp_path / "weights.pth")
    with pytest.raises(ModelError, match="is a TorchScript archive"):
        load_backbone(tmp_path / "script.pt")
    with pytest.raises(
        ModelError,
        match=r"weights.pth is pickled, which is not read as it is: sdmad backbone convert",
    ):
        load_backbone(tmp_path / "weights.pth")


def test_openais_archives_are_named_by_their_hash(tmp_path, monkeypatch):
    path = tmp_path / "model.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/constants.pkl", b"")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setitem(files.OPENAI_ARCHIVES, digest, "clip-vit-base-patch16")
    with pytest.raises(ModelError, match="Its weights are openai/clip-vit-base-patch16 on the hub"):
        load_backbone(path)


@pytest.mark.parametrize("name", ["old.bin", "old.ckpt"])
def test_a_plain_pickle_is_never_unpickled(tmp_path, name):
    (tmp_path / name).write_bytes(pickle.dumps(Bomb(tmp_path / "bomb")))
    with pytest.raises(ModelError, match=f"{name} is pickled, which is not read as it is"):
        load_backbone(tmp_path / name)
    assert not (tmp_path / "bomb").exists()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no archive", b"text"])
def test_any_other_file(tmp_path, content):
    (tmp_path / "file.pt").write_bytes(content)
    with pytest.raises(ModelError, match=r"file.pt is a file; give the folder with config.json"):
        load_backbone(tmp_path / "file.pt")
