"""What differs from a system's published code, as the README in the system's folder says it.

A README says it under headings such as ``## What differs: dra, dra-imagenet``, of any level, which
name the systems that the paragraphs below them are about. A system that stands in several headings
gets the paragraphs of all.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from importlib.resources import files

README = "README.md"
TITLE = "What differs: "


def differs_of(name: str) -> str:
    """What differs from the published code of the system called ``name``, in one line.

    Raises:
        LookupError: if no README says so.
    """
    try:
        return differences()[name]
    except KeyError:
        raise LookupError(f"no {README} in sdmad.baselines has a heading '{TITLE}{name}'") from None


@cache
def differences() -> dict[str, str]:
    """What differs, of every system that a README names."""
    package = files("sdmad.baselines")
    folders = sorted((f for f in package.iterdir() if f.is_dir()), key=lambda f: f.name)
    found = defaultdict(list)
    for readme in (folder / README for folder in (package, *folders)):
        if readme.is_file():
            for names, text in sections(readme.read_text(encoding="utf-8")):
                for name in names:
                    found[name].append(text)
    return {name: " ".join(texts) for name, texts in found.items()}


def sections(readme: str) -> Iterator[tuple[list[str], str]]:
    """The systems that each heading "What differs" names, and the text below it in one line.

    >>> readme = ["# A", "## What differs: a, a-few", "One", "thing.", "", "Another.", "## Files"]
    >>> list(sections(chr(10).join(readme)))
    [(['a', 'a-few'], 'One thing. Another.')]

    Args:
        readme: the text of a README.
    """
    for part in re.split(r"^#+ ", readme, flags=re.MULTILINE):
        title, _, paragraphs = part.partition("\n")
        if title.startswith(TITLE):
            yield title.removeprefix(TITLE).split(", "), " ".join(paragraphs.split())
