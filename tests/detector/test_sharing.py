"""Models to and from a hub."""

import json
from dataclasses import fields, replace

import numpy as np
import pytest
import yaml
from huggingface_hub import constants

from sdmad import SDMAD
from sdmad.detector.checkpoint import FILES, MANIFEST
from sdmad.detector.held_out import HeldOut
from sdmad.detector.sharing import CARD
from sdmad.errors import InputError, ModelError, WeightsMissingError
from tests.hub_server import Repository

MODEL, CLIP = "me/model", "owner/clip"


@pytest.fixture
def clip(hub, tiny_clip):
    """The base weights of the fitted detector, on the hub."""
    files = {path.name: path.read_bytes() for path in tiny_clip.iterdir()}
    hub.repositories[CLIP] = Repository(files)


@pytest.fixture
def pushed(hub, clip, fitted):
    """The repository of the fitted detector."""
    fitted.push_to_hub(MODEL, backbone=CLIP)
    return hub.repositories[MODEL]


def test_there_and_back(hub, pushed, fitted, pictures):
    assert pushed.private
    assert set(pushed.files) == {*FILES, MANIFEST, CARD}
    loaded = SDMAD.from_pretrained(MODEL)
    assert loaded.backbone_.name == CLIP
    assert any(path.startswith(f"/{CLIP}/resolve/") for path in hub.asked)
    first, second = fitted.score_images(pictures[0]), loaded.score_images(pictures[0])
    for field in fields(first):
        assert np.array_equal(getattr(first, field.name), getattr(second, field.name)), field.name


def test_nothing_of_this_machine_and_of_patients_is_uploaded(pushed, tiny_clip, fitted):
    told = b"\n".join(pushed.files.values())
    for secret in (str(tiny_clip), str(tiny_clip.parent), "patient-0", "patient-5"):
        assert secret.encode() not in told
    assert json.loads(pushed.files["config.json"])["backbone"] == CLIP


def test_a_note_that_names_the_folder_names_the_hub(clip, hub, fitted, tiny_clip, monkeypatch):
    noted = replace(fitted.state_, notes=(f"nothing that {tiny_clip} learnt",))
    SDMAD.of_state(noted, "cpu", "float32").push_to_hub(MODEL, backbone=CLIP)
    files = hub.repositories[MODEL].files
    assert json.loads(files["training.json"])["notes"] == [f"nothing that {CLIP} learnt"]
    assert str(tiny_clip) not in files[CARD].decode()


def test_the_card(hub, clip, fitted):
    """Worked by hand: of 2 x 2 pairs of images with and without a ring, 3 are in order."""
    labels = np.array([[1, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, np.nan]])
    scores = np.array([[0.9, 0, 0], [0.3, 0, 0], [0.5, 0, 0], [0.1, 0, 0]])
    held = HeldOut(scores, labels, np.arange(4))
    state = replace(fitted.state_, head=replace(fitted.head_, held_out=held))
    SDMAD.of_state(state, "cpu", "float32").push_to_hub(MODEL, backbone=CLIP)
    _, head, text = hub.repositories[MODEL].files[CARD].decode().split("---\n", 2)
    assert yaml.safe_load(head)["base_model"] == CLIP
    assert "Not a medical device" in text
    assert f"SDMAD.from_pretrained({MODEL!r})" in text
    for row in (
        "| Ring | 2 | 2 | 2 | 75.0 |",
        "| Bar | 2 | 2 | 1 | n/a |",
        "| Support images | 12 |",
        "| epochs | 2 |",
        "| Ring | a round ring | yes |",
        "| normal | a plain picture |  |",
    ):
        assert row in text, row


def test_a_card_without_images_held_out(pushed, fitted):
    assert fitted.head_.held_out is None
    assert "| Ring | 2 | 2 | n/a | n/a |" in pushed.files[CARD].decode()


def test_a_backbone_that_others_have_not(hub, fitted, tiny_clip):
    with pytest.raises(InputError, match=r"was fitted on .*say where others find the same weights"):
        fitted.push_to_hub(MODEL)
    with pytest.raises(InputError, match="which nobody else has"):
        fitted.push_to_hub(MODEL, backbone=str(tiny_clip))
    assert hub.repositories == {}


def test_a_public_repository_needs_a_word(hub, clip, fitted):
    hub.repositories[MODEL] = Repository({}, private=False)
    with pytest.raises(InputError, match=r"is there and public; push_to_hub\(..., private=False\)"):
        fitted.push_to_hub(MODEL, backbone=CLIP)
    assert hub.repositories[MODEL].files == {}
    fitted.push_to_hub(MODEL, private=False, backbone=CLIP)
    assert MANIFEST in hub.repositories[MODEL].files


@pytest.mark.parametrize("name", ["model", "a/b/c", "./model", ""])
def test_a_name_that_is_none(fitted, name):
    with pytest.raises(InputError, match="is no name of a repository"):
        fitted.push_to_hub(name, backbone=CLIP)


def test_a_hub_that_refuses(hub, clip, fitted, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match="me/model: not uploaded: HF_HUB_OFFLINE is set"):
        fitted.push_to_hub(MODEL, backbone=CLIP)


def test_a_folder(model_folder, fitted):
    assert SDMAD.from_pretrained(model_folder).bank_ == fitted.bank_
    assert SDMAD.from_pretrained(str(model_folder)).bank_ == fitted.bank_
    with pytest.raises(ModelError, match="no model directory nowhere"):
        SDMAD.from_pretrained("nowhere")


def test_what_was_altered_on_the_way(pushed, tiny_clip):
    pushed.files["bank.yaml"] += b"\n# more"
    with pytest.raises(ModelError, match=r"bank.yaml is truncated or was altered"):
        SDMAD.from_pretrained(MODEL, tiny_clip)


def test_a_repository_that_is_no_model(hub, clip):
    with pytest.raises(ModelError, match=r"owner/clip is no model of sdmad: it has no bank.yaml"):
        SDMAD.from_pretrained(CLIP)
    with pytest.raises(WeightsMissingError, match="the hub knows no me/other"):
        SDMAD.from_pretrained("me/other")


def test_a_file_too_large_for_a_model(hub, pushed, tiny_clip):
    pushed.lies["bank.yaml"] = 1 << 40
    with pytest.raises(ModelError, match=r"bank.yaml has 1,099,511,627,776 bytes, which no such"):
        SDMAD.from_pretrained(MODEL, tiny_clip)


def test_without_a_network_the_cache_has_it(pushed, tiny_clip, monkeypatch):
    SDMAD.from_pretrained(MODEL, tiny_clip)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert SDMAD.from_pretrained(MODEL, tiny_clip).categories == ("Ring", "Bar", "Dots")
    with pytest.raises(
        WeightsMissingError, match=r"me/other: no such folder, not in the cache, and HF_HUB_OFFLINE"
    ):
        SDMAD.from_pretrained("me/other")
