"""Thresholds at a chosen false-positive rate, from normal images that the user gives."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from sdmad.errors import InputError


def thresholds_at(normal_scores: NDArray[np.float64], rate: float) -> NDArray[np.float64]:
    """The smallest thresholds that at most a share ``rate`` of normal images exceed.

    >>> import numpy as np
    >>> thresholds_at(np.arange(20.0)[:, None], 0.05)
    array([18.])

    Args:
        normal_scores: scores of m normal images, shape ``(m, K)``.
        rate: false-positive rate a category, in (0, 1).

    Returns:
        Shape ``(K,)``; a score above its threshold is a finding.

    Raises:
        InputError: if there are fewer than ``1 / rate`` images, so that the rate cannot be told.
    """
    needed = math.ceil(1 / rate)
    if len(normal_scores) < needed:
        raise InputError(
            f"a false-positive rate of {rate:g} needs at least {needed} normal images, "
            f"got {len(normal_scores)}; give more or a larger rate"
        )
    allowed = math.floor(rate * len(normal_scores) + 1e-9)
    ordered: NDArray[np.float64] = np.sort(normal_scores, axis=0)
    return ordered[len(ordered) - 1 - allowed]
