"""Salted hashes of patient ids: enough to recognise a patient, too little to name one."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

from sdmad.progress import track

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
    def of(cls, patients: Iterable[object]) -> Self:
        """Hash ids, as text, under a fresh salt; an empty id is nobody's."""
        salt = secrets.token_hex(16)
        ids = {str(patient) for patient in patients} - {""}
        return cls(salt, tuple(sorted(_hash(patient, salt) for patient in ids)))

    def contain(self, patients: Sequence[object]) -> list[bool]:
        """Which of the given ids were hashed."""
        if not self.hashes:
            return [False] * len(patients)
        ids = [str(patient) for patient in patients]
        distinct = sorted(set(ids) - {""})
        hashed = track(distinct, "looking for the support set's patients")
        known = {patient for patient in hashed if _hash(patient, self.salt) in self.hashes}
        return [patient in known for patient in ids]


def _hash(patient: str, salt: str) -> str:
    return hashlib.pbkdf2_hmac("sha256", patient.encode(), bytes.fromhex(salt), ROUNDS).hex()
