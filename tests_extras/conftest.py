"""Fixtures of the extras' tests: checkpoints, a sign bank, pictures; and no network."""

import shutil

import numpy as np
import pytest
from huggingface_hub import constants

from sdmad import SignBank
from tests_extras.checkpoints import BIOMED, CONFIGS, write_folder


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    """As ``HF_HUB_OFFLINE=1`` does: what is not on this machine is missing."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


@pytest.fixture(scope="session")
def make_folder(tmp_path_factory):
    """Write a small random checkpoint; takes a configuration, gives the folder and the model."""

    def make(config, **settings):
        folder = tmp_path_factory.mktemp("open_clip")
        return folder, write_folder(folder, config, **settings)

    return make


@pytest.fixture(scope="session")
def bank():
    """Three categories of two signs each."""
    return SignBank(
        "small",
        "picture",
        ("a plain picture", "a picture without any mark"),
        {
            "Ring": ("a round ring", "an open circle"),
            "Bar": ("a long bar", "an upright line"),
            "Dots": ("many dots", "scattered points"),
        },
    )


@pytest.fixture(scope="session")
def pictures():
    """Eight pictures of noise with a bar, dots or nothing, and their labels ``(8, 3)``."""
    rng = np.random.default_rng(0)
    images = rng.normal(70, 15, (8, 32, 32))
    images[:3, :, 5:8] += 110
    images[2:5, 3::8, 3::8] += 150
    labels = np.zeros((8, 3))
    labels[:3, 1] = labels[2:5, 2] = labels[6, 0] = 1
    images[6, 10:20, 10:20] += 120
    return list(np.clip(images, 0, 255).astype(np.uint8)), labels


@pytest.fixture(scope="session")
def checkpoints(make_folder):
    """Name to folder and the library's own model."""
    return {name: make_folder(c, bert=c is BIOMED) for name, c in CONFIGS.items()}


@pytest.fixture(scope="session")
def folder_of(checkpoints):
    return {name: folder for name, (folder, _) in checkpoints.items()}


@pytest.fixture
def folder(folder_of, tmp_path):
    """A copy of the plain checkpoint, to be damaged."""
    return shutil.copytree(folder_of["gelu"], tmp_path / "checkpoint")
