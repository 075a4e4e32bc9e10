import json
import math
import shutil
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save

from sdmad import SDMAD, SDMADConfig, load_backbone
from sdmad.detector.checkpoint import FILES, MANIFEST
from sdmad.detector.probe import LinearProbe
from sdmad.errors import InputError, ModelError, SDMADError

EVERY_FILE = (*FILES, MANIFEST)


@pytest.fixture
def copy_of_model(model_folder, tmp_path) -> Path:
    return Path(shutil.copytree(model_folder, tmp_path / "copy"))


def same_bits(one, other, images):
    first, second = one.score_images(images), other.score_images(images)
    for field in fields(first):
        assert np.array_equal(getattr(first, field.name), getattr(second, field.name)), field.name
    assert one.explain(images[0]) == other.explain(images[0])


def test_a_loaded_model_gives_the_same_bits(fitted, model_folder, pictures):
    loaded = SDMAD.load(model_folder)
    same_bits(fitted, loaded, pictures[0])
    assert loaded.config_ == fitted.config_
    assert loaded.bank_ == fitted.bank_
    assert loaded.bank_.name == "small"
    assert loaded.seed == fitted.seed
    assert loaded.categories == fitted.categories
    assert loaded.notes_ == fitted.notes_
    assert loaded.log_ == fitted.log_
    assert loaded.support_hashes_ == fitted.support_hashes_
    assert loaded.support_patients_ == fitted.support_patients_
    assert loaded.thresholds_ is None
    assert loaded.margins().margin.tolist() == fitted.margins().margin.tolist()


@pytest.mark.parametrize(
    "config",
    [
        SDMADConfig.paper(epochs=1),
        SDMADConfig(epochs=1, selection="none", pooling="mean", image_blocks=(2, 4), lam=0.5),
        SDMADConfig(epochs=0).signs_alone(),
    ],
    ids=["paper", "other settings", "no epoch"],
)
def test_other_settings_make_the_round_trip(small_bank, tiny_backbone, pictures, tmp_path, config):
    detector = SDMAD(small_bank, tiny_backbone, config).fit(*pictures)
    detector.save(tmp_path / "model")
    loaded = SDMAD.load(tmp_path / "model")
    assert loaded.config_ == config
    same_bits(detector, loaded, pictures[0])


def test_thresholds_make_the_round_trip(small_bank, tiny_backbone, pictures, tmp_path):
    images, labels = pictures
    config = SDMADConfig(epochs=1, decision="fpr:0.25")
    detector = SDMAD(small_bank, tiny_backbone, config).fit(images, labels)
    detector.fit_thresholds(images[4:10])
    detector.save(tmp_path / "model")
    loaded = SDMAD.load(tmp_path / "model")
    assert np.array_equal(loaded.thresholds_, detector.thresholds_)
    same_bits(detector, loaded, images)


def test_a_loaded_model_can_be_saved_again(model_folder, tmp_path, pictures):
    loaded = SDMAD.load(model_folder)
    loaded.save(tmp_path / "again")
    for name in EVERY_FILE:
        assert (tmp_path / "again" / name).read_bytes() == (model_folder / name).read_bytes(), name


def test_the_directory_is_flat_and_executes_nothing(model_folder):
    assert {path.name for path in model_folder.iterdir()} == set(EVERY_FILE)
    assert {path.suffix for path in model_folder.iterdir()} == {".json", ".yaml", ".safetensors"}


def test_a_model_works_elsewhere_with_the_backbone_given_by_its_path(
    small_bank, make_clip, pictures, tmp_path
):
    here, there = make_clip(), tmp_path / "weights"
    detector = SDMAD(small_bank, str(here), SDMADConfig(epochs=1)).fit(*pictures)
    detector.save(tmp_path / "model")
    shutil.move(tmp_path / "model", tmp_path / "elsewhere")
    shutil.move(here, there)
    with pytest.raises(ModelError, match="needs its base weights"):
        SDMAD.load(tmp_path / "elsewhere")
    same_bits(detector, SDMAD.load(tmp_path / "elsewhere", backbone=there), pictures[0])
    same_bits(detector, SDMAD.load(tmp_path / "elsewhere", load_backbone(there)), pictures[0])


