"""UIDs that the same question always gets."""

from __future__ import annotations

import uuid

_NAMESPACE = uuid.UUID("5d2f0c1e-7c52-4d1a-9d0e-0b6f1b1d5a37")


def derived(*parts: str) -> str:
    """A UID below ``2.25.``: version 5 of RFC 4122 on the parts, as a decimal number.

    >>> derived("1.2.3", "sr") == derived("1.2.3", "sr") != derived("1.2", ".3sr")
    True
    """
    return f"2.25.{uuid.uuid5(_NAMESPACE, chr(0).join(parts)).int}"
