"""Skin phantoms in colour: pictures of a dermatoscope with the signs of six kinds of lesion.

Skin tones from fair to dark, hairs, freckles, gel bubbles, uneven light and the black round
edge of the field are normal, never signs.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sdmad.phantoms.base import Category, Image, Mask, Modality
from sdmad.phantoms.skin_anatomy import anatomy
from sdmad.phantoms.skin_bodies import plan
from sdmad.phantoms.skin_signs import SIGNS

_CHANGE = 0.02  # of any of the three colours, from where a sign counts as visible


def render(
    rng: np.random.Generator, signs: Sequence[str], size: int, view: str
) -> tuple[Image, dict[str, Mask]]:
    """Draw one picture with the requested signs.

    The skin and each sign draw from their own generators, so that the same state of ``rng``
    gives the same skin whichever signs are asked for.

    Args:
        rng: source of the draw; one integer is taken from it.
        signs: names of signs that ``view`` can show.
        size: height and width in pixels, at least 96.
        view: one of the modality's views.

    Returns:
        The picture, float32 in [0, 1], shape ``(size, size, 3)``, and for each sign a boolean
        mask of shape ``(size, size)``, true where the sign changed the picture.
    """
    seed = int(rng.integers(2**32))
    skin = anatomy(np.random.default_rng([seed, 0]), size, view)
    skin.seed = seed
    skin.places = plan(np.random.default_rng([seed, 1]), signs, view == MODALITY.main_view)
    shown = skin.light * (1 - skin.cover)
    masks: dict[str, Mask] = {}
    for index, (name, sign) in enumerate(SIGNS.items()):
        if name in signs:
            before, skin.colour = skin.colour, skin.colour.copy()
            sign(skin, np.random.default_rng([seed, index + 2]))
            change = np.clip(skin.colour, 0, 1) - np.clip(before, 0, 1)
            masks[name] = np.asarray(np.abs(change).max(axis=2) * shown > _CHANGE)
            skin.colour = np.where(masks[name][..., None], skin.colour, before)
    return skin.finish(), masks


_FINE = (
    "regular_network",
    "atypical_network",
    "round_globules",
    "radial_streaks",
    "shiny_white_streaks",
    "milia_like_cysts",
)
_UNSEEN = ("central_white_patch", "fine_outer_network")

MODALITY = Modality(
    name="skin",
    title="dermoscopy of the skin",
    views={
        "dermoscopic": tuple(SIGNS),
        "clinical": tuple(name for name in SIGNS if name not in (*_FINE, *_UNSEEN)),
    },
    categories={
        "Melanoma": Category(
            own=("irregular_border", "atypical_network", "blue_white_veil"),
            shared=("many_colours", "radial_streaks", "shiny_white_streaks", "ulcer_crust"),
        ),
        "Nevus": Category(
            own=("regular_network", "round_globules", "homogeneous_brown_area"),
            shared=("radial_streaks",),
        ),
        "Basal_cell_carcinoma": Category(
            own=("arborising_vessels", "ovoid_nests"),
            shared=("ulcer_crust", "shiny_white_streaks"),
        ),
        "Seborrhoeic_keratosis": Category(
            own=("milia_like_cysts", "comedo_openings", "cerebriform_ridges"),
            shared=("many_colours",),
        ),
        "Vascular_lesion": Category(
            own=("red_lacunae", "even_red_area"),
            shared=("ulcer_crust",),
        ),
        "Dermatofibroma": Category(own=_UNSEEN),
    },
    unseen=frozenset(_UNSEEN),
    excludes=frozenset(
        frozenset(("homogeneous_brown_area", other))
        for other in ("regular_network", "round_globules")
    ),
    without=frozenset({"invert"}),
    render=render,
)
"""The skin under the dermatoscope and from afar."""