def test_the_models_image_size_is_used_and_a_given_backbone_keeps_its_own(
    small_bank, tiny_clip, pictures, tmp_path
):
    detector = SDMAD(small_bank, load_backbone(tiny_clip, 48), SDMADConfig(epochs=1))
    detector.fit(*pictures).save(tmp_path / "model")
    same_bits(detector, SDMAD.load(tmp_path / "model"), pictures[0])
    mine = load_backbone(tiny_clip)
    loaded = SDMAD.load(tmp_path / "model", mine)
    same_bits(detector, loaded, pictures[0])
    assert loaded.backbone_.preprocessing.size == 48
    assert mine.preprocessing.size == 32


def test_other_base_weights_are_refused_and_both_are_named(model_folder, make_clip, tiny_clip):
    other = make_clip(seed=1)
    with pytest.raises(ModelError) as caught:
        SDMAD.load(model_folder, backbone=other)
    message = str(caught.value)
    for part in (str(tiny_clip), str(other), load_backbone(other).weights_hash[:12]):
        assert part in message


# Damage


@pytest.mark.parametrize("name", EVERY_FILE)
def test_a_missing_file_is_named(copy_of_model, name):
    (copy_of_model / name).unlink()
    with pytest.raises(ModelError, match=name):
        SDMAD.load(copy_of_model)


@pytest.mark.parametrize("name", EVERY_FILE)
@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_truncated_file_is_named(copy_of_model, name, share):
    content = (copy_of_model / name).read_bytes()
    (copy_of_model / name).write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ModelError, match=name):
        SDMAD.load(copy_of_model)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("place", [0.0, 0.5, 0.999])
def test_one_altered_byte_is_noticed_and_its_file_named(copy_of_model, name, place):
    content = bytearray((copy_of_model / name).read_bytes())
    content[int(len(content) * place)] ^= 1
    (copy_of_model / name).write_bytes(content)
    with pytest.raises(ModelError, match=name):
        SDMAD.load(copy_of_model)


