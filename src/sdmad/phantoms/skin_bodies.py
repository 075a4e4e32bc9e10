"""Where the lesions of a picture of the skin lie, and the bodies on which signs are seen.

Signs of one kind of lesion share a body; the first of them draws it, so that it belongs to that
sign's mask. A body draws from a generator of its own: it looks the same whichever sign draws it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from sdmad.phantoms.base import Image
from sdmad.phantoms.skin_scene import BLOOD, MELANIN, Place, Skin
from sdmad.phantoms.ultrasound_scan import ANGLE, Lesion, wavy

KINDS: dict[str, tuple[str, ...]] = {
    "irregular_border": ("dark",),
    "atypical_network": ("dark",),
    "blue_white_veil": ("dark",),
    "many_colours": ("dark", "waxy"),
    "radial_streaks": ("dark", "mole"),
    "regular_network": ("mole",),
    "round_globules": ("mole",),
    "homogeneous_brown_area": ("mole",),
    "arborising_vessels": ("pearly",),
    "ovoid_nests": ("pearly",),
    "ulcer_crust": ("pearly", "dark", "red"),
    "shiny_white_streaks": ("pearly", "dark"),
    "milia_like_cysts": ("waxy",),
    "comedo_openings": ("waxy",),
    "cerebriform_ridges": ("waxy",),
    "red_lacunae": ("red",),
    "even_red_area": ("red",),
    "central_white_patch": ("scar",),
    "fine_outer_network": ("scar",),
}
"""The kinds of lesion on which a sign is seen; it brings the first along where there is none."""


def plan(rng: np.random.Generator, signs: Sequence[str], close: bool) -> dict[str, Place]:
    """Row, column and reach of each kind of lesion that the signs need.

    Args:
        rng: source of the draw.
        signs: what will be drawn.
        close: whether a lone lesion fills most of the picture.
    """
    kinds = {KINDS[sign][0] for sign in signs if len(KINDS[sign]) == 1}
    for sign in sorted(signs):
        if not kinds & set(KINDS[sign]):
            kinds.add(KINDS[sign][0])
    order, count = [str(kind) for kind in rng.permutation(sorted(kinds))], len(kinds)
    scale = 1.0 if close else 0.55
    if count <= 1:
        far, reach = rng.uniform(0, 0.12) if close else rng.uniform(0, 0.45), (0.5, 0.76)
    else:
        far, reach = 0.5 + 0.02 * count, {2: (0.36, 0.46), 3: (0.3, 0.4)}.get(count, (0.22, 0.3))
    turn = rng.uniform(0, 2 * np.pi)
    angles = turn + 2 * np.pi * np.arange(count) / max(count, 1)
    return {
        kind: (far * np.sin(a), far * np.cos(a), scale * rng.uniform(*reach))
        for kind, a in zip(order, angles, strict=True)
    }


def _mottled(skin: Skin, rng: np.random.Generator, lesion: Lesion, soft: float) -> Image:
    """Cover of a body's box that is a little uneven."""
    box, inside, _, _ = lesion.measure(skin)
    uneven = 1 + 0.12 * skin.texture(rng, "cloud")[box] + 0.06 * skin.texture(rng, "grain")[box]
    return np.asarray(lesion.cover(skin, inside, soft) * uneven, np.float32)


def shape(
    skin: Skin, rng: np.random.Generator, kind: str, ratio: float, bumps: tuple[float, int, int]
) -> Lesion:
    """A closed shape at the place of its kind, entered as the body of that kind.

    Args:
        skin: where it lies.
        rng: source of the draw.
        kind: of lesion.
        ratio: lesser to larger half axis.
        bumps: amount and lowest and highest number of turns of the outline's waves.
    """
    row, col, reach = skin.places[kind]
    lesion = Lesion(row, col, reach, reach * ratio, rng.uniform(0, np.pi), wavy(rng, *bumps))
    skin.bodies[kind] = lesion
    return lesion


def mole(skin: Skin, rng: np.random.Generator) -> Lesion:
    """Light to middle brown oval of even outline that fades at its edge."""
    lesion = shape(skin, rng, "mole", rng.uniform(0.75, 0.97), (0.04, 2, 4))
    box = lesion.measure(skin)[0]
    cover = _mottled(skin, rng, lesion, rng.uniform(5, 9))
    skin.stain(box, rng.uniform(0.3, 0.5) * cover, MELANIN)
    return lesion


