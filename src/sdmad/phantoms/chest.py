"""Chest X-ray phantoms: categories of ChestX-ray8, their signs, and the renderer."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from sdmad.phantoms.base import Category, Image, Mask, Modality
from sdmad.phantoms.chest_anatomy import frontal, lateral
from sdmad.phantoms.chest_scene import between
from sdmad.phantoms.chest_signs import SIGNS, draw_sign

LATERAL = (
    "flat_diaphragm", "blunted_angle", "meniscus_fluid", "hyperlucent_lungs", "ground_glass_haze",
    "consolidation", "patchy_opacity", "reticular_lines", "honeycombing", "cavity", "mass",
    "nodule", "multiple_nodules", "band_opacity",
)  # fmt: skip

CATEGORIES = {
    "Atelectasis": Category(
        own=("band_opacity", "volume_loss_shift"), shared=("elevated_diaphragm",)
    ),
    "Cardiomegaly": Category(own=("large_heart",), shared=("fissure_fluid",)),
    "Effusion": Category(
        own=("blunted_angle", "meniscus_fluid"), shared=("fissure_fluid", "elevated_diaphragm")
    ),
    "Infiltration": Category(own=("patchy_opacity",), shared=("ground_glass_haze",)),
    "Mass": Category(own=("mass",), shared=("cavity",)),
    "Nodule": Category(own=("nodule", "multiple_nodules"), shared=("cavity",)),
    "Pneumonia": Category(own=("lobar_opacity",), shared=("ground_glass_haze", "cavity")),
    "Pneumothorax": Category(
        own=("pleural_line", "deep_sulcus", "collapsed_lung"), shared=("bulla",)
    ),
    "Consolidation": Category(own=("consolidation",), shared=("ground_glass_haze",)),
    "Edema": Category(
        own=("batwing_haze", "interstitial_lines"), shared=("fissure_fluid", "ground_glass_haze")
    ),
    "Emphysema": Category(own=("flat_diaphragm", "hyperlucent_lungs"), shared=("bulla",)),
    "Fibrosis": Category(
        own=("reticular_lines", "honeycombing"), shared=("apical_cap", "elevated_diaphragm")
    ),
    "Pleural_Thickening": Category(own=("pleural_band",), shared=("apical_cap",)),
    "Hernia": Category(own=("retrocardiac_gas_bubble", "air_fluid_level_behind_heart")),
}

EXCLUDES = (
    ("blunted_angle", "meniscus_fluid"), ("blunted_angle", "deep_sulcus"),
    ("nodule", "multiple_nodules"), ("flat_diaphragm", "elevated_diaphragm"),
    ("flat_diaphragm", "meniscus_fluid"), ("flat_diaphragm", "deep_sulcus"),
    ("elevated_diaphragm", "deep_sulcus"),
    *combinations(("pleural_line", "collapsed_lung", "volume_loss_shift"), 2),
)  # fmt: skip


def _collimate(image: Image, masks: dict[str, Mask], rng: np.random.Generator, size: int) -> None:
    """Blank out what lies outside the collimated field: black or white strips at the border."""
    value = np.float32(0.02 if rng.random() < 0.7 else 0.97)
    for edge in range(4):
        width = int(between(rng, 0.02, 0.08) * size) if rng.random() < 0.5 else 0
        strip = slice(0, width) if edge < 2 else slice(size - width, size)
        where = (strip, slice(None)) if edge % 2 else (slice(None), strip)
        image[where] = value
        for mask in masks.values():
            mask[where] = False


def render(
    rng: np.random.Generator, signs: Sequence[str], size: int = 128, view: str = "frontal"
) -> tuple[Image, dict[str, Mask]]:
    """Draw one chest radiograph.

    The anatomy depends on ``rng`` alone; each sign has a generator of its own, so that adding a
    sign changes nothing but what its mask covers.

    Args:
        rng: source of every draw.
        signs: names of signs that the view can show.
        size: side in pixels, 96 or more.
        view: ``"frontal"`` or ``"lateral"``.

    Returns:
        The picture, float32 in [0, 1], shape ``(size, size)``, and a boolean mask a sign.
    """
    key, collimated = int(rng.integers(2**62)), rng.random() < 0.2
    scene = frontal(rng, size) if view == "frontal" else lateral(rng, size)
    masks = {
        name: draw_sign(scene, name, np.random.default_rng([key, index]))
        for index, name in enumerate(SIGNS)
        if name in signs
    }
    image = np.clip(scene.show(scene.attenuation), 0, 1)
    if collimated:
        _collimate(image, masks, np.random.default_rng([key, len(SIGNS)]), size)
    return image, {name: masks[name] for name in signs}


MODALITY = Modality(
    name="chest",
    title="chest X-ray",
    views={"frontal": tuple(SIGNS), "lateral": LATERAL},
    categories=CATEGORIES,
    unseen=frozenset({"retrocardiac_gas_bubble", "air_fluid_level_behind_heart"}),
    excludes=frozenset(frozenset(pair) for pair in EXCLUDES),
    multi_label=True,
    render=render,
)
"""The frontal and lateral chest X-ray."""
