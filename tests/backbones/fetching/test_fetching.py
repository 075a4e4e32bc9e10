"""Backbones from a hub: every layout, what is missing, and what goes wrong on the way."""

import hashlib
import json
import shutil

import pytest
import safetensors.torch
import torch
from huggingface_hub import constants

from sdmad import load_backbone
from sdmad.backbones.fetching import folder as fetching
from sdmad.backbones.fetching.folder import fetch_backbone
from sdmad.backbones.files import INDEX
from sdmad.backbones.hub import resolve
from sdmad.errors import InputError, ModelError, WeightsMissingError
from tests.backbones.fetching.published import as_pickle, parts, pickled
from tests.hub_server import COMMIT, Repository

pytestmark = pytest.mark.usefixtures("at_once")
BERT = "microsoft/BiomedNLP-BiomedBERT-base-uncased-abstract"


def fetch(name, *arguments, **settings):
    return fetch_backbone(name, *arguments, tell=lambda _: None, **settings)


def manifest(folder):
    return json.loads((folder / "manifest.json").read_text(encoding="utf-8"))


def weights_hash(name):
    return load_backbone(name).weights_hash


def test_a_pickled_clip_is_found_by_its_name(hub, tiny_clip, tmp_path):
    hub.repositories["owner/clip"] = as_pickle(tiny_clip)
    told = []
    made = fetch_backbone("owner/clip", tell=told.append)
    assert made == fetching.Made(tmp_path / "caches/sdmad/backbones/owner--clip", "owner/clip", ())
    assert told[0] == f"owner/clip at {COMMIT[:12]}, licence: mit"
    asked = len(hub.asked)
    assert weights_hash("owner/clip") == weights_hash(tiny_clip)
    assert len(hub.asked) == asked  # without the hub


def test_the_manifest(hub, tiny_clip, tmp_path):
    hub.repositories["owner/clip"] = as_pickle(tiny_clip)
    out = tmp_path / "out"
    assert fetch("owner/clip", out).backbone == str(out)
    content = manifest(out)
    assert [content[key] for key in ("source", "revision", "licence")] == [
        "owner/clip",
        COMMIT,
        "mit",
    ]
    files = {path.name: path for path in out.iterdir() if path.name != "manifest.json"}
    assert content["files"] == {
        name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()
    }
    assert content["converted"]["model.safetensors"] == {
        "from": "pytorch_model.bin",
        "sha256": hashlib.sha256(
            hub.repositories["owner/clip"].files["pytorch_model.bin"]
        ).hexdigest(),
        "taken_off": [],
        "left_out": [],
        "its_process": "is this one",
    }
    assert str(tmp_path) not in (out / "manifest.json").read_text(encoding="utf-8")


def test_safetensors_are_taken_where_they_are(hub, tiny_clip, tmp_path):
    weights, files = parts(tiny_clip)
    pickle = pickled({name: torch.zeros(1) for name in weights})
    safe = (tiny_clip / "model.safetensors").read_bytes()
    beside = {
        "model.onnx": b"x",
        "README.md": b"x",
        "LICENSE": b"terms",
        "flax_model.msgpack": b"x",
    }
    repository = Repository(
        {**files, **beside, "pytorch_model.bin": pickle, "model.safetensors": safe}
    )
    hub.repositories["owner/clip"] = repository
    out = fetch("owner/clip", tmp_path / "out").folder
    assert weights_hash(out) == weights_hash(tiny_clip)
    assert manifest(out)["converted"] == {}
    assert (out / "LICENSE").read_bytes() == b"terms"
    asked = {path.rpartition("/")[2] for path in hub.asked}
    assert asked.isdisjoint({"pytorch_model.bin", "model.onnx", "README.md", "flax_model.msgpack"})


def shards(folder, **index):
    """A checkpoint in two pickles and an index."""
    weights, files = parts(folder)
    names = sorted(weights)
    halves = {
        "pytorch_model-00001-of-00002.bin": names[:9],
        "pytorch_model-00002-of-00002.bin": names[9:],
    }
    told = {name: file for file, part in halves.items() for name in part}
    files["pytorch_model.bin.index.json"] = json.dumps({"weight_map": {**told, **index}}).encode()
    return Repository(
        {**files, **{file: pickled({n: weights[n] for n in part}) for file, part in halves.items()}}
    )