def jagged(rng: np.random.Generator) -> Image:
    """Outline with deep notches and bays along one side, shape ``(360,)``."""
    outline = wavy(rng, rng.uniform(0.1, 0.16), 2, 12)
    first = rng.uniform(0, 2 * np.pi)
    for _ in range(int(rng.integers(3, 6))):
        off = np.abs((ANGLE - first - rng.uniform(0, 3.4) + np.pi) % (2 * np.pi) - np.pi)
        bay = np.clip(1 - (off / rng.uniform(0.12, 0.4)) ** 2, 0, 1)
        outline = outline - rng.uniform(0.2, 0.42) * bay
    return np.asarray(np.maximum(outline / outline.max(), 0.3), np.float32)


def dark(skin: Skin, rng: np.random.Generator) -> Lesion:
    """Dark brown body of unequal halves, one side darker than the other."""
    lesion = shape(skin, rng, "dark", rng.uniform(0.7, 0.9), (0.11, 2, 4))
    darken(skin, rng, lesion, 3.0)
    return lesion


def darken(skin: Skin, rng: np.random.Generator, lesion: Lesion, soft: float) -> None:
    """Stain a body dark brown, more on one side."""
    box, _, angle, _ = lesion.measure(skin)
    side = 1 + 0.35 * np.cos(ANGLE - rng.uniform(0, 2 * np.pi)).astype(np.float32)
    uneven = side[angle] if rng.random() < 0.2 else 1 + 0.2 * skin.texture(rng, "cloud")[box]
    cover = _mottled(skin, rng, lesion, soft) * np.clip(uneven, 0.5, 1.6)
    skin.stain(box, rng.uniform(0.65, 1.0) * np.asarray(cover, np.float32), MELANIN)


def pearly(skin: Skin, rng: np.random.Generator) -> Lesion:
    """Pink, milky, slightly shining plaque."""
    lesion = shape(skin, rng, "pearly", rng.uniform(0.75, 0.97), (0.08, 2, 5))
    box = lesion.measure(skin)[0]
    cover = _mottled(skin, rng, lesion, 6.0)
    skin.paint(box, np.clip(0.5 * cover, 0, 1), (0.9, 0.7, 0.68))
    skin.stain(box, rng.uniform(0.22, 0.36) * cover, BLOOD)
    return lesion


def waxy(skin: Skin, rng: np.random.Generator) -> Lesion:
    """Tan to brown plaque of dull surface, cut off sharply from the skin."""
    lesion = shape(skin, rng, "waxy", rng.uniform(0.7, 0.95), (0.08, 2, 7))
    box, inside, _, _ = lesion.measure(skin)
    cover = _mottled(skin, rng, lesion, 1.2)
    skin.paint(box, np.clip(0.55 * cover, 0, 1), (0.72, 0.57, 0.4))
    skin.stain(box, rng.uniform(0.15, 0.5) * cover, MELANIN)
    rim = np.exp(-((inside / (2.5 * skin.pixel) - 0.6) ** 2)) * lesion.cover(skin, inside)
    skin.stain(box, np.asarray(0.25 * rim, np.float32), MELANIN)
    return lesion


def red(skin: Skin, rng: np.random.Generator) -> Lesion:
    """Pale red body with a soft edge."""
    lesion = shape(skin, rng, "red", rng.uniform(0.75, 0.97), (0.07, 2, 5))
    box = lesion.measure(skin)[0]
    skin.stain(box, rng.uniform(0.25, 0.4) * _mottled(skin, rng, lesion, 5.0), BLOOD)
    return lesion


def scar(skin: Skin, rng: np.random.Generator) -> Lesion:
    """Faint pinkish brown round body that fades into the skin."""
    lesion = shape(skin, rng, "scar", rng.uniform(0.85, 1.0), (0.05, 2, 4))
    box = lesion.measure(skin)[0]
    cover = _mottled(skin, rng, lesion, 10.0)
    skin.stain(box, rng.uniform(0.2, 0.32) * cover, MELANIN)
    skin.stain(box, rng.uniform(0.08, 0.16) * cover, BLOOD)
    return lesion


_DRAW: Mapping[str, Callable[[Skin, np.random.Generator], Lesion]] = {
    "mole": mole, "dark": dark, "pearly": pearly, "waxy": waxy, "red": red, "scar": scar,
}  # fmt: skip


def body(skin: Skin, rng: np.random.Generator, sign: str) -> Lesion:
    """The lesion on which a sign is seen, drawn now where nothing has drawn it yet."""
    kinds = [kind for kind in KINDS[sign] if kind in skin.places]
    kind = kinds[int(rng.integers(len(kinds)))]
    if kind not in skin.bodies:
        _DRAW[kind](skin, np.random.default_rng([skin.seed, 1, 1 + list(_DRAW).index(kind)]))
    return skin.bodies[kind]
