"""Stub."""

from pathlib import Path
from typing import Any

from sdmad.data.tasks import TASKS, Answer


def ask(task: str, path: Path, **arguments: Any) -> Answer:
    """Do a task."""
    return TASKS[task](path, **arguments)


def ask_for(task: str, path: Path, **arguments: Any) -> dict[str, Any]:
    """Fields."""
    found = ask(task, path, **arguments)
    assert isinstance(found, dict)
    return found


def ask_for_pixels(task: str, path: Path, **arguments: Any) -> Any:
    """Pixels."""
    return ask(task, path, **arguments)
