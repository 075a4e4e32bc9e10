"""The first part of a multipart answer as a file, as it comes: memory stays small."""

from __future__ import annotations

from collections.abc import Iterator
from email.message import Message
from pathlib import Path
from typing import BinaryIO

from sdmad.errors import SDMADError

LONGEST_HEAD = 1 << 16
"""Bytes before the content of a part at most."""

_LINE = b"\r\n"


def write_first_part(pieces: Iterator[bytes], content_type: str, path: Path) -> None:
    """Write the first part of an answer to a file, or all of an answer that has no parts.

    Args:
        pieces: of the answer's body.
        content_type: its header: ``multipart/related`` with a boundary, or ``application/dicom``.
        path: the file.

    Raises:
        SDMADError: if the answer is of another type, or breaks off.
    """
    header = Message()
    header["Content-Type"] = content_type
    kind, boundary = header.get_content_type(), header.get_boundary()
    with path.open("wb") as file:
        if kind == "application/dicom":
            for piece in pieces:
                file.write(piece)
        elif kind == "multipart/related" and boundary:
            _write_part(pieces, b"--" + boundary.encode("latin-1", "replace"), file)
        else:
            raise SDMADError("the server answers with no DICOM file")


def _write_part(pieces: Iterator[bytes], mark: bytes, file: BinaryIO) -> None:
    held, inside, end = b"", False, _LINE + mark
    for piece in pieces:
        held += piece
        if not inside:
            start, head = held.find(mark), -1
            if start >= 0:
                head = held.find(_LINE * 2, start)
            if head < 0:
                if len(held) > LONGEST_HEAD:
                    break
                continue
            held, inside = held[head + len(_LINE * 2) :], True
        place = held.find(end)
        if place >= 0:
            file.write(held[:place])
            return
        done = max(0, len(held) - len(end) + 1)  # the mark may lie across two pieces
        file.write(held[:done])
        held = held[done:]
    raise SDMADError("the server's answer breaks off")
