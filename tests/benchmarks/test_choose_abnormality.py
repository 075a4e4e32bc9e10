"""The ways to tell an abnormal image from a normal one, by hand and on phantoms."""

import numpy as np
import pytest
import torch

from benchmarks.choose_abnormality import AFTER, WAYS, Told, cell, section
from benchmarks.validation import Set
from sdmad import SignBank, load_backbone
from sdmad.studies.material import Material, phantom_data
from tests.benchmarks.remarks import tables


def test_the_ways_by_hand():
    # Chances .5 and .75: of any .875, log odds log 7; none of them has chance .125.
    said = Told(
        odds=torch.tensor([[0.0, np.log(3)]]).double(),
        signs=torch.tensor([0.5]).double(),
        anchor=torch.tensor([0.25]).double(),
        own=torch.tensor([-1.0]).double(),
        bare=torch.tensor([0.01]).double(),
    )
    found = {name: float(way(said)[0]) for name, way in WAYS.items()}
    assert found == pytest.approx({
        "none of them": -np.log(0.125),
        "best above the anchor": np.log(3) - 0.25,
        "any, above the anchor": np.log(7) - 0.25,
        "any, beside the signs alone": np.log(7) + 0.5,
        "a category of its own": -1.0,
        "own and any": (np.log(7) - 1) / 2,
        "signs alone": 0.01,
    })  # fmt: skip


def test_every_way_tells_most_phantoms_apart(tmp_path):
    data = phantom_data("brain", tmp_path, 80, 6, "distant", lambda _: None)
    one = Set("brain", "distant", Material(data, SignBank.load("brain")), load_backbone("lite"))
    found = cell(one, one.material.bank, 2, 0)
    assert list(found) == list(WAYS)
    for name, (area,) in found.items():
        assert 0.6 < area <= 1, name
    assert len({round(area, 9) for (area,) in found.values()}) > 3


def test_the_table_names_the_chosen_way():
    cells = {
        f"oct-{style}-{kind}-1-0": {name: [0.9 - 0.1 * i] for i, name in enumerate(WAYS)}
        for style in ("validation", "distant")
        for kind in ("clean", "noisy", "foreign", "unschooled")
    }
    page = section(cells)
    assert "| none of them | chosen | 1.00 | 90.0 | 90.0 | 90.0 | 90.0 |" in page
    assert "| signs alone |  | 7.00 | 30.0 |" in page


def test_what_is_said_of_real_images_stands_on_the_page_of_shots():
    found = []
    for name in ("brain tumours", "chest, 64 px", "OCT"):
        (table,) = (
            t for names, t in tables("shots.md").items() if names[-1] == f"Real {name}, 4 shots"
        )
        (row,) = (r for r in table.rows if r[0] == "zero-shot CLIP, signs")
        found.append(row[table.header.index("Image AUROC")].split(" ")[0])
    brain, chest, oct_ = found
    said = " ".join(AFTER.split())
    assert f"to {brain} points on brain tumours" in said
    assert f"to {chest} on chest, and stayed at {oct_} on OCT" in said
