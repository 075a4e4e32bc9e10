"""Is an image of the kind that the detector was fitted on? By what its tower knows of it.

The evidence of the support images, each of unit length, has a mean direction; how near to it an
image of the same kind lies is told by the support images themselves, each held to the mean of the
other patients'. An image that lies farther than all but one in two hundred would is unfamiliar.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from sdmad.detector.patients import patient_numbers

FEWEST = 4
"""Patients from which on a spread can be told."""

RATE = 0.005
"""Share of the images of the support's kind that count as unfamiliar, were cosines normal."""


@dataclass(frozen=True)
class Familiarity:
    """Where images of one kind lie.

    Attributes:
        centre: mean direction of the support's evidence, unit length, ``(E,)``.
        least: cosine with it, below which an image is unfamiliar.
    """

    centre: Tensor
    least: float

    @classmethod
    def fit(cls, evidence: Tensor, patients: Sequence[object] = ()) -> Self | None:
        """Learn it from the support images; None from fewer than :data:`FEWEST` patients.

        Args:
            evidence: unit length, ``(n, E)``.
            patients: id of each image's patient, ``""`` if unknown; empty where all are.
        """
        group = torch.from_numpy(patient_numbers(patients, len(evidence)))
        count = int(group.max()) + 1
        if count < FEWEST:
            return None
        from scipy.special import stdtrit

        values = evidence.double().cpu()
        own = torch.zeros(count, values.shape[1], dtype=values.dtype).index_add(0, group, values)
        others = normalize(values.sum(dim=0) - own[group], dim=-1)
        cosines = (values * others).sum(dim=1)
        reach = -float(stdtrit(count - 1, RATE)) * np.sqrt(1 + 1 / count)
        least = float(cosines.mean() - reach * cosines.std())
        return cls(normalize(values.mean(dim=0), dim=-1).to(evidence), least)

    def margins(self, evidence: Tensor) -> Tensor:
        """How far inside images lie, ``(n,)``, by their evidence ``(n, E)``: cosines over least."""
        return evidence @ self.centre - self.least

    def unfamiliar(self, evidence: Tensor) -> Tensor:
        """Which images lie outside, boolean ``(n,)``, by their evidence ``(n, E)``."""
        return self.margins(evidence) < 0
