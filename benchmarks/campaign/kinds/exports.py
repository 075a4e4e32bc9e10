"""Exports with one damaged file, mostly with its hash made to fit."""

from __future__ import annotations

import shutil
from pathlib import Path
from random import Random

import numpy as np

from benchmarks.campaign.frame import READ
from benchmarks.campaign.material import damage_file, forge, write_model
from benchmarks.random_clip import write_random_checkpoint
from sdmad import SDMAD
from sdmad.export.exporting import export_model
from sdmad.export.files import BANK, CONFIG, GRAPHS, MANIFEST
from sdmad.export.runtime import ExportedModel

COUNT = 1000
MEGABYTES = 5000
"""A trial may take 4 GB."""


def prepare(folder: Path) -> None:
    """Export a model on a small random backbone for both runtimes."""
    (folder / "clip").mkdir()
    write_random_checkpoint(folder / "clip", "small")
    detector = SDMAD.load(write_model(folder, str(folder / "clip")))
    for runtime in GRAPHS:
        export_model(detector, folder / runtime, runtime)


def attack(random: Random, material: Path, place: Path) -> str:
    """Damage one file of a copy, load it, and score with what could be loaded."""
    runtime = random.choice(list(GRAPHS))
    export = shutil.copytree(material / runtime, place / runtime)
    name = random.choice((BANK, CONFIG, *GRAPHS[runtime] * 3, MANIFEST))
    damage_file(random, export / name)
    if name != MANIFEST and random.random() < 0.95:
        forge(export / MANIFEST, name)
    model = ExportedModel.load(export)
    pixels = (np.arange(96 * 96, dtype=np.uint32) % 251).astype(np.uint8).reshape(1, 96, 96, 1)
    model.explanations(model.run(pixels))
    return READ
