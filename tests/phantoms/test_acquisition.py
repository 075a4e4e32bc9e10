from dataclasses import replace

import numpy as np
import pytest

from sdmad.phantoms.acquisition import STYLES, AcquisitionStyle, acquire
from sdmad.phantoms.artefacts import IN_EXPORT, IN_SCANNER, keep_visible
from sdmad.phantoms.base import grid
from sdmad.phantoms.cases import MODALITIES, load_modality, render_case
from sdmad.phantoms.overlays import OVERLAYS, lay

EFFECTS = {**IN_SCANNER, **IN_EXPORT}
YARDSTICKS = ("validation", "test")

FOLLOWING = {
    "validation": (672771, 455740, 966115, 261868, 40220, 272242),
    "test": (672771, 155328, 966115, 180627, 692375, 272242),
}
"""The number that a generator gives after an acquisition, for the seeds from 0."""

SEEN = {
    ("brain", "validation"): (14.3, 62.1, 8.4, 39.6, 115.2, 31.6, 12.8, 52.6, 11.5, 813),
    ("brain", "test"): (29.3, 88.1, 16.2, 65.8, 165.3, 48.7, 23.4, 79.0, 23.2, 708),
    ("chest", "validation"): (119.2, 195.5, 73.0, 135.7, 226.6, 114.4, 91.3, 189.2, 208.7, 889),
    ("chest", "test"): (136.1, 189.1, 89.1, 163.4, 237.9, 131.2, 101.9, 180.6, 182.1, 797),
    ("oct", "validation"): (85.1, 82.0, 51.3, 24.6, 48.6, 37.9, 27.2, 36.5, 29.8, 432),
    ("oct", "test"): (94.5, 92.2, 54.1, 57.1, 96.8, 63.6, 47.8, 65.8, 60.8, 357),
}  # fmt: skip
"""Mean grey of each ninth of one picture, row by row, and the area of its mask in pixels."""


def disc(size, centre=(0.0, 0.0), radius=0.2):
    y, x = grid(size)
    mask = (y - centre[0]) ** 2 + (x - centre[1]) ** 2 < radius**2
    return (0.35 + 0.3 * mask).astype(np.float32), mask


def test_pretraining_draws_every_effect_and_the_yardsticks_none():
    assert set(STYLES["pretraining"].effects) == {*EFFECTS, *OVERLAYS}
    assert all(0 < chance <= 0.5 for chance in STYLES["pretraining"].effects.values())
    off = AcquisitionStyle()
    for name in YARDSTICKS:
        for later in ("quality", "aspect", "elastic", "outside", "effects"):
            assert getattr(STYLES[name], later) == getattr(off, later)


@pytest.mark.parametrize("style", YARDSTICKS)
def test_the_yardsticks_draw_as_many_numbers_as_ever(style):
    picture, mask = disc(96)
    for seed, number in enumerate(FOLLOWING[style]):
        rng = np.random.default_rng(seed)
        acquire(picture, {"disc": mask}, rng, STYLES[style])
        assert int(rng.integers(10**6)) == number


@pytest.mark.parametrize(("name", "style"), list(SEEN))
def test_the_yardsticks_show_what_they_ever_showed(name, style):
    modality = load_modality(name)
    sign = modality.signs[0]
    picture, masks = render_case(modality, [sign], style, 96, (7, 11))
    thirds = picture.reshape(3, 32, 3, 32).mean((1, 3)).ravel()
    *greys, area = SEEN[name, style]
    np.testing.assert_allclose(thirds, greys, atol=0.3)
    assert abs(int(masks[sign].sum()) - area) <= 2


@pytest.mark.parametrize("size", [96, 224])
def test_masks_move_with_the_picture(size):
    style = AcquisitionStyle(
        zoom=(0.8, 1.3), shift=0.13, rotation=14, aspect=0.2, elastic=(0.0, 0.04)
    )
    for seed in range(20):
        rng = np.random.default_rng(seed)
        _, mask = disc(size, rng.uniform(-0.4, 0.4, 2))
        picture, moved = acquire(mask.astype(np.float32), {"disc": mask}, rng, style)
        shown = picture > 127
        assert (shown & moved["disc"]).sum() / (shown | moved["disc"]).sum() > 0.93


@pytest.mark.parametrize("name", sorted(set(EFFECTS) - {"invert"}))
@pytest.mark.parametrize("size", [96, 224])
def test_what_is_brighter_stays_brighter(name, size):
    picture, mask = disc(size)
    _, near = disc(size, radius=0.4)
    before = picture.copy()
    for seed in range(12):
        shown = EFFECTS[name](picture, np.random.default_rng(seed))
        assert shown.dtype == np.float32
        assert shown.shape == picture.shape
        assert np.isfinite(shown).all()
        assert shown[mask].mean() > shown[near & ~mask].mean() + 0.02
        assert (picture == before).all()


