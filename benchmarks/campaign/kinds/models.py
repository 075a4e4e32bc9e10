"""Model directories with one or two damaged files, mostly with their hashes made to fit."""

from __future__ import annotations

import functools
import shutil
from pathlib import Path
from random import Random

from benchmarks.campaign.frame import NAME, READ, SECRET, FoundError
from benchmarks.campaign.material import damage_file, forge, write_model
from sdmad import SDMAD, load_backbone
from sdmad.backbones import Backbone
from sdmad.data.listing import list_images
from sdmad.detector.checkpoint import FILES, MANIFEST
from sdmad.detector.model_signs import read_model_signs

COUNT = 1000
prepare = write_model


@functools.cache
def _backbone() -> Backbone:
    return load_backbone("lite")


def attack(random: Random, material: Path, place: Path) -> str:
    """Damage a copy, load it, and score and explain an image with what could be loaded."""
    model = shutil.copytree(material / "model", place / "model")
    _check_name(model)
    for name in random.sample((*FILES, MANIFEST), random.choice((1, 1, 2))):
        damage_file(random, model / name)
        if name != MANIFEST and random.random() < 0.9:
            _forge(model, name)
    read_model_signs(model)
    detector = SDMAD.load(model, _backbone())
    images = list_images([material / "data" / "images"])[:2]
    scored = detector.score_images(images)
    detector.explanations(scored)
    detector.save(place / "again")
    return READ


def _forge(model: Path, name: str) -> None:
    try:
        forge(model / MANIFEST, name)
    except (ValueError, KeyError, TypeError, AttributeError):
        return  # the manifest itself is damaged


def _check_name(model: Path) -> None:
    for path in model.iterdir():
        if SECRET.encode() in path.read_bytes():
            raise FoundError(NAME, path.name)
