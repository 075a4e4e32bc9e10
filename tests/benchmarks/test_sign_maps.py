import numpy as np
import pytest
import torch

from benchmarks.sign_maps import (
    IN_USE,
    OUTSIDE,
    OWN,
    READINGS,
    auroc,
    choice_table,
    phrases,
    sign_figures,
    value_value,
    weak,
)
from sdmad import load_backbone
from sdmad.detector.maps import patch_features
from sdmad.method.adapters import AdaptedTower, ShiftAdapter
from sdmad.phantoms.cases import STUDIED, load_modality


@pytest.fixture
def tower(tiny_backbone):
    image = tiny_backbone.image
    torch.manual_seed(0)
    return AdaptedTower(
        image, {block: ShiftAdapter(image.widths[0]) for block in (2, image.depth)}
    ).requires_grad_(False)


def test_readings_are_unit_length_and_differ(tower, tiny_backbone, pictures):
    pixels = tiny_backbone.preprocessing(pictures[0][:2])
    found = {name: reading(tower, pixels) for name, reading in READINGS.items()}
    for features in found.values():
        assert features.shape == (2, 16, 16)
        torch.testing.assert_close(features.norm(dim=-1), torch.ones(2, 16))
    every = list(found.values())
    assert all((a - b).abs().max() > 0.01 for i, a in enumerate(every) for b in every[:i])
    torch.testing.assert_close(value_value(0)(tower, pixels), found["as trained"])
    torch.testing.assert_close(found[OWN], patch_features(tower, pixels))  # a CLIP's own way


def test_the_reading_in_use_is_the_embedded_backbones():
    backbone = load_backbone("lite")
    untouched = AdaptedTower(backbone.image, {})
    pixels = torch.rand(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(READINGS[IN_USE](untouched, pixels), patch_features(untouched, pixels))


def test_the_last_block_left_out_does_not_feel_it(tower, tiny_backbone, pictures, monkeypatch):
    pixels = tiny_backbone.preprocessing(pictures[0][:1])
    before = READINGS[OUTSIDE](tower, pixels)
    last = tiny_backbone.image.blocks[-1]
    monkeypatch.setattr(last, "forward", lambda hidden, causal: hidden * 0)
    assert torch.equal(READINGS[OUTSIDE](tower, pixels), before)


def test_figures_of_one_sign_by_hand():
    mask = np.array([[True, False], [False, False]])
    maps = torch.tensor(
        [
            [[0.9, 0.1], [0.2, 0.3]],  # shows it: found
            [[0.2, 0.4], [0.1, 0.1]],  # shows it: one pixel lies above
            [[0.0, 0.5], [0.0, 0.5]],  # does not
            [[1.0, 1.0], [1.0, 1.0]],  # is not judged
        ]
    )
    figures = dict(sign_figures(maps, {0: mask, 1: mask}, (0, 1, 2)))
    # 2 abnormal pixels against 6: 0.9 beats all; 0.2 beats two of its own and of the other's
    # 0.1, draws with 0.2 and loses to 0.3 and 0.4.
    assert figures["showing"] == pytest.approx((6 + 3 + 0.5) / 12)
    assert figures["all"] == pytest.approx((10 + 3 + 0.5 + 2) / 20)
    # The usual map is the third: the pixel draws with one and loses to two, in both images.
    assert figures["place"] == pytest.approx(0.5 / 3)
    assert auroc(maps[:1], [mask]) == 1


def test_every_sign_has_a_sentence():
    for name in STUDIED:
        assert set(phrases(name)) == set(load_modality(name).signs)


def test_tables_mark_what_is_used_and_name_what_fails():
    states = ("zero-shot", "4 shots")
    cells = {
        "brain": {
            f"{name}/{less}/{state}": 0.5 + 0.01 * i
            for i, name in enumerate(READINGS)
            for less in ("cosine", "less anchor")
            for state in states
        }
    }
    table = choice_table(cells)
    assert [row[1] for row in table.rows if row[0]] == [IN_USE]
    assert table.rows[0][1] == OUTSIDE  # the highest in these made-up figures
    good = {
        f"{s}/{k}": v for s in states for k, v in (("showing", 0.9), ("all", 0.9), ("place", 0.8))
    }
    bad = {**good, "4 shots/all": 0.4, "zero-shot/showing": 0.55}
    text = weak({"oct": {"signs": {"dots": good, "bars": bad}}}).split("\n\n")
    assert "Inverted (below 50 on the images that show it or on all images): none." in text[0]
    assert "Near chance (below 60): bars (oct)." in text[0]
    assert "usual place: bars (oct)." in text[0]
    assert "on all images): bars (oct)." in text[1]
    assert "usual place: none." in text[1]
