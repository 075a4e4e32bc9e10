"""Breast ultrasound phantoms: B-mode pictures with the signs of six kinds of finding.

Anatomy and signs are drawn as log-compressed echo levels (see ``ultrasound``), to which speckle
is added last. Ribs, ligament shadows, poor contact, black margins and the two fields of view are
normal anatomy or display, never signs.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sdmad.phantoms.base import Category, Image, Mask, Modality
from sdmad.phantoms.breast_anatomy import anatomy
from sdmad.phantoms.breast_signs import SIGNS
from sdmad.phantoms.ultrasound_scan import render_scan


def render(
    rng: np.random.Generator, signs: Sequence[str], size: int, view: str
) -> tuple[Image, dict[str, Mask]]:
    """Draw one picture with the requested signs: :func:`~.ultrasound_scan.render_scan`."""
    return render_scan(rng, signs, size, view, anatomy, SIGNS)


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