def test_a_modality_is_spared_what_belies_its_wordings():
    picture, mask = disc(96)
    style = AcquisitionStyle(effects={"invert": 1.0})
    rng = np.random.default_rng(0)
    turned, _ = acquire(picture, {}, rng, style)
    spared, _ = acquire(picture, {}, rng, style, load_modality("brain").without)
    assert turned[mask].mean() < turned[~mask].mean()
    assert spared[mask].mean() > spared[~mask].mean()


@pytest.mark.parametrize("name", OVERLAYS)
@pytest.mark.parametrize("size", [96, 301])
def test_overlays_clear_masks_where_they_cover_and_nowhere_else(name, size):
    covered = []
    for seed in range(12):
        cover, grey = OVERLAYS[name](np.random.default_rng(seed), size)
        assert cover.shape == (size, size)
        masks = {"all": np.ones((size, size), bool)}
        picture = np.full((size, size), 90, np.uint8)
        shown = lay(picture, masks, cover, grey)
        assert shown.dtype == np.uint8
        assert (masks["all"] == (cover < 128)).all()
        assert (shown[cover == 0] == 90).all()
        assert (shown[cover == 255] == np.broadcast_to(grey, cover.shape)[cover == 255]).all()
        covered.append((cover > 0).mean())
    assert 0 < max(covered) < 0.45


def test_what_lies_around_the_old_picture_is_filled():
    style = AcquisitionStyle(zoom=(0.7, 0.7), aspect=0.01, outside=1.0)
    picture = np.full((96, 96), 0.4, np.float32)
    everything = {"all": np.ones((96, 96), bool)}
    shown, masks = acquire(picture, everything, np.random.default_rng(2), style)
    border = np.concatenate([shown[:10].ravel(), shown[-10:].ravel()])
    assert len(set(border.tolist())) == 1
    assert not masks["all"][:10].any()
    assert masks["all"][20:76, 20:76].all()


@pytest.mark.parametrize("level", [0.0, 0.5, 0.97])
def test_a_dull_picture_is_stretched(level):
    picture, mask = disc(96, radius=0.5)
    dull = (level + 0.06 * picture).astype(np.float32)
    shown = np.clip(keep_visible(dull), 0, 1)
    assert shown[mask].mean() - shown[~mask].mean() > 0.25
    vivid = 1.5 * picture
    assert keep_visible(vivid) is vivid


@pytest.mark.parametrize("name", MODALITIES)
def test_pretraining_leaves_something_to_see_and_the_seed_settles_it(name):
    modality = load_modality(name)
    clean = replace(STYLES["pretraining"], effects={}, outside=0.0, padding=0.0)
    image, masks = modality.render(
        np.random.default_rng(3), modality.signs[:1], 96, modality.main_view
    )
    left = []
    for seed in range(40):
        shown, moved = acquire(
            image, masks, np.random.default_rng(seed), STYLES["pretraining"], modality.without
        )
        again, _ = acquire(
            image, masks, np.random.default_rng(seed), STYLES["pretraining"], modality.without
        )
        assert (shown == again).all()
        assert np.subtract(*np.percentile(shown, (98, 5))) > 35
        _, plain = acquire(image, masks, np.random.default_rng(seed), clean)
        left.append([sum(m.sum() for m in some.values()) for some in (moved, plain)])
    total = np.sum(left, axis=0)
    assert 0.8 * total[1] < total[0] <= total[1]


def coloured(size):
    picture, mask = disc(size)
    return np.stack([picture, 0.6 * picture, 0.3 * picture], axis=2), mask


def test_a_picture_in_colour_lies_and_is_exposed_as_a_grey_one():
    style = replace(STYLES["pretraining"], cast=0.0, saturation=(1.0, 1.0), jpeg=0.0)
    grey, mask = disc(96)
    for seed in range(12):
        shown, _masks = acquire(
            np.stack([grey] * 3, axis=2), {"disc": mask}, np.random.default_rng(seed), style
        )
        assert shown.shape == (96, 96, 3)
        assert (shown == shown[..., :1]).all()
        calm = replace(style, effects={k: v for k, v in style.effects.items() if k in OVERLAYS})
        one, moved = acquire(grey, {"disc": mask}, np.random.default_rng(seed), calm)
        three, again = acquire(
            np.stack([grey] * 3, axis=2), {"disc": mask}, np.random.default_rng(seed), calm
        )
        assert three.shape == (*one.shape, 3)
        assert (moved["disc"] == again["disc"]).mean() > 0.9


def test_colour_keeps_its_order_under_another_white_and_saturation():
    picture, mask = coloured(96)
    calm = AcquisitionStyle(cast=0.05, saturation=(0.6, 1.3))
    whites = []
    for seed in range(12):
        shown, _ = acquire(picture, {}, np.random.default_rng(seed), calm)
        red, green, blue = (shown[..., c][mask].mean() for c in range(3))
        assert red > green > blue
        whites.append(red / blue)
    assert max(whites) > 1.5 * min(whites)


def test_what_no_camera_has_is_kept_from_colour():
    style = AcquisitionStyle(effects={"invert": 1.0})
    picture, mask = coloured(96)
    shown, _ = acquire(picture, {}, np.random.default_rng(0), style)
    assert shown[mask].mean() > shown[~mask].mean()
