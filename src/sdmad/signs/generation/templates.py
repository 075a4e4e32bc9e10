"""The prompts: text files that anybody can read, and replace by a folder of their own.

A file holds text with places such as ``${modality}``; a dollar sign is written ``$$``. What is put
in a place is JSON, so that a category's name stands in quotes as data, whatever it says, and it is
put in once: places within a name are not filled.
"""

from __future__ import annotations

import hashlib
import importlib.resources
import json
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from sdmad.errors import InputError
from sdmad.inputs import read_text
from sdmad.signs.generation.request import Question
from sdmad.signs.generation.schema import Candidate
from sdmad.signs.generation.style import MAX_WORDS

Message = dict[str, str]

MAX_TEMPLATE = 50_000
PLACES: Mapping[str, tuple[frozenset[str], frozenset[str]]] = MappingProxyType(
    {
        "system": (frozenset(), frozenset({"modality"})),
        "signs": (
            frozenset({"modality", "category", "count"}),
            frozenset({"others", "words", "naming", "shared"}),
        ),
        "normal": (frozenset({"modality", "count"}), frozenset({"others", "words"})),
        "repair": (frozenset({"complaints", "missing"}), frozenset({"accepted"})),
    }
)
"""For each prompt, the places that it must have and those that it may have as well."""


@dataclass(frozen=True)
class PromptTemplates:
    """The four prompts.

    Attributes:
        texts: template text by name: ``system``, ``signs``, ``normal`` and ``repair``.
    """

    texts: Mapping[str, str]

    @classmethod
    def load(cls, folder: Path | None = None) -> PromptTemplates:
        """Read the packaged prompts, or those of a folder in their place.

        Args:
            folder: holds some or all of ``system.md``, ``signs.md``, ``normal.md`` and
                ``repair.md``; for what it lacks the packaged file stands.

        Raises:
            InputError: if the folder has none of them, or one cannot be used; the message names
                the file.
        """
        packaged = importlib.resources.files("sdmad.signs.generation") / "prompts"
        texts = {name: (packaged / f"{name}.md").read_text(encoding="utf-8") for name in PLACES}
        if folder is not None:
            own = {name: folder / f"{name}.md" for name in PLACES if _there(folder / f"{name}.md")}
            if not own:
                known = ", ".join(f"{name}.md" for name in PLACES)
                raise InputError(f"{folder}: no prompts there; it may hold {known}")
            texts |= {name: read_text(path, MAX_TEMPLATE) for name, path in own.items()}
            for name, path in own.items():
                _check(texts[name], name, path)
        return cls(texts)

    def opening(self, question: Question) -> list[Message]:
        """The messages that ask a question."""
        values = {
            "modality": _json(question.modality),
            "category": _json(question.category),
            "others": _json(list(question.others)),
            "count": str(question.count),
            "words": str(MAX_WORDS),
            "naming": str(question.most_naming),
            "shared": str(question.most_shared),
        }
        asked = "signs" if question.category else "normal"
        return [
            {"role": "system", "content": self._fill("system", values)},
            {"role": "user", "content": self._fill(asked, values)},
        ]

    def repair(
        self, complaints: Sequence[str], accepted: Sequence[Candidate], missing: int
    ) -> Message:
        """The message that sends the complaints back."""
        values = {
            "complaints": "\n".join(f"- {line}" for line in complaints),
            "accepted": _json([candidate.text for candidate in accepted]),
            "missing": str(missing),
        }
        return {"role": "user", "content": self._fill("repair", values)}

    def _fill(self, name: str, values: Mapping[str, str]) -> str:
        return string.Template(self.texts[name]).substitute(values).strip()


def prompt_hash(messages: Sequence[Message]) -> str:
    """SHA-256 of messages as they are sent, 64 hexadecimal digits."""
    return hashlib.sha256(_json(list(messages)).encode()).hexdigest()


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _there(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error


def _check(text: str, name: str, path: Path) -> None:
    template = string.Template(text)
    if not template.is_valid():
        raise InputError(
            f"{path}: a dollar sign stands there that begins no place such as ${{modality}}; "
            "write $$ for a dollar sign"
        )
    needed, more = PLACES[name]
    given = set(template.get_identifiers())
    unknown = sorted(given - needed - more)
    if unknown:
        known = ", ".join(f"${{{place}}}" for place in sorted(needed | more))
        raise InputError(f"{path}: nothing is known for ${{{unknown[0]}}}; the places are {known}")
    missing = sorted(needed - given)
    if missing:
        raise InputError(f"{path}: ${{{missing[0]}}} is missing; the prompt cannot do without it")