def test_one_altered_character_of_the_manifest_is_noticed(copy_of_model):
    content = (copy_of_model / MANIFEST).read_text(encoding="utf-8")
    characters = [i for i, character in enumerate(content) if not character.isspace()]
    for place in characters[:: len(characters) // 40]:
        altered = chr(ord(content[place]) ^ 1)
        (copy_of_model / MANIFEST).write_text(
            content[:place] + altered + content[place + 1 :], encoding="utf-8"
        )
        with pytest.raises(ModelError, match=MANIFEST):
            SDMAD.load(copy_of_model)


@pytest.mark.parametrize("name", EVERY_FILE)
def test_a_folder_in_a_files_place_is_an_error(copy_of_model, name):
    (copy_of_model / name).unlink()
    (copy_of_model / name).mkdir()
    with pytest.raises(ModelError, match=name):
        SDMAD.load(copy_of_model)


def forge(folder: Path, name: str, content: str | bytes) -> None:
    """Alter a file and its hash with it, as a person who means to would."""
    import hashlib

    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    manifest["files"][name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    (folder / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.json", "{}"),
        ("config.json", "[]"),
        ("config.json", '{"format": 2, "sdmad": "9.9"}'),
        ("config.json", '{"format": 2}'),
        ("config.json", '{"format": 2, "settings": 7, "backbone": "lite", "seed": 0}'),
        ("preprocessing.json", '{"size": "big"}'),
        ("bank.yaml", "modality: x"),
        ("bank.yaml", "modality: x\nnormal: [a]\ncategories: {Ring: {signs: [b]}}"),
        ("support.json", "{}"),
        ("support.json", '{"images_sha256": [], "patients": 3}'),
        ("training.json", '{"notes": []}'),
        ("adapters.safetensors", "not tensors"),
    ],
)
def test_a_forged_file_ends_in_a_model_error(copy_of_model, name, content):
    forge(copy_of_model, name, content)
    with pytest.raises(ModelError, match="copy"):
        SDMAD.load(copy_of_model)


def altered(folder, name, **changes):
    content = json.loads((folder / name).read_text(encoding="utf-8"))
    forge(folder, name, json.dumps({**content, **changes}))


def stored_tensors(folder):
    """A model's tensors, in memory of their own: the file may be written anew."""
    loaded = load_file(folder / "adapters.safetensors")
    return {name: tensor.clone() for name, tensor in loaded.items()}


CHANGES = [
    ("config.json", {"settings": {"decision": 3}}, "decision rule"),
    ("config.json", {"settings": {"decision": ["mean"]}}, "decision rule"),
    ("config.json", {"settings": {"learning_rate": math.inf}}, "learning_rate must lie"),
    ("config.json", {"settings": {"bottleneck": 10**400}}, "bottleneck must lie"),
    ("config.json", {"settings": {"image_blocks": list(range(1, 10**5))}}, "image_blocks must"),
    ("config.json", {"settings": {"image_blocks": [99]}}, "no block"),
    ("config.json", {"settings": {"image_blocks": {"a": 1}}}, "image_blocks must"),
    ("config.json", {"settings": {"activation": ["gelu"]}}, "activation must"),
    ("config.json", {"settings": {"epoch": 1}}, "did you mean epochs"),
    ("config.json", {"settings": []}, "settings must be a mapping"),
    ("config.json", {"seed": math.inf}, "seed must be"),
    ("config.json", {"seed": 10**400}, "seed must be"),
    ("config.json", {"seed": "0"}, "seed must be"),
    ("config.json", {"seed": True}, "seed must be"),
    ("config.json", {"bank": ["small"]}, "bank must be text"),
    ("config.json", {"backbone": None}, "backbone must be text"),
    ("config.json", {"backbone_overrides": {"mean": 10**400}}, "mean must be three"),
    ("config.json", {"backbone_overrides": {"trust_remote_code": True}}, "trust_remote_code"),
    ("config.json", {"activation": 3}, "activation must be text"),
    ("preprocessing.json", {"mean": [10**400, 0, 0]}, "mean must be three finite numbers"),
    ("preprocessing.json", {"mean": [math.nan, 0, 0]}, "mean must be three finite numbers"),
    ("preprocessing.json", {"std": [1e-300, 1, 1]}, "std must be at least"),
    ("preprocessing.json", {"size": 1 << 40}, "size must be a whole number"),
    ("preprocessing.json", {"size": 32.5}, "size must be a whole number"),
    ("preprocessing.json", {"window": [10**400, 1]}, "window: expected"),
    ("support.json", {"images_sha256": ["../../etc/passwd"]}, "images_sha256 must be hashes"),
    ("support.json", {"threshold_images_sha256": {"a": 1}}, "must be a list"),
    ("support.json", {"patients": {"salt": "no hex", "hashes": []}}, "salt must be hexadecimal"),
    ("support.json", {"patients": {"salt": "00" * 16, "hashes": [3]}}, "hashes must be hashes"),
    ("training.json", {"epochs": [{"loss": "low", "sign_cosine": 0}]}, "loss must be a number"),
    ("training.json", {"epochs": [{"loss": 1e300, "sign_cosine": 0}]}, "loss must be a number"),
    ("training.json", {"epochs": [3]}, "an epoch must be a mapping"),
    ("training.json", {"notes": [3]}, "notes must be texts"),
]


@pytest.mark.parametrize(("name", "changes", "message"), CHANGES, ids=range(len(CHANGES)))
def test_values_of_another_type_or_range_are_refused_when_a_model_is_loaded(
    copy_of_model, name, changes, message
):
    if "settings" in changes and isinstance(changes["settings"], dict):
        known = json.loads((copy_of_model / name).read_text(encoding="utf-8"))["settings"]
        changes = {"settings": {**known, **changes["settings"]}}
    altered(copy_of_model, name, **changes)
    with pytest.raises(ModelError, match=f"copy: .*{message}"):
        SDMAD.load(copy_of_model)


def test_a_size_that_the_given_tower_does_not_take_is_refused(copy_of_model, tiny_backbone):
    altered(copy_of_model, "preprocessing.json", size=tiny_backbone.image.stride - 1)
    with pytest.raises(ModelError, match="copy: its files do not fit together"):
        SDMAD.load(copy_of_model, tiny_backbone)


@pytest.fixture(scope="module")
def whole_model(small_bank, tiny_backbone, pictures, tmp_path_factory):
    """A model that has every kind of tensor."""
    images, labels = pictures
    folder = tmp_path_factory.mktemp("whole") / "model"
    config = SDMADConfig(epochs=1, decision="fpr:0.25")
    detector = SDMAD(small_bank, tiny_backbone, config).fit(images, labels)
    detector.fit_thresholds(images[4:10])
    line = torch.tensor([1.0, 0.0, *[0.5] * len(small_bank.names)], dtype=torch.float64)
    detector.save(folder)
    tensors = stored_tensors(folder)
    forge(folder, "adapters.safetensors", save({**tensors, "calibration": line}))
    SDMAD.load(folder).score_images(images[:1])
    return folder


KINDS = ("image.", "text.", "scorer.", "evidence.", "familiar.", "calibration", "thresholds")
WRONG = {
    "another shape": lambda t: t.flatten()[:-1].contiguous() if t.numel() > 1 else t.repeat(2),
    "another type": lambda t: t.to(torch.int32) if t.is_floating_point() else t.float(),
    "complex": lambda t: t.to(torch.complex64),
    "NaN": lambda t: torch.full_like(t, math.nan) if t.is_floating_point() else ~t[:0],
    "infinite": lambda t: torch.full_like(t, math.inf) if t.is_floating_point() else ~t[:0],
    "huge": lambda t: torch.full_like(t, 1e30) if t.is_floating_point() else ~t[:0],
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_tensor_that_no_fit_gives_is_refused_when_a_model_is_loaded(whole_model, tmp_path, wrong):
    tensors = stored_tensors(whole_model)
    assert all(any(name.startswith(kind) for name in tensors) for kind in KINDS)
    folder = Path(shutil.copytree(whole_model, tmp_path / "copy"))
    for name, tensor in tensors.items():
        forge(folder, "adapters.safetensors", save({**tensors, name: WRONG[wrong](tensor)}))
        with pytest.raises(ModelError, match="copy: its files do not fit together"):
            SDMAD.load(folder)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("scorer.signs", lambda t: 2 * t),
        ("scorer.anchor", lambda t: 0 * t),
        ("familiar.centre", lambda t: t / 2),
        ("evidence.scales", lambda t: 0 * t),
        ("evidence.scales", lambda t: -t),
        ("calibration", lambda t: -t),
        ("calibration", lambda t: t + 1),
        ("evidence.weights", lambda t: t[:, 1:].contiguous()),
    ],
)
def test_a_tensor_out_of_its_range_is_refused(whole_model, tmp_path, name, value):
    folder = Path(shutil.copytree(whole_model, tmp_path / "copy"))
    tensors = stored_tensors(folder)
    forge(folder, "adapters.safetensors", save({**tensors, name: value(tensors[name])}))
    with pytest.raises(ModelError, match="copy: its files do not fit together"):
        SDMAD.load(folder)


