"""Brain MRI phantom: slices in three planes and four contrasts, with sixteen signs.

A seed fixes the anatomy; each sign draws from a generator of its own, so that the same head can
be shown with and without a sign.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import numpy as np

from sdmad.phantoms.base import Category, Image, Mask, Modality
from sdmad.phantoms.brain_anatomy import SEQUENCES, Scene, Section, changed, draw_tissue
from sdmad.phantoms.brain_axial import axial
from sdmad.phantoms.brain_planes import coronal, sagittal
from sdmad.phantoms.brain_signs import PAINTERS

_VIEWS: dict[str, Callable[..., Scene]] = {"axial": axial, "sagittal": sagittal, "coronal": coronal}

SIGNS = ("midline_shift", *PAINTERS)
_ANY_PLANE = (
    "skull_defect", "scalp_deformity", "resection_cavity", "solid_mass", "ring_enhancing_lesion",
    "dark_susceptibility_spot", "small_bright_focus", "many_bright_foci", "large_ventricles",
    "wide_sulci", "surrounding_gliosis",
)  # fmt: skip
VIEWS: dict[str, tuple[str, ...]] = {
    "axial": SIGNS,
    "sagittal": _ANY_PLANE,
    "coronal": (
        *_ANY_PLANE,
        "midline_shift",
        "periventricular_halo",
        "confluent_white_matter_haze",
    ),
}
CATEGORIES: dict[str, Category] = {
    "Craniotomy": Category(
        own=("skull_defect", "scalp_deformity"),
        shared=("dark_susceptibility_spot", "midline_shift"),
    ),
    "Posttreatment change": Category(
        own=("resection_cavity", "surrounding_gliosis"),
        shared=("ring_enhancing_lesion", "dark_susceptibility_spot", "midline_shift"),
    ),
    "Nonspecific lesion": Category(
        own=("small_bright_focus", "solid_mass"), shared=("ring_enhancing_lesion",)
    ),
    "Dural thickening": Category(own=("bright_dural_rim", "thick_falx")),
    "Enlarged ventricles": Category(
        own=("large_ventricles",), shared=("wide_sulci", "periventricular_halo")
    ),
    "Small vessel chronic white matter ischemic change": Category(
        own=("many_bright_foci", "confluent_white_matter_haze"),
        shared=("periventricular_halo", "wide_sulci", "dark_susceptibility_spot"),
    ),
}


# Sequences on which a sign looks as its wordings say; signs that are not listed show on all.
SHOWN_ON: dict[str, tuple[str, ...]] = {
    "resection_cavity": ("t1", "t1c", "flair"),
    "surrounding_gliosis": ("t2", "flair"),
    "small_bright_focus": ("t2", "flair", "t1c"),
    "many_bright_foci": ("t2", "flair"),
    "ring_enhancing_lesion": ("t1c", "flair"),
    "solid_mass": ("t1c", "t2", "flair"),
    "bright_dural_rim": ("t1c", "flair"),
    "thick_falx": ("t1c", "flair"),
    "periventricular_halo": ("flair",),
    "confluent_white_matter_haze": ("t2", "flair"),
    "dark_susceptibility_spot": ("t2", "flair", "t1c"),
}
NEEDS_VENTRICLES = frozenset({"large_ventricles", "periventricular_halo", "midline_shift"})
NEEDS_HEMISPHERES = NEEDS_VENTRICLES | {
    "wide_sulci", "thick_falx", "bright_dural_rim", "many_bright_foci",
    "confluent_white_matter_haze",
}  # fmt: skip
_SEQUENCE_WEIGHTS = {"t1": 0.22, "t2": 0.24, "flair": 0.3, "t1c": 0.24}
_LEVELS: dict[str, dict[str, float]] = {
    "axial": {"ganglia": 0.34, "bodies": 0.3, "semiovale": 0.21, "fossa": 0.15},
    "sagittal": {"midline": 0.65, "lateral": 0.35},
    "coronal": {"middle": 0.65, "posterior": 0.35},
}


def _choose(rng: np.random.Generator, weights: dict[str, float], allowed: Collection[str]) -> str:
    names = [n for n in weights if n in allowed]
    rest = rng.random() * sum(weights[n] for n in names)
    for name in names:
        rest -= weights[name]
        if rest < 0:
            return name
    return names[-1]


def _level(rng: np.random.Generator, view: str, signs: Collection[str]) -> str:
    """A slice level that shows what the signs need."""
    allowed = set(_LEVELS[view])
    if NEEDS_HEMISPHERES & set(signs):
        allowed.discard("fossa")
    if NEEDS_VENTRICLES & set(signs):
        allowed.discard("semiovale")
    return _choose(rng, _LEVELS[view], allowed)


def _sequence(rng: np.random.Generator, signs: Collection[str]) -> str:
    """A sequence on which all signs show; FLAIR, after contrast or not, always does."""
    allowed = set(SEQUENCES)
    for sign in signs:
        allowed &= set(SHOWN_ON.get(sign, SEQUENCES))
    return _choose(rng, _SEQUENCE_WEIGHTS, allowed)


def stream(seed: int, index: int) -> np.random.Generator:
    """One of 64 independent generators of a seed: 0 and 1 for the head, the others for signs."""
    return np.random.Generator(np.random.PCG64(64 * seed + index))


def build(seed: int, size: int, view: str, signs: Collection[str], shift: float = 0.0) -> Scene:
    """Paint the normal head of one seed.

    Args:
        seed: fixes the anatomy, level and contrast.
        size: side of the picture in pixels.
        view: ``axial``, ``sagittal`` or ``coronal``.
        signs: what the level and the sequence must be able to show.
        shift: displacement of the midline, in head units; positive towards the right.
    """
    rng = stream(seed, 0)
    level = _level(rng, view, signs)
    sequence = _sequence(rng, signs)
    scene = _VIEWS[view](rng, Section(size, draw_tissue(rng, sequence), sequence, level, shift))
    low, high = scene.span
    for _ in range(6):
        scene.site = float(rng.uniform(low, high))
        u, v = scene.at(scene.site, 1.06)
        if max(abs(u * scene.half + scene.centre[1]), abs(v * scene.half + scene.centre[0])) < 1:
            break
    return scene


def _texture(scene: Scene, seed: int) -> Image:
    """Multiplicative texture of tissue: fine grain and a slow drift."""
    rng = stream(seed, 1)
    everything = (slice(None), slice(None))
    fine = scene.patch(rng, everything, 60) * np.float32(rng.uniform(0.015, 0.05))
    slow = scene.patch(rng, everything, 8) * np.float32(rng.uniform(0.01, 0.05))
    return 1 + fine + slow


def compose(
    seed: int, signs: Sequence[str], size: int, view: str, like: Sequence[str] | None = None
) -> tuple[Image, dict[str, Mask]]:
    """Draw the head of a seed with the given signs.

    Args:
        seed: fixes anatomy, contrast, level and the look of every sign.
        signs: names from :data:`SIGNS`.
        size: side of the picture in pixels, 96 or more.
        view: a key of :data:`VIEWS`.
        like: choose level and contrast as for these signs, to compare pictures of one head.

    Returns:
        The picture, float32 in [0, 1], and one mask a sign.

    Raises:
        KeyError: if a sign or the view is unknown.
    """
    plan = signs if like is None else like
    scene = build(seed, size, view, plan)
    masks: dict[str, Mask] = {}
    if "midline_shift" in signs:
        rng = stream(seed, 2)
        shift = float(rng.uniform(0.07, 0.14) * rng.choice([-1, 1]))
        moved = build(seed, size, view, plan, shift)
        mask = changed(scene.image, moved.image)
        np.copyto(moved.image, scene.image, where=~mask)
        masks["midline_shift"], scene = mask, moved
    for index, (name, painter) in enumerate(PAINTERS.items()):
        if name in signs:
            before = scene.image.copy()
            painter(scene, stream(seed, 3 + index))
            mask = changed(before, scene.image)
            np.copyto(scene.image, before, where=~mask)
            masks[name] = mask
    image = np.clip(scene.image * _texture(scene, seed), 0, 1).astype(np.float32)
    return image, {name: masks[name] for name in signs}


def render(
    rng: np.random.Generator, signs: Sequence[str], size: int = 128, view: str = "axial"
) -> tuple[Image, dict[str, Mask]]:
    """Draw one slice; see :data:`sdmad.phantoms.base.Modality`."""
    return compose(int(rng.integers(2**31)), signs, size, view)


MODALITY = Modality(
    name="brain",
    title="brain MRI",
    views=VIEWS,
    categories=CATEGORIES,
    unseen=frozenset({"bright_dural_rim", "thick_falx"}),
    render=render,
    excludes=frozenset({frozenset({"small_bright_focus", "many_bright_foci"})}),
    multi_label=True,
    without=frozenset({"invert"}),
)
