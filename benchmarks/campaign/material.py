"""What attacks begin with: a few phantoms, a model that was fitted on them, and both exports."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from random import Random

from benchmarks.campaign.frame import SECRET
from benchmarks.campaign.mutations import damaged_bytes, damaged_json, damaged_text
from sdmad import SDMAD, SDMADConfig, SignBank
from sdmad.choices import EMBEDDED
from sdmad.data.table import read_label_table
from sdmad.phantoms.cases import load_modality
from sdmad.phantoms.files import write_phantoms

BANK = "brain"
IMAGES, FITTED = 20, 12
"""Phantoms, and those of them that a model is fitted on; the rest is what it can be judged on."""


def write_data(folder: Path) -> Path:
    """Phantoms with a label table, whose patients have the secret name."""
    table = write_phantoms(load_modality("brain"), folder, IMAGES, 0, size=96)
    lines = table.read_text(encoding="utf-8").splitlines()
    named = [line.replace(",", f",{SECRET} ", 1) for line in lines[1:]]
    table.write_text("\n".join([lines[0], *named]) + "\n", encoding="utf-8")
    return table


def write_model(folder: Path, backbone: str = EMBEDDED) -> Path:
    """A detector with adapters and image evidence, fitted on phantoms, beside these."""
    table = read_label_table(write_data(folder / "data"), SignBank.load(BANK).names)
    detector = SDMAD(BANK, backbone, SDMADConfig(epochs=1))
    few = slice(FITTED)
    detector.fit(table.files[few], table.labels[few], patients=table.patients[few])
    detector.save(folder / "model")
    return folder / "model"


def damage_file(random: Random, path: Path) -> None:
    """Damage a file as its kind is damaged: JSON in its values, text in its lines, all in bytes."""
    data = path.read_bytes()
    if path.suffix == ".json" and random.random() < 0.8:
        data = damaged_json(random, json.loads(data))
    elif path.suffix in (".yaml", ".csv", ".txt", ".md", ".xml") and random.random() < 0.8:
        data = damaged_text(random, data.decode("utf-8"))
    elif path.suffix == ".safetensors" and random.random() < 0.5:
        data = _damaged_header(random, data)
    else:
        data = damaged_bytes(random, data)
    path.write_bytes(data)


def forge(manifest: Path, name: str) -> None:
    """Write a file's new hash into its manifest, as a person who means harm would."""
    content = json.loads(manifest.read_text(encoding="utf-8"))
    data = (manifest.parent / name).read_bytes()
    content["files"][name] = hashlib.sha256(data).hexdigest()
    manifest.write_text(json.dumps(content), encoding="utf-8")


def _damaged_header(random: Random, data: bytes) -> bytes:
    """Safetensors whose header says something else of the same bytes."""
    length = int.from_bytes(data[:8], "little")
    header = damaged_json(random, json.loads(data[8 : 8 + length]))
    return len(header).to_bytes(8, "little") + header + data[8 + length :]
