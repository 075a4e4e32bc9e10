"""Files on disk that are held to a manifest: SHA-256 of each, and JSON read within bounds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sdmad import inputs
from sdmad.errors import ModelError

MAX_JSON = 50_000_000


def file_hash(path: Path) -> str:
    """SHA-256 of a file, hexadecimal.

    Raises:
        ModelError: if it cannot be read.
    """
    return inputs.file_hash(path, ModelError)


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file of a model or an export.

    Raises:
        ModelError: if it is not readable, too large, or holds no object.
    """
    return inputs.read_json(path, MAX_JSON, ModelError)


def read_manifest(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """A manifest, and the SHA-256 of each file that it lists.

    Raises:
        ModelError: if it is not readable, or lists no files.
    """
    content = read_json(path)
    files = content.get("files")
    if not isinstance(files, dict):
        raise altered(path)
    return content, files


def altered(manifest: Path) -> ModelError:
    """The error for a manifest that does not hold what was written into it."""
    return ModelError(
        f"{manifest.parent}: {manifest.name} was altered; copy the whole directory again"
    )


def check_file(manifest: Path, files: dict[str, Any], name: str, again: str) -> None:
    """Hold one file to its manifest.

    Args:
        manifest: beside the file.
        files: SHA-256 of each file, as :func:`read_manifest` gives them.
        name: of the file.
        again: what writes the directory anew, such as ``"fit again"``.

    Raises:
        ModelError: if it is not listed, missing, truncated or altered.
    """
    folder = manifest.parent
    if name not in files:
        raise ModelError(f"{folder}: {manifest.name} does not list {name}; {again}")
    if not (folder / name).is_file():
        raise ModelError(f"{folder}: {name} is missing; copy the whole directory again")
    if file_hash(folder / name) != files[name]:
        raise ModelError(
            f"{folder}: {name} is truncated or was altered since it was written (its SHA-256 is "
            f"not the one in {manifest.name}); copy the directory again or {again}"
        )
