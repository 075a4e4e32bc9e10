"""Fundus photograph phantoms in colour: the posterior pole with the signs of six kinds of finding.

Pigmentation, a faintly tessellated choroid, reflexes, uneven light and haze are normal anatomy or
display, never signs.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sdmad.phantoms.base import Category, Image, Mask, Modality
from sdmad.phantoms.fundus_anatomy import anatomy
from sdmad.phantoms.fundus_scene import render_scene
from sdmad.phantoms.fundus_signs import SIGNS


def render(
    rng: np.random.Generator, signs: Sequence[str], size: int, view: str
) -> tuple[Image, dict[str, Mask]]:
    """Draw one picture with the requested signs: :func:`~.fundus_scene.render_scene`."""
    return render_scene(rng, signs, size, view, anatomy, SIGNS)


_MACULAR = ("geographic_atrophy", "submacular_blood", "soft_drusen")
_UNSEEN = ("grey_elevated_retina", "horseshoe_tear")

MODALITY = Modality(
    name="fundus",
    title="fundus photography",
    views={
        "macula_centred": tuple(SIGNS),
        "disc_centred": tuple(name for name in SIGNS if name not in (*_MACULAR, *_UNSEEN)),
    },
    categories={
        "Diabetic_retinopathy": Category(
            own=("dot_haemorrhages", "new_vessels"),
            shared=("hard_exudates", "cotton_wool_spots"),
        ),
        "Age_related_macular_degeneration": Category(
            own=("soft_drusen", "geographic_atrophy", "submacular_blood"),
            shared=("hard_exudates",),
        ),
        "Glaucoma": Category(
            own=("large_cup", "notched_rim", "nerve_fibre_wedge"),
            shared=("disc_haemorrhage",),
        ),
        "Vein_occlusion": Category(
            own=("flame_haemorrhages", "tortuous_veins"),
            shared=("hard_exudates", "cotton_wool_spots", "disc_haemorrhage"),
        ),
        "Myopia": Category(
            own=("disc_crescent", "lacquer_cracks"),
            shared=("strong_tessellation",),
        ),
        "Retinal_detachment": Category(own=_UNSEEN),
    },
    unseen=frozenset(_UNSEEN),
    excludes=frozenset({frozenset({"geographic_atrophy", "submacular_blood"})}),
    without=frozenset({"invert"}),
    render=render,
)
"""The macula or the disc in the middle of a colour photograph."""
