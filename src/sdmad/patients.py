"""Salted hashes of patient ids: enough to recognise a patient, too little to name one."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

ROUNDS = 2_000


@dataclass(frozen=True)
class PatientHashes:
    """Hashes of some patients' ids (PBKDF2-HMAC-SHA256 with a salt of this model's own).

    Attributes:
        salt: hexadecimal.
        hashes: hexadecimal, sorted.
    """

    salt: str
    hashes: tuple[str, ...]

    @classmethod
    def of(cls, patients: Iterable[str]) -> Self:
        """Hash ids under a fresh salt."""
        salt = secrets.token_hex(16)
        return cls(salt, tuple(sorted({_hash(p, salt) for p in set(patients)})))

    def contain(self, patients: Sequence[str]) -> list[bool]:
        """Which of the given ids were hashed."""
        if not self.hashes:
            return [False] * len(patients)
        known = {p: _hash(p, self.salt) in self.hashes for p in set(patients)}
        return [known[p] for p in patients]


def _hash(patient: str, salt: str) -> str:
    return hashlib.pbkdf2_hmac("sha256", patient.encode(), bytes.fromhex(salt), ROUNDS).hex()
