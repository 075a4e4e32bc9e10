"""Settings of the detector, each documented with the paper's value."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from difflib import get_close_matches
from functools import wraps
from typing import Any, Literal, get_args

from sdmad.errors import InputError
from sdmad.method.choices import Activation, Pooling, Selection, View

Evidence = Literal["none", "probe", "cross-modal"]
"""What is heard beside the signs: nothing, a linear probe on the images, or one on both."""

AS_BEFORE = "as before"
"""In a field's metadata: the value at which a setting that joined later changes nothing."""

MAX_BLOCKS = 512
"""Blocks with an adapter; the deepest published tower has 48 blocks."""

FITTED: Literal["fitted"] = "fitted"
"""A weight that the support set tells."""

FITTED_WEIGHTS = ("prior_weight", "trunk_weight")
"""Settings that may be :data:`FITTED`."""

BY_SIGNS = ("paper", "mean")
"""Rules that hold the signs to the normal anchor; all others hold the score to a threshold."""

DECISIONS = (*BY_SIGNS, "odds", "support")
LOG_ODDS = ("odds", "support", "likely")
"""Rules that need log odds."""

RATES = ("fpr", "likely")
SELECTIONS = get_args(Selection)
INFERENCE_SETTINGS = ("selection", "pooling", "decision", "evidence_weight")
"""Settings that a fitted detector can be judged under without another training."""

CHOICES = {
    "activation": get_args(Activation),
    "selection": SELECTIONS,
    "pooling": get_args(Pooling),
    "sign_view": get_args(View),
    "image_evidence": get_args(Evidence),
}
RANGES = {
    "bottleneck": (1e-6, 8.0),
    "lam": (0.0, 1.0),
    "margin": (0.0, 2.0),
    "image_text_weight": (0.0, 1e6),
    "learning_rate": (1e-12, 1e3),
    "batch_size": (1, 1 << 20),
    "epochs": (0, 1 << 20),
    "evidence_weight": (0.0, 1e6),
    "text_weight": (0.0, 1e6),
    "prior_weight": (0.0, 1e6),
    "trunk_weight": (0.0, 1e6),
    "penalty": (1e-6, 1e6),
}


def parse_decision(rule: str) -> tuple[str, float | None]:
    """Split a decision rule into its kind and the number of ``fpr:RATE`` or ``likely:CHANCE``.

    >>> parse_decision("mean"), parse_decision("fpr:0.05")
    (('mean', None), ('fpr', 0.05))

    Raises:
        InputError: if it is none of ``paper``, ``mean``, ``odds``, ``support``, ``fpr:RATE`` and
            ``likely:CHANCE`` with a number in (0, 1).
    """
    if isinstance(rule, str) and rule in DECISIONS:
        return rule, None
    kind, _, value = rule.partition(":") if isinstance(rule, str) else ("", "", "")
    try:
        rate = float(value)
    except ValueError:
        rate = math.nan
    if kind in RATES and 0 < rate < 1:
        return kind, rate
    raise InputError(
        "decision rule must be paper, mean, odds, support, fpr:RATE (fpr:0.05) or likely:CHANCE "
        f"(likely:0.5), got {rule!r}"
    )


def _with_checked_names(kind: Any) -> Any:
    """Let a dataclass refuse a name that it does not have, and say which was meant."""
    make = kind.__init__
    known = [field.name for field in fields(kind)]

    @wraps(make)
    def checked(self: Any, *values: Any, **named: Any) -> None:
        unknown = sorted(set(named) - set(known))
        if unknown:
            near = get_close_matches(unknown[0], known, 1)
            guess = f"; did you mean {near[0]}?" if near else f"; there are {', '.join(known)}"
            raise InputError(f"unknown setting {unknown[0]!r}{guess}")
        make(self, *values, **named)

    kind.__init__ = checked
    return kind


