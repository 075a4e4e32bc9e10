"""Files of tokenizers: what a library runs of ``tokenizer.json`` on a sentence, held to bounds.

Its normalizer may replace text by longer text, again and again: a few lines can ask for more memory
than there is, and the library then ends the process.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from sdmad.backbones.files import read_json
from sdmad.errors import ModelError

MOST_STEPS = 64
MOST_CHARACTERS = 1_000_000
"""Of all steps together; the longest are tables of Unicode's characters."""

LONGEST_GROWTH = 1000
"""By how much the steps may lengthen a sentence, all together."""

SENTENCEPIECE = "spiece.model"
_PARTS = ("normalizer", "pre_tokenizer", "post_processor")


def needs_sentencepiece() -> str:
    """What to install before ``spiece.model`` can be read; "" where it is there."""
    if find_spec("sentencepiece") and find_spec("google") and find_spec("google.protobuf"):
        return ""
    return (
        f"there is no tokenizer.json, and {SENTENCEPIECE} needs packages that are not installed: "
        'pip install "sdmad[sentencepiece]", or add the tokenizer.json of the same model'
    )


def check_steps(path: Path) -> None:
    """Refuse a tokenizer whose steps could make a sentence grow without bounds.

    Raises:
        ModelError: if it is not readable, has too many steps, too long ones, or they let a sentence
            grow too much.
    """
    content = read_json(path)
    parts = [content.get(part) for part in _PARTS]
    steps = [step for part in parts for step in _steps(part)]
    growth = 1
    for step in steps:
        growth *= _growth(step)
    if (
        len(steps) > MOST_STEPS
        or growth > LONGEST_GROWTH
        or len(json.dumps(parts)) > MOST_CHARACTERS
    ):
        raise ModelError(
            f"{path.name}: its {', '.join(_PARTS)} are no tokenizer's; they could make a sentence "
            "grow without bounds"
        )


def _steps(part: Any) -> Iterator[dict[str, Any]]:
    """Every object in a part that has a type, however deep."""
    waiting = [part]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            if isinstance(one.get("type"), str):
                yield one
            waiting += one.values()
        elif isinstance(one, list):
            waiting += one


def _growth(step: dict[str, Any]) -> int:
    """By how much a step lengthens a text at most, where it is what may do so without bounds."""
    template = step.get("single")
    if step["type"] == "TemplateProcessing" and isinstance(template, list):
        return max(1, len(template))
    content = step.get("content")
    if step["type"] != "Replace" or not isinstance(content, str):
        return 1
    pattern = step.get("pattern")
    plain = pattern.get("String") if isinstance(pattern, dict) else None
    if isinstance(plain, str) and plain:
        return max(1, -(-len(content) // len(plain)))
    return 1 + len(content)  # it may stand between any two characters