def test_missing_and_surplus_tensors_are_refused(whole_model, tmp_path):
    folder = Path(shutil.copytree(whole_model, tmp_path / "copy"))
    tensors = stored_tensors(folder)
    for name in tensors:
        if name in ("calibration", "thresholds"):
            continue
        rest = {other: tensor for other, tensor in tensors.items() if other != name}
        forge(folder, "adapters.safetensors", save(rest))
        with pytest.raises(ModelError, match="missing"):
            SDMAD.load(folder)
    more = {**tensors, "image.9.down.weight": torch.zeros(2, 2)}
    forge(folder, "adapters.safetensors", save(more))
    with pytest.raises(ModelError, match=r"9\.down\.weight is too much"):
        SDMAD.load(folder)


def test_adapters_get_no_memory_before_the_file_has_them(whole_model, tmp_path, monkeypatch):
    """A bottleneck of 8 asks for more weights than the file holds."""
    folder = Path(shutil.copytree(whole_model, tmp_path / "copy"))
    settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))["settings"]
    altered(folder, "config.json", settings={**settings, "bottleneck": 8.0})
    monkeypatch.setattr("sdmad.detector.checkpoint.build_adapters", None)
    with pytest.raises(ModelError, match="has shape"):
        SDMAD.load(folder)


def test_tensors_of_no_model_are_not_hashed(copy_of_model, monkeypatch):
    monkeypatch.setattr("sdmad.detector.checkpoint.MAX_TENSORS", 100)
    with pytest.raises(ModelError, match="larger than 100 bytes"):
        SDMAD.load(copy_of_model)


def test_a_newer_format_names_both_versions(copy_of_model):
    forge(copy_of_model, "config.json", '{"format": 99, "sdmad": "9.9"}')
    with pytest.raises(ModelError, match=r"format 99 by sdmad '9.9'.*reads format 2"):
        SDMAD.load(copy_of_model)


