"""Text that may quote a stranger's: for people one bounded line, for programs the very bytes."""

from __future__ import annotations

import codecs
import unicodedata

LONGEST = 2000
"""Characters of a message; what is longer quotes something without end."""

AS_BYTES = "sdmad.bytes"
"""Error handler for output that programs read: what an encoding cannot hold is written as bytes.

A byte of a file name in another encoding is written as that byte (``surrogateescape``), a letter as
UTF-8, so that names match those of the files whatever the terminal; other surrogates as escapes.
"""


def readable(text: str) -> str:
    r"""Text that may quote a stranger's, on one line of bounded length.

    Control characters, lone surrogates and marks that turn the direction of writing become
    escapes; of too long a text the middle is left out.

    >>> print(readable("a\x1b[31m\nb"))
    a\x1b[31m\nb
    """
    text = _shortened(text)
    if text.isprintable():
        return text
    marks = (
        c if c.isprintable() or unicodedata.category(c) == "Zs" else ascii(c)[1:-1] for c in text
    )
    return _shortened("".join(marks))


def as_argument(text: object) -> str:
    """A path or a name as it is given on a command line: in quotation marks where it has a space.

    >>> print(as_argument("my clip"), as_argument("owner/clip"))
    "my clip" owner/clip
    """
    return f'"{text}"' if " " in str(text) else str(text)


def without_surrogates(text: str) -> str:
    r"""Text that every program can read: lone surrogates become escapes, as JSON has them.

    >>> print(without_surrogates("na\udcefve"))
    na\udcefve
    """
    return text.encode("utf-8", "backslashreplace").decode()


def _shortened(text: str) -> str:
    half = LONGEST // 2
    return text if len(text) <= LONGEST else f"{text[: half - 3]} ... {text[2 - half :]}"


def _as_bytes(error: UnicodeError) -> tuple[bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return b"".join(map(_bytes_of, error.object[error.start : error.end])), error.end


def _bytes_of(character: str) -> bytes:
    number = ord(character)
    if 0xDC80 <= number <= 0xDCFF:
        return bytes([number - 0xDC00])
    return character.encode("utf-8", "backslashreplace")


codecs.register_error(AS_BYTES, _as_bytes)
