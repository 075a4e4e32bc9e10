"""Salted hashes of patient ids: enough to recognise a patient, too little to name one."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

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


def patient_numbers(patients: Sequence[object], count: int) -> NDArray[np.int64]:
    """A number for each image, from 0 in order of appearance, the same for images of one patient.

    Args:
        patients: id of each image's patient; empty where none is known. An image whose id is
            ``""``, None or NaN is a patient of its own.
        count: images.
    """
    ids = patients or [""] * count
    known = [p is not None and p == p and str(p) != "" for p in ids]
    keys = [f"p{p}" if told else i for i, (p, told) in enumerate(zip(ids, known, strict=True))]
    number = {key: place for place, key in enumerate(dict.fromkeys(keys))}
    return np.array([number[key] for key in keys], dtype=np.int64)


def _hash(patient: str, salt: str) -> str:
    return hashlib.pbkdf2_hmac("sha256", patient.encode(), bytes.fromhex(salt), ROUNDS).hex()
