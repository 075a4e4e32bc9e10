"""Text features of a normal and an abnormal state: many sentences a state, averaged.

Jeong et al., WinCLIP, CVPR 2023, introduced such compositions of states and templates; MVFA and
AA-CLIP have their own.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import normalize

from sdmad.backbones import Backbone

Phrases = tuple[str, ...]

NORMAL_STATES: Phrases = (
    "{}",
    "flawless {}",
    "perfect {}",
    "unblemished {}",
    "{} without flaw",
    "{} without defect",
    "{} without damage",
)
"""WinCLIP's, which MVFA and UniVAD take."""

ABNORMAL_STATES: Phrases = (
    "damaged {}",
    "broken {}",
    "{} with flaw",
    "{} with defect",
    "{} with damage",
)
"""MVFA's and UniVAD's."""

ADJECTIVES = (
    "bad",
    "good",
    "bright",
    "dark",
    "blurry",
    "cropped",
    "close-up",
    "low resolution",
    "black and white",
    "jpeg corrupted",
)
ARTICLES = ("a", "the")
PHOTO_TEMPLATES: Phrases = (
    *(f"a {adjective} photo of {a} {{}}." for adjective in ADJECTIVES for a in ARTICLES),
    *(f"a photo of {a} {{}}." for a in (*ARTICLES, "my", "one")),
    *(f"a photo of {a} {kind} {{}}." for a in ARTICLES for kind in ("cool", "large", "small")),
)
SCENE_TEMPLATES: Phrases = (
    *(f"there is {a} {{}} in the scene." for a in ARTICLES),
    *(f"this is {a} {{}} in the scene." for a in (*ARTICLES, "one")),
)


def category_words(category: str) -> str:
    """A category's name as a sentence has it.

    >>> category_words("Pleural_Thickening")
    'pleural thickening'
    """
    return category.replace("_", " ").lower()


def category_states(category: str) -> Phrases:
    """The abnormal state that a category's detector is told, around what the thing is called.

    >>> category_states("Pleural_Thickening")
    ('{} with pleural thickening',)
    """
    return (f"{{}} with {category_words(category)}",)


def compose(states: Sequence[str], templates: Sequence[str], name: str) -> list[str]:
    """Every state of a thing in every template.

    >>> compose(["{}", "damaged {}"], ["a photo of {}."], "brain")
    ['a photo of brain.', 'a photo of damaged brain.']

    Args:
        states: such as ``"damaged {}"``.
        templates: such as ``"a photo of a {}."``.
        name: what the thing is called.
    """
    return [template.format(state.format(name)) for state in states for template in templates]


def mean_direction(embeddings: Tensor) -> Tensor:
    """The mean of unit-length embeddings ``(S, D)``, made unit-length again: ``(D,)``."""
    return normalize(embeddings.mean(dim=0), dim=0)


def encode_states(backbone: Backbone, normal: Sequence[str], abnormal: Sequence[str]) -> Tensor:
    """Unit-length text features of the two states, ``(2, D)``: normal, abnormal.

    Args:
        backbone: whose text tower to use.
        normal: sentences of the normal state.
        abnormal: sentences of the abnormal state.
    """
    return torch.stack([mean_direction(backbone.encode_text(list(s))) for s in (normal, abnormal)])