def test_a_file_too_large_to_be_a_models_is_not_read(copy_of_model, monkeypatch):
    SDMAD.load(copy_of_model)
    monkeypatch.setattr("sdmad.detector.manifest.MAX_JSON", 100)
    with pytest.raises(ModelError, match="larger than 100 bytes"):
        SDMAD.load(copy_of_model)


@pytest.mark.parametrize("what", ["missing", "empty", "file"])
def test_what_is_no_model_is_refused(tmp_path, what):
    path = tmp_path / "model"
    if what == "empty":
        path.mkdir()
    elif what == "file":
        path.write_text("x")
    with pytest.raises(ModelError, match="model directory"):
        SDMAD.load(path)


# Privacy


def test_no_file_name_path_or_patient_travels_with_a_model(
    small_bank, tiny_backbone, pictures, tmp_path
):
    images, labels = pictures
    folder = tmp_path / "hospital-of-mercy"
    folder.mkdir()
    files = [folder / f"smith-john-{i}.png" for i in range(12)]
    for file, image in zip(files, images, strict=True):
        Image.fromarray(image).save(file)
    people = [f"MRN-4711-{i}" for i in range(12)]
    detector = SDMAD(small_bank, tiny_backbone, SDMADConfig(epochs=1))
    detector.fit(files, labels, patients=people).save(tmp_path / "model")
    for path in (tmp_path / "model").iterdir():
        content = path.read_bytes()
        for secret in (b"hospital", b"smith", b"MRN", b"4711-", str(tmp_path).encode()):
            if secret == str(tmp_path).encode() and str(tmp_path) in tiny_backbone.name:
                continue
            assert secret not in content, (path.name, secret)


# Writing


def test_a_folder_that_holds_something_is_kept_unless_forced(fitted, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="--force"):
        fitted.save(folder)
    assert (folder / "thesis.txt").read_text() == "years of work"
    fitted.save(folder, force=True)
    assert {path.name for path in folder.iterdir()} == set(EVERY_FILE)


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("step", ["save", "write_json", "write_text"])
def test_a_full_disk_and_ctrl_c_leave_nothing_behind(fitted, tmp_path, monkeypatch, error, step):
    def fail(*_):
        raise error

    fitted.save(tmp_path / "old")
    before = {path.name: path.read_bytes() for path in (tmp_path / "old").iterdir()}
    monkeypatch.setattr(f"sdmad.detector.checkpoint.{step}", fail)
    expected = SDMADError if isinstance(error, OSError) else KeyboardInterrupt
    for folder in ("new", "old"):
        with pytest.raises(expected):
            fitted.save(tmp_path / folder, force=True)
    assert [path.name for path in tmp_path.iterdir()] == ["old"]
    assert {p.name: p.read_bytes() for p in (tmp_path / "old").iterdir()} == before


def test_a_model_that_was_fitted_on_nano_says_which_version_it_needs(copy_of_model):
    config = json.loads((copy_of_model / "config.json").read_text(encoding="utf-8"))
    forge(copy_of_model, "config.json", json.dumps({**config, "backbone": "nano"}))
    with pytest.raises(ModelError, match=r"needs its base weights: .*needs sdmad 0\.1.*fitted ag"):
        SDMAD.load(copy_of_model)


def test_a_model_of_before_keeps_its_probe_on_the_embeddings(
    fitted, copy_of_model, tiny_backbone, pictures
):
    """Its file holds as many weights a category as the embeddings have numbers."""
    images, labels = pictures
    features = fitted.image_features(tiny_backbone.preprocessing(images))
    probe = LinearProbe.fit(features.embedding, labels)
    path = copy_of_model / "adapters.safetensors"
    tensors = load_file(path)
    names = ("weights", "bias", "learnt")
    older = {f"evidence.{name}": getattr(probe, name) for name in names}
    forge(copy_of_model, path.name, save(tensors | older))
    loaded = SDMAD.load(copy_of_model)
    scale = loaded.head_.evidence
    expected = loaded.head_.sign_scores(features) / scale.sign_scale
    odds = probe(features.embedding) * loaded.config_.evidence_weight / scale.probe_scale
    np.testing.assert_allclose(
        loaded.decision_function(images), (expected + odds).numpy(), atol=1e-5
    )
