"""The ways to choose images to label, by hand and on phantoms."""

import numpy as np
import pytest
import torch

from benchmarks import choose_suggesting
from benchmarks.choose_suggesting import (
    AFTER,
    ANY,
    WAYS,
    Choice,
    Pool,
    any_images,
    cell,
    section,
)
from benchmarks.validation import Set
from sdmad import SignBank, load_backbone
from sdmad.detector.head import TextFeatures
from sdmad.studies.material import Material, phantom_data
from tests.benchmarks.remarks import tables

STYLES, KINDS = ("validation", "distant"), ("clean", "foreign", "unschooled")


@pytest.fixture
def groups():
    """Three to the right, three to the left, the second of each in the middle of its group."""
    angles = torch.tensor([-0.1, 0.0, 0.1, np.pi - 0.3, np.pi, np.pi + 0.3])
    doubts = np.array([[0.9, 0.1], [0.8, 0.0], [0.0, 0.7], [0.1, 0.2], [0.3, 0.1], [0.0, 0.6]])
    evidence = torch.stack([torch.cos(angles), torch.sin(angles)], dim=1)
    return Choice(doubts, evidence, 2, seed=0)


@pytest.mark.parametrize(
    ("way", "wanted"),
    [
        ("doubt", {0, 1}),
        ("typical", {1, 4}),
        ("doubt, spread", {0, 5}),
        ("doubt of each cluster", {0, 5}),
        ("doubt by category", {0, 2}),
    ],
)
def test_the_ways_by_hand(way, wanted, groups):
    assert set(WAYS[way](groups)) == wanted


def test_a_doubtful_image_draws_the_centre_of_its_cluster(groups):
    # To the left .2, .3 and .6 pull the centre away from the middle one, towards the last.
    groups.doubts[5] = [0.0, 50.0]
    assert 5 in WAYS["typical among doubts"](groups)
    groups.doubts[:] = 0.5
    assert set(WAYS["typical among doubts"](groups)) == set(WAYS["typical"](groups))


def test_any_images_are_others_with_another_seed(groups):
    drawn = {tuple(any_images(Choice(groups.doubts, groups.evidence, 3, s))) for s in range(20)}
    assert len(drawn) > 5
    assert all(len(set(one)) == 3 for one in drawn)


def test_labels_help(tmp_path, monkeypatch):
    data = phantom_data("oct", tmp_path, 64, 6, "validation", lambda _: None)
    one = Set("oct", "validation", Material(data, SignBank.load("oct")), load_backbone("lite"))
    monkeypatch.setattr(choose_suggesting, "WAYS", {"typical": WAYS["typical"]})
    monkeypatch.setattr(choose_suggesting, "ROUNDS", 1)
    found = cell(one, one.material.bank, 0)
    assert list(found) == ["typical", ANY]
    text = TextFeatures.encode(one.material.bank, one.backbone)
    pool = Pool(one.table, one.material.bank, one.backbone, one.features, text)
    curve = pool.curve(any_images, 0, 2)
    assert curve[1] == found[ANY][0]
    assert curve[2] > curve[0]


def test_the_table_names_the_chosen_way_and_ranks_no_chance():
    names = (*WAYS, ANY)
    cells = {
        f"oct-{style}-{kind}-1-0": {name: [90.0 - place] for place, name in enumerate(names)}
        for style in STYLES
        for kind in KINDS
    }
    page = section(cells)
    assert "| doubt | chosen | 1.00 | 90.0 | 90.0 | 90.0 | 90.0 |" in page
    assert f"| {ANY} |  |  | 84.0 |" in page


def test_what_is_said_of_the_ways_stands_in_the_table():
    (table,) = (t for names, t in tables("suggested.md").items() if names[-1] == "Ways")
    figures = {row[0]: np.array([float(cell) for cell in row[3:]]) for row in table.rows}
    gaps = {name: figures[name] - figures[ANY] for name in WAYS}
    most = max(np.abs(gap).max() for gap in gaps.values())
    (taken,) = (row[0] for row in table.rows if row[1] == "chosen")
    said = " ".join(AFTER.split())
    assert f"within {most:.1f} points of any images" in said
    assert f"the chosen one {gaps[taken].min():.1f} to {gaps[taken].max():.1f} ahead" in said
    assert taken == "doubt, spread"  # which is `sdmad.detector.suggesting.spread`
