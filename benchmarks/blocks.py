"""Parts of one page that several studies write, each between its own marks."""

from __future__ import annotations

from pathlib import Path

from sdmad.output import write_text


def marks(name: str) -> tuple[str, str]:
    """The lines before and behind a part."""
    return f"<!-- {name} -->\n", f"<!-- end of {name} -->\n"


def block_of(path: Path, name: str) -> str:
    """A part with its marks; empty where the page or the part is missing."""
    first, last = marks(name)
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    if first not in text or last not in text:
        return ""
    return first + text.partition(first)[2].partition(last)[0] + last


def put_block(path: Path, name: str, text: str) -> None:
    """Replace a part of a page, or add it at the end."""
    first, last = marks(name)
    new, old = f"{first}{text.rstrip()}\n{last}", block_of(path, name)
    page = path.read_text(encoding="utf-8") if path.exists() else ""
    write_text(path, page.replace(old, new) if old else f"{page.rstrip()}\n\n{new}")
