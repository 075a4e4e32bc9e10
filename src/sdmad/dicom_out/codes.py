"""Codes of the results: the standard's where it has one, else this package's own scheme."""

from __future__ import annotations

import hashlib
from typing import Any

SCHEME = "99SDMAD"
SCHEME_NAME = "sdmad, signs and scores"
LONGEST_MEANING = 64

SCORE = ("SCORE", "Score of the finding")
THRESHOLD = ("THRESHOLD", "Score above which it is found")
ABNORMALITY = ("ABNORMALITY", "How abnormal the image is")
SIMILARITY = ("SIMILARITY", "Cosine of image and sign")
DECISION = ("DECISION", "Decision")
ANSWER = ("ANSWER", "Answer at the stated error rate")
UNFAMILIAR = ("UNFAMILIAR", "Unlike the images the model was fitted on")
SIGN = ("SIGN", "Sign that decided")
IMAGE = ("IMAGE", "Image as a whole")
MAP = ("MAP", "Map of where a finding is seen")
OWN = (SCORE, THRESHOLD, ABNORMALITY, SIMILARITY, DECISION, ANSWER, UNFAMILIAR, SIGN, IMAGE, MAP)
"""Values and meanings of the scheme, beside those of the categories."""


def own(code: tuple[str, str]) -> Any:
    """A code of the scheme."""
    from highdicom.sr import CodedConcept

    value, meaning = code
    return CodedConcept(value, SCHEME, meaning)


def category(name: str) -> Any:
    """A category's code: its value comes from the name alone, so equal names have equal codes."""
    from highdicom.sr import CodedConcept

    return CodedConcept(category_value(name), SCHEME, line(name))


def category_value(name: str) -> str:
    """The value of a category's code.

    >>> category_value("Mass")
    'F10A0C5F853C3'
    """
    return f"F{hashlib.sha256(name.encode()).hexdigest()[:12].upper()}"


def line(text: str, longest: int = LONGEST_MEANING) -> str:
    r"""Text for an element of one line: no backslash, which separates values, and not too long.

    >>> line("a\\b\n" + "c" * 99)[:6]
    'a/b cc'
    """
    plain = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return plain.replace("\\", "/")[:longest].rstrip() or "-"


def schemes() -> list[Any]:
    """What identifies the scheme in an object that uses it."""
    from highdicom.coding_schemes import CodingSchemeIdentificationItem

    return [
        CodingSchemeIdentificationItem(
            SCHEME, name=SCHEME_NAME, version="1", responsible_organization="sdmad"
        )
    ]
