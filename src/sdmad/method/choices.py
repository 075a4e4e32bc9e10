"""Names of what the paper leaves open or this package adds; no torch, so that they cost nothing."""

from typing import Literal

Activation = Literal["leaky_relu", "gelu", "identity"]
"""Of an adapter (Eq. 1)."""

Selection = Literal["paper", "none"]
"""Which signs are used: those that Eq. 6 keeps, or all."""

View = Literal["image", "patch", "auto"]
"""Whose cosine with a sign counts: the image's (Eq. 7) or its most similar patch's."""

Pooling = Literal["max", "mean"]
"""How a category's kept signs make its score: Eq. 7, or their mean."""
