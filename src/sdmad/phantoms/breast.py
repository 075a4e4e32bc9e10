"""Breast ultrasound phantoms: B-mode pictures with the signs of six kinds of finding.

Anatomy and signs are drawn as log-compressed echo levels (see ``ultrasound``), to which speckle
is added last. Ribs, ligament shadows, poor contact, black margins and the two fields of view are
normal anatomy or display, never signs.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sdmad.phantoms.base import Category, Image, Mask, Modality
from sdmad.phantoms.breast_anatomy import anatomy, speckle
from sdmad.phantoms.breast_signs import SIGNS
from sdmad.phantoms.ultrasound import Scan

_CHANGE = 0.02  # of the level, from where a sign counts as visible


def render(
    rng: np.random.Generator, signs: Sequence[str], size: int, view: str
) -> tuple[Image, dict[str, Mask]]:
    """Draw one picture with the requested signs.

    The anatomy and each sign draw from their own generators, so that the same state of ``rng``
    gives the same anatomy whichever signs are asked for.

    Args:
        rng: source of the draw; one integer is taken from it.
        signs: names of signs that ``view`` can show.
        size: height and width in pixels, at least 96.
        view: ``"linear"`` or ``"curved"``.

    Returns:
        The picture, float32 in [0, 1], shape ``(size, size)``, and for each sign a boolean
        mask of that shape, true where the sign changed the picture.
    """
    seed = int(rng.integers(2**32))
    normal = np.random.default_rng([seed, 0])
    scan = anatomy(normal, size, view)
    grain = speckle(normal, scan)
    masks: dict[str, Mask] = {}
    for index, (name, sign) in enumerate(SIGNS.items()):
        if name in signs:
            before, scan.level = scan.level, scan.level.copy()
            sign(scan, np.random.default_rng([seed, index + 1]))
            masks[name] = _changed(before, scan) & scan.view.inside
            scan.level = np.where(masks[name], scan.level, before)
    picture = np.where(scan.view.inside, scan.level + grain, 0)
    return np.clip(picture, 0, 1).astype(np.float32, copy=False), masks


def _changed(before: Image, scan: Scan) -> Mask:
    """Where the levels differ by what the eye can see; below black they all look alike."""
    shown = np.clip(scan.level, -0.05, 1) - np.clip(before, -0.05, 1)
    return np.asarray(np.abs(shown) > _CHANGE)


MODALITY = Modality(
    name="breast",
    title="breast ultrasound",
    views={
        "linear": tuple(SIGNS),
        "curved": tuple(name for name in SIGNS if name != "skin_thickening"),
    },
    categories={
        "Cyst": Category(
            own=("anechoic_cyst", "clustered_microcysts"),
            shared=("low_level_internal_echoes",),
        ),
        "Fibroadenoma": Category(
            own=("circumscribed_oval_mass", "lobulated_mass"),
            shared=("coarse_calcification",),
        ),
        "Carcinoma": Category(
            own=("spiculated_mass", "taller_than_wide_mass", "microlobulated_mass"),
            shared=(
                "posterior_shadow",
                "echogenic_rind",
                "punctate_calcifications",
                "skin_thickening",
            ),
        ),
        "Duct_ectasia": Category(
            own=("dilated_ducts",),
            shared=("low_level_internal_echoes", "punctate_calcifications"),
        ),
        "Abscess": Category(
            own=("fluid_debris_level", "thick_walled_collection"),
            shared=("skin_thickening", "subcutaneous_oedema", "echogenic_rind"),
        ),
        "Lymphadenopathy": Category(own=("thick_cortex_node", "node_without_hilum")),
    },
    unseen=frozenset({"thick_cortex_node", "node_without_hilum"}),
    without=frozenset({"invert"}),
    render=render,
)
"""The flat and the curved field of breast ultrasound."""
