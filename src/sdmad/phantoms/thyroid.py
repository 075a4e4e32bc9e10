"""Thyroid ultrasound phantoms: B-mode pictures of the neck with the signs of six kinds of finding.

Trachea, vessels, gullet, muscles and spine are normal anatomy, never signs.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sdmad.phantoms.base import Category, Image, Mask, Modality
from sdmad.phantoms.thyroid_anatomy import anatomy
from sdmad.phantoms.thyroid_signs import SIGNS
from sdmad.phantoms.ultrasound_scan import render_scan


def render(
    rng: np.random.Generator, signs: Sequence[str], size: int, view: str
) -> tuple[Image, dict[str, Mask]]:
    """Draw one picture with the requested signs: :func:`~.ultrasound_scan.render_scan`."""
    return render_scan(rng, signs, size, view, anatomy, SIGNS)


_UNSEEN = ("node_with_black_spaces", "bright_speckled_node")

MODALITY = Modality(
    name="thyroid",
    title="thyroid ultrasound",
    views={
        "transverse": tuple(SIGNS),
        "longitudinal": tuple(name for name in SIGNS if name not in (*_UNSEEN, "thick_isthmus")),
    },
    categories={
        "Colloid_nodule": Category(
            own=("spongiform_nodule", "comet_tail_foci"),
            shared=("mixed_cystic_solid",),
        ),
        "Follicular_adenoma": Category(
            own=("isoechoic_nodule_with_halo",),
            shared=("mixed_cystic_solid", "rim_calcification"),
        ),
        "Papillary_carcinoma": Category(
            own=("hypoechoic_irregular_nodule", "tall_nodule"),
            shared=("punctate_echogenic_foci", "rim_calcification"),
        ),
        "Thyroiditis": Category(own=("patchy_dark_parenchyma", "echogenic_septa")),
        "Goitre": Category(own=("enlarged_lobe", "thick_isthmus"), shared=("mixed_cystic_solid",)),
        "Nodal_metastasis": Category(own=_UNSEEN),
    },
    unseen=frozenset(_UNSEEN),
    without=frozenset({"invert"}),
    render=render,
)
"""Thyroid ultrasound across and along the neck."""