def test_pickles_in_shards(hub, tiny_clip, tmp_path):
    hub.repositories["owner/clip"] = shards(tiny_clip)
    out = fetch("owner/clip", tmp_path / "out").folder
    assert weights_hash(out) == weights_hash(tiny_clip)
    index = json.loads((out / INDEX).read_text(encoding="utf-8"))["weight_map"]
    assert set(index.values()) == {
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
    }
    assert len(manifest(out)["converted"]) == 2


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"more": "pytorch_model-00002-of-00002.bin"}, "tells of more, which is in no shard"),
        ({"more": "pytorch_model-00003-of-00003.bin"}, "names pytorch_model-00003.*not there"),
        ({"more": "../../etc/passwd"}, "names ../../etc/passwd, which is not there"),
    ],
)
def test_an_index_that_lies(hub, tiny_clip, tmp_path, told, message):
    hub.repositories["owner/clip"] = shards(tiny_clip, **told)
    with pytest.raises(ModelError, match=message):
        fetch("owner/clip", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_tensor_in_two_pickles(hub, tiny_clip, tmp_path):
    repository = shards(tiny_clip)
    twice = repository.files["pytorch_model-00001-of-00002.bin"]
    repository.files["pytorch_model-00002-of-00002.bin"] = twice
    hub.repositories["owner/clip"] = repository
    with pytest.raises(ModelError, match="stands in two of the files"):
        fetch("owner/clip", tmp_path / "out")


def test_safetensors_in_shards(hub, make_siglip, tmp_path):
    folder = make_siglip(shard_size="40KB")
    files = {p.name: p.read_bytes() for p in folder.iterdir()}
    assert sum(name.endswith(".safetensors") for name in files) > 2
    hub.repositories["google/siglip"] = Repository(files)
    out = fetch("google/siglip", tmp_path / "out").folder
    assert weights_hash(out) == weights_hash(folder)


@pytest.mark.parametrize("there", [False, True], ids=["no sentencepiece", "sentencepiece"])
def test_a_siglip_with_spiece_alone(hub, tiny_siglip, tmp_path, monkeypatch, there):
    files = {p.name: p.read_bytes() for p in tiny_siglip.iterdir()}
    files["spiece.model"] = files.pop("tokenizer.json")
    hub.repositories["google/siglip"] = Repository(files, licence="apache-2.0")
    find = "sdmad.backbones.tokenizer_files.find_spec"
    monkeypatch.setattr(find, lambda name: there or None)
    made = fetch("google/siglip", tmp_path / "out")
    assert (made.folder / "spiece.model").is_file()
    (lack,) = made.lacks or ("nothing",)
    assert ('pip install "sdmad[sentencepiece]"' in lack) != there


def biomedclip(**files):
    config = {
        "model_cfg": {
            "embed_dim": 16,
            "vision_cfg": {"timm_model_name": "vit_base_patch16_224"},
            "text_cfg": {"hf_model_name": BERT, "hf_tokenizer_name": BERT},
        }
    }
    state = {"visual.trunk.cls_token": torch.zeros(3), "text.proj.0.weight": torch.ones(2, 2)}
    return Repository(
        {
            "open_clip_config.json": json.dumps(config).encode(),
            "open_clip_pytorch_model.bin": pickled(state),
            "README.md": b"x",
            **files,
        }
    )


@pytest.mark.parametrize("asked", ["owner/biomedclip", "open_clip:hf-hub:owner/biomedclip"])
def test_biomedclip(hub, tmp_path, asked):
    hub.repositories["owner/biomedclip"] = biomedclip()
    bert = {
        "config.json": b'{"model_type": "bert"}',
        "vocab.txt": b"[PAD]",
        "model.safetensors": b"",
    }
    hub.repositories[BERT] = Repository(bert, licence="apache-2.0")
    made = fetch(asked)
    assert made.backbone == "open_clip:hf-hub:owner/biomedclip"
    names = {path.name for path in made.folder.iterdir()}
    assert names == {
        *("open_clip_config.json", "open_clip_model.safetensors", "config.json", "vocab.txt"),
        "manifest.json",
    }
    assert manifest(made.folder)["text_tower"] == {
        "source": BERT,
        "revision": COMMIT,
        "licence": "apache-2.0",
    }


def test_biomedclip_with_its_tokenizer(hub, tmp_path):
    hub.repositories["owner/biomedclip"] = biomedclip(**{"tokenizer.json": b"own"})
    bert = {"config.json": b'{"model_type": "bert"}', "tokenizer.json": b"other"}
    hub.repositories[BERT] = Repository(bert)
    made = fetch("owner/biomedclip", tmp_path / "out")
    assert made.backbone == f"open_clip:{tmp_path / 'out'}"
    assert (made.folder / "tokenizer.json").read_bytes() == b"own"
    assert (made.folder / "config.json").is_file()


def test_one_file_of_another_name(hub, tiny_clip, tmp_path):
    weights, files = parts(tiny_clip)
    state = {f"module.{name}": tensor for name, tensor in weights.items()}
    hub.repositories["owner/clip"] = Repository(
        {**files, "best.pth": pickled({"state_dict": state})}
    )
    made = fetch("owner/clip", tmp_path / "out")
    assert weights_hash(made.folder) == weights_hash(tiny_clip)
    assert manifest(made.folder)["converted"]["model.safetensors"]["taken_off"] == [
        "state_dict",
        "module.",
    ]


def test_weights_of_an_architecture_that_is_not_read(hub, tmp_path):
    hub.repositories["owner/flair"] = Repository(
        {"flair.pth": pickled({"resnet.a": torch.ones(1)})}
    )
    made = fetch("owner/flair", tmp_path / "out")
    assert made.backbone == ""
    assert "no architecture that is read here (its first tensors are resnet.a)" in made.lacks[0]


def test_which_of_several_files_is_for_a_person_to_say(hub, tmp_path):
    hub.repositories["owner/many"] = Repository({"a.pt": b"", "b.pt": b"", "config.json": b"{}"})
    with pytest.raises(WeightsMissingError, match=r"several files .* a.pt, b.pt.*backbone convert"):
        fetch("owner/many", tmp_path / "out")
    hub.repositories["owner/none"] = Repository({"README.md": b""})
    with pytest.raises(WeightsMissingError, match="owner/none holds no weights"):
        fetch("owner/none", tmp_path / "out")


def test_another_models_repository_is_refused_before_its_weights(hub, tmp_path):
    files = {"config.json": b'{"model_type": "llama"}', "pytorch_model.bin": b"x" * 1000}
    hub.repositories["owner/llama"] = Repository(files)
    with pytest.raises(
        ModelError, match=r"^owner/llama: .*'llama', which is no backbone here; clip, "
    ):
        fetch("owner/llama", tmp_path / "out")
    assert not any("pytorch_model" in path for path in hub.asked)


def test_a_network_of_a_compared_system_is_found_by_its_name(hub, tmp_path):
    weights = {"conv1.weight": torch.arange(12.0).reshape(3, 4)}
    files = {
        "config.json": b'{"architecture": "resnet18", "num_classes": 1000}',
        "pytorch_model.bin": pickled(weights),
    }
    hub.repositories["timm/resnet18.tv_in1k"] = Repository(files)
    made = fetch("timm/resnet18.tv_in1k")
    assert (made.backbone, made.lacks, made.network) == ("", (), "timm's resnet18")
    assert made.folder == resolve("timm/resnet18.tv_in1k")
    held = safetensors.torch.load_file(made.folder / "model.safetensors")
    assert torch.equal(held["conv1.weight"], weights["conv1.weight"])
    sam = {
        "config.json": b'{"model_type": "sam"}',
        "model.safetensors": safetensors.torch.save(held),
    }
    hub.repositories["facebook/sam-vit-huge"] = Repository(sam)
    made = fetch("facebook/sam-vit-huge", tmp_path / "sam")
    assert (made.backbone, made.lacks, made.network) == ("", (), "sam")
    hub.repositories["owner/dino"] = Repository(
        {**sam, "config.json": b'{"model_type": "grounding-dino"}'}
    )
    assert "there is no tokenizer" in fetch("owner/dino", tmp_path / "dino").lacks[0]


@pytest.mark.parametrize("token", [None, "hf_secret"])
def test_a_gated_model(hub, tiny_siglip, tmp_path, monkeypatch, token):
    files = {p.name: p.read_bytes() for p in tiny_siglip.iterdir()}
    hub.repositories["google/medsiglip-448"] = Repository(files, gated=True)
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(WeightsMissingError) as caught:
        fetch("google/medsiglip-448", tmp_path / "out")
    text = str(caught.value)
    assert f"it is gated: accept its terms at {hub.url}/google/medsiglip-448" in text
    assert ("belongs to an account that may not read it" in text) == (token is not None)
    assert (f"{hub.url}/settings/tokens" in text) == (token is None)
    assert "secret" not in text
    assert not (tmp_path / "out").exists()


def test_a_repository_that_is_not_there_or_private(hub, tmp_path):
    with pytest.raises(WeightsMissingError, match="knows no owner/clip, or it is private, make a"):
        fetch("owner/clip", tmp_path / "out")


@pytest.mark.parametrize(
    ("refusal", "told"),
    [
        (
            (401, "Invalid credentials in Authorization header"),
            r"owner/clip: the token that is set here is not valid \(401\): make one at http",
        ),
        (
            (501, "Not now"),
            r"owner/clip: the hub did not give it \(HfHubHTTPError, 501\): see whether http",
        ),
    ],
)
def test_what_the_hub_answers_is_told(hub, tiny_clip, tmp_path, refusal, told):
    hub.repositories["owner/clip"] = Repository({}, refusal=refusal)
    with pytest.raises(WeightsMissingError, match=told):
        fetch("owner/clip", tmp_path / "out")


def test_a_revision(hub, tiny_clip, tmp_path):
    hub.repositories["owner/clip"] = as_pickle(tiny_clip)
    with pytest.raises(WeightsMissingError, match=r"no such revision.*owner/clip/commits"):
        fetch("owner/clip", tmp_path / "out", "v2")
    assert manifest(fetch("owner/clip", tmp_path / "out", "main").folder)["revision"] == COMMIT


def test_without_a_network(hub, tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(WeightsMissingError, match="HF_HUB_OFFLINE is set"):
        fetch("owner/clip", tmp_path / "out")


@pytest.mark.parametrize(
    "name", ["lite", "clip", "./a/b", "a b/c", "a/b..c", "medclip:a/b", "open_clip:ViT-L-14/openai"]
)
def test_what_is_no_name_of_the_hub(tmp_path, name):
    with pytest.raises(
        InputError, match=r"lite is packaged|is no name of the hub: give OWNER/NAME"
    ):
        fetch(name, tmp_path / "out")


def test_what_was_fetched_stays(hub, tiny_clip, tmp_path):
    hub.repositories["owner/clip"] = as_pickle(tiny_clip)
    fetch("owner/clip")
    with pytest.raises(InputError, match=r"owner/clip was fetched already, into .*--force"):
        fetch("owner/clip")
    hub.repositories["owner/clip"].licence = ""
    assert manifest(fetch("owner/clip", force=True).folder)["licence"] == ""


def leaves_nothing(folder):
    return not any(folder.iterdir())


@pytest.mark.parametrize("lie", ["size", "hash"])
def test_a_file_that_is_not_what_the_hub_tells(hub, tiny_clip, tmp_path, lie):
    repository = hub.repositories["owner/clip"] = as_pickle(tiny_clip)
    if lie == "size":
        repository.lies["pytorch_model.bin"] = 100
    else:
        repository.hashes["pytorch_model.bin"] = "0" * 64
    out = tmp_path / "there" / "out"
    with pytest.raises(WeightsMissingError, match=r"pytorch_model.bin is not what the hub tells"):
        fetch("owner/clip", out)
    assert leaves_nothing(out.parent)


def test_a_small_file_that_is_told_to_be_large(hub, tiny_clip, tmp_path):
    repository = hub.repositories["owner/clip"] = as_pickle(tiny_clip)
    repository.lies["config.json"] = 1 << 40
    with pytest.raises(ModelError, match=r"config.json has 1,099,511,627,776 bytes, which no such"):
        fetch("owner/clip", tmp_path / "out")


def test_weights_for_which_there_is_no_room(hub, tiny_clip, tmp_path):
    repository = hub.repositories["owner/clip"] = as_pickle(tiny_clip)
    repository.lies["pytorch_model.bin"] = 1 << 60
    with pytest.raises(InputError, match=r"bytes of weights, and .* are free there"):
        fetch("owner/clip", tmp_path / "out")
    assert not any("pytorch_model" in path for path in hub.asked)


def test_a_download_that_ends_in_the_middle(hub, tiny_clip, tmp_path):
    hub.repositories["owner/clip"] = as_pickle(tiny_clip)
    hub.broken.add("config.json")
    out = tmp_path / "there" / "out"
    with pytest.raises(
        WeightsMissingError, match=r"config.json was not downloaded: the hub did not"
    ):
        fetch("owner/clip", out)
    assert not out.parent.exists()


def test_a_fetch_that_is_killed_leaves_nothing_of_itself(hub, tiny_clip, tmp_path, monkeypatch):
    hub.repositories["owner/clip"] = as_pickle(tiny_clip)
    out = tmp_path / "there" / "out"
    with monkeypatch.context() as interrupted:
        interrupted.setattr(fetching, "convert_weights", interrupt)
        with pytest.raises(KeyboardInterrupt):
            fetch("owner/clip", out)
    assert leaves_nothing(out.parent)
    killed = out.parent / ".out.abcd1234.part"  # what a kill -9 leaves
    killed.mkdir()
    (killed / "model.safetensors").write_bytes(b"half")
    fetch("owner/clip", out)
    assert [path.name for path in out.parent.iterdir()] == ["out"]
    shutil.rmtree(out)


def interrupt(source, target):
    target.write_bytes(b"half")
    raise KeyboardInterrupt


def test_safetensors_that_are_none(hub, tiny_clip, tmp_path):
    files = {p.name: p.read_bytes() for p in tiny_clip.iterdir()}
    hub.repositories["owner/clip"] = Repository({**files, "model.safetensors": b"<html>"})
    with pytest.raises(ModelError, match=r"clip/.*/model.safetensors is no readable safe"):
        fetch("owner/clip", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_loading_names_the_command_for_a_repository_of_pickles(hub, tiny_clip):
    hub.repositories["owner/clip"] = as_pickle(tiny_clip)
    with pytest.raises(WeightsMissingError, match="sdmad backbone fetch owner/clip downloads and"):
        load_backbone("owner/clip")
