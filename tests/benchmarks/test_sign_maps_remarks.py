"""No remark on maps may say anything else than the page's tables."""

import torch

from sdmad import load_backbone
from sdmad.detector.maps import patch_features
from sdmad.method.adapters import AdaptedTower
from tests.benchmarks.remarks import DOCS, tables

PAGE = "maps.md"
TEXT = " ".join((DOCS / PAGE).read_text(encoding="utf-8").split())
FOUND = tables(PAGE)
(READINGS,) = (t for names, t in FOUND.items() if names[-1] == "Readings on validation phantoms")
(SIGNS,) = (t for names, t in FOUND.items() if names[-1] == "All signs")
MODALITIES = ("brain", "chest", "oct")


def reading(patches, kind):
    """The row of a reading, by column."""
    (found,) = (r for r in READINGS.rows if r[1:3] == (patches, kind))
    return dict(zip(READINGS.header, found, strict=True))


def signs(modality, state):
    """What the maps of a modality's signs find, by column."""
    (found,) = (r for r in SIGNS.rows if r[0] == f"{modality}, {state}")
    return {name: float(cell) for name, cell in zip(SIGNS.header[1:-1], found[1:-1], strict=True)}


def test_the_grid_is_the_backbones():
    backbone = load_backbone("lite")
    size = backbone.preprocessing.size
    with torch.inference_mode():
        found = patch_features(AdaptedTower(backbone.image, {}), torch.zeros(1, 3, size, size))
    side = round(found.shape[1] ** 0.5)
    assert f"the grid of patches, {side} x {side} for lite" in TEXT


def test_the_reading_that_the_rule_would_take_and_its_price():
    candidates = [r for r in READINGS.rows if "no candidate" not in r[1]]
    assert candidates[0][1:3] == ("v-v attention in the last two blocks", "cosine")
    assert candidates[1][1:3] == ("own value alone in the last block", "cosine")
    (used,) = (r for r in READINGS.rows if r[0] == "in use")
    assert used[1:3] == ("as trained", "cosine")
    assert round(float(candidates[0][-1]) - float(used[-1])) == 3
    assert "The price stands in the table, three points." in TEXT


def test_the_anchor_helps_oct_and_harms_brain():
    plain, less = reading("as trained", "cosine"), reading("as trained", "less anchor")
    for state in ("zero-shot", "4 shots"):
        assert float(less[f"oct, {state}"]) > float(plain[f"oct, {state}"])
        assert float(less[f"brain, {state}"]) < float(plain[f"brain, {state}"])
    assert "Subtracting the anchor helps OCT and harms brain." in TEXT


def test_what_the_maps_find():
    both = [signs("all", state) for state in ("zero-shot", "4 shots")]
    beaten = {round(one["Mean, showing it"] - one["Mean, place alone"]) for one in both}
    above = {round(one["Mean, showing it"] - 50) for one in both}
    assert (beaten, above) == ({9}, {32})
    assert "by 9 points in the mean, zero-shot and after a fit, not by the 32 that" in TEXT
    assert all(30 <= 100 - one["Above its place alone"] <= 37 for one in both)
    assert "a third of the signs do not beat it at all" in TEXT
    for state in ("zero-shot", "4 shots"):
        shares = {m: signs(m, state)["Above its place alone"] for m in MODALITIES}
        assert shares["oct"] >= 85 > 65 > max(shares["brain"], shares["chest"])


def test_the_signs_that_are_named_are_where_the_page_says():
    for state in ("zero-shot", "4 shots"):
        part = TEXT.partition(f"**{state}.** Inverted")[2].partition("No better than")[0]
        inverted, _, near = part.partition("Near chance")
        assert "bright_dural_rim (brain)" in inverted
        assert "air_fluid_level_behind_heart (chest)" in near