@_with_checked_names
@dataclass(frozen=True, repr=False)
class SDMADConfig:
    """How SD-MAD is trained and how it decides.

    ``SDMADConfig()`` is what we recommend, chosen on validation phantoms that no reported table
    uses; :meth:`paper` is the paper to the letter. Each attribute names the paper's value.

    Attributes:
        image_blocks: image blocks with an adapter, counted from 1; None takes the paper's 6, 8,
            18, 24 of 24 as fractions of the depth.
        text_blocks: text blocks with an adapter; None takes the last, as in the paper.
        bottleneck: width of an adapter's bottleneck as a fraction of the tower's (.75).
        lam: lambda of Eq. 2 (.8).
        activation: of the adapters: leaky_relu, gelu or identity (leaky_relu).
        margin: added inside both hinges of Eq. 4 (0). It keeps the embeddings from collapsing.
        image_text_weight: weight of Eq. 3 in Eq. 5 (1). A small one keeps them from collapsing.
        learning_rate: of Adam with betas .5 and .999 (.001).
        batch_size: images a step (8).
        epochs: passes over the support set; the last one is kept (50).
        selection: which signs are used: paper (Eq. 6) or none, all of them (paper).
        pooling: how a category's kept signs make its score: max (Eq. 7) or mean (max).
        decision: paper (Eq. 8: the smallest kept cosine exceeds the anchor's), mean (their mean
            exceeds it), odds (the log odds of cross-modal evidence exceed 0), support (they exceed
            the threshold of the largest F1 over support images that no fit saw), likely:CHANCE (the
            probability at a stated prevalence exceeds it) or fpr:RATE, which takes thresholds from
            normal images (paper).
        sign_view: whose cosine with a sign counts in a category's score: image, the class token's;
            patch, that of the patch most like the sign; or auto, patch where pretraining taught the
            backbone's patches what signs look like (image).
        image_evidence: none; probe: add to the signs' score that of a linear probe on what the
            adapted image tower knows of the support set; or cross-modal: a probe on images and
            sentences whose log odds start from the signs' score (none).
        evidence_weight: of the evidence ``probe`` against the signs, both standardised (no value).
        text_weight: of cross-modal evidence: of all sentences beside the images (no value).
        prior_weight: of cross-modal evidence: of the standardised signs' score in the log odds, a
            number; or fitted: that under which images that a fit did not see are likeliest, for
            words may say much of one kind of image and little of another (no value).
        trunk_weight: of cross-modal evidence: of what a trunk trained on photographs sees beside
            what the rest of the tower sees, where a backbone has such a trunk, as the embedded one;
            a number, or fitted as ``prior_weight`` (no value).
        penalty: of cross-modal evidence: of the squared weights (no value).
    """

    image_blocks: tuple[int, ...] | None = None
    text_blocks: tuple[int, ...] | None = None
    bottleneck: float = 0.75
    lam: float = 0.8
    activation: Activation = "leaky_relu"
    margin: float = 0.2
    image_text_weight: float = 0.1
    learning_rate: float = 1e-3
    batch_size: int = 8
    epochs: int = 0
    selection: Selection = "none"
    pooling: Pooling = "mean"
    decision: str = "odds"
    image_evidence: Evidence = "cross-modal"
    evidence_weight: float = 1.0
    sign_view: View = "auto"
    text_weight: float = 1.0
    prior_weight: float | Literal["fitted"] = FITTED
    trunk_weight: float | Literal["fitted"] = field(default=1.0, metadata={AS_BEFORE: 1.0})
    penalty: float = 30.0

    def __post_init__(self) -> None:
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise InputError(
                    f"{name} must be one of {', '.join(choices)}, got {getattr(self, name)!r}"
                )
        kind = parse_decision(self.decision)[0]
        if kind in LOG_ODDS and self.image_evidence != "cross-modal":
            raise InputError(
                f"the decision rule {kind} needs log odds: image_evidence must be cross-modal, got "
                f"{self.image_evidence!r}; give decision='mean' too"
            )
        for name, (low, high) in RANGES.items():
            value = getattr(self, name)
            if name in FITTED_WEIGHTS and value == FITTED:
                continue
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not (number and low <= value <= high):
                raise InputError(f"{name} must lie in [{low:g}, {high:g}], got {value!r}")
        for name in ("batch_size", "epochs"):
            if not isinstance(getattr(self, name), int):
                raise InputError(f"{name} must be a whole number, got {getattr(self, name)!r}")
        for name in ("image_blocks", "text_blocks"):
            blocks = getattr(self, name)
            if blocks is not None:
                _check_blocks(name, blocks)
                object.__setattr__(self, name, tuple(blocks))

    def __repr__(self) -> str:
        told = {f.name: getattr(self, f.name) for f in fields(self)}
        defaults = {f.name: f.default for f in fields(self)}
        changed = [f"{name}={value!r}" for name, value in told.items() if value != defaults[name]]
        return f"SDMADConfig({', '.join(changed)})"

    @classmethod
    def paper(cls, **changes: Any) -> SDMADConfig:
        """The paper to the letter; ``changes`` replace single values.

        >>> SDMADConfig.paper().margin, SDMADConfig.paper(lam=0.5).lam
        (0.0, 0.5)
        """
        values: dict[str, Any] = {
            "margin": 0.0,
            "image_text_weight": 1.0,
            "epochs": 50,
            "selection": "paper",
            "pooling": "max",
            "decision": "paper",
            "sign_view": "image",
            "image_evidence": "none",
        }
        return cls.from_dict({**values, **changes})

    def replace(self, **changes: Any) -> SDMADConfig:
        """The same settings with some of them changed.

        Raises:
            InputError: if a name is unknown or a value out of range.
        """
        return type(self).from_dict({**self.to_dict(), **changes})

    def signs_alone(self) -> SDMADConfig:
        """The same settings for whole images' signs without image evidence."""
        by_odds = parse_decision(self.decision)[0] in LOG_ODDS
        rule = "mean" if by_odds else self.decision
        return self.replace(image_evidence="none", sign_view="image", decision=rule)

    def to_dict(self) -> dict[str, Any]:
        """The settings as plain values, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> SDMADConfig:
        """The settings from plain values.

        Raises:
            InputError: if a name is unknown or a value out of range.
        """
        return cls(**values)


def _check_blocks(name: str, blocks: Any) -> None:
    fine = (
        isinstance(blocks, (list, tuple))
        and 0 < len(blocks) <= MAX_BLOCKS
        and all(isinstance(b, int) and not isinstance(b, bool) and b >= 1 for b in blocks)
        and list(blocks) == sorted(set(blocks))
    )
    if not fine:
        raise InputError(f"{name} must be ascending block numbers from 1, got {blocks!r}")
