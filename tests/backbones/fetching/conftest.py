"""Fixtures of fetching."""

import pytest

from sdmad.backbones.fetching import folder
from sdmad.backbones.fetching.pickles import Converted
from sdmad.backbones.fetching.restricted import convert


@pytest.fixture
def at_once(monkeypatch):
    """Pickles are converted in this process; test_pickles.py has the other."""

    def here(source, target):
        done = convert(source, target)
        from safetensors import safe_open

        with safe_open(target, "pt") as file:
            names = tuple(file.keys())
        return Converted(names, tuple(done["nested"]), tuple(done["left"]), "is this one")

    monkeypatch.setattr(folder, "convert_weights", here)
