"""What published checkpoints were trained with, and what to do when two sources disagree.

Activation, mean and deviation are settled among three voices: the checkpoint's own files, what is
known of its weights (by name, by the name of the model they started from), and what the
user states. A statement is never ignored: whoever disagrees must be outvoted, by two who agree, or
it is an error that says how to mend it.

| checkpoint | known | stated | result |
| --- | --- | --- | --- |
| a | - or a | - or a | a |
| a | b | - | error |
| a | b | a | a |
| a | b | b | b |
| a | - or a | b | error |
| - | b | - or b | b |
| - | - | c | c |
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from sdmad.backbones.files import hub_name
from sdmad.errors import ModelError

Channels = tuple[float, float, float]

OPENAI_MEAN = (0.48145466, 0.4578275, 0.40821073)
OPENAI_STD = (0.26862954, 0.26130258, 0.27577711)
HALVES = (0.5, 0.5, 0.5)
QUICK_GELU, GELU, TANH_GELU = "quick_gelu", "gelu", "gelu_pytorch_tanh"
ACTIVATIONS = (QUICK_GELU, GELU, TANH_GELU)
# The names under which transformers has the same function.
SAME_FUNCTION = {
    "gelu_python": GELU,
    "gelu_new": TANH_GELU,
    "gelu_fast": TANH_GELU,
    "gelu_python_tanh": TANH_GELU,
}
CLOSE = 1e-3  # means and deviations are printed with three to eight digits


@dataclass(frozen=True)
class Known:
    """What a family of checkpoints was trained with.

    Attributes:
        names: hub names, lower case, with wildcards.
        activation: of both towers.
        mean: of the three channels, in [0, 1] units.
        std: of the three channels, in [0, 1] units.
    """

    names: tuple[str, ...]
    activation: str
    mean: Channels
    std: Channels


KNOWN = (
    Known(
        ("openai/clip-vit-*-patch*", "flaviagiammarino/pubmed-clip-vit-*-patch*"),
        QUICK_GELU,
        OPENAI_MEAN,
        OPENAI_STD,
    ),
    # The one LAION-2B model that was trained with halves (open_clip's table of weights says so).
    Known(("laion/clip-vit-l-14-laion2b-*",), GELU, HALVES, HALVES),
    Known(("laion/clip-vit-*-laion2b-*",), GELU, OPENAI_MEAN, OPENAI_STD),
    Known(
        ("google/siglip-*-patch*", "google/siglip2-*-patch*", "google/medsiglip-*"),
        TANH_GELU,
        HALVES,
        HALVES,
    ),
)


@dataclass(frozen=True)
class Overrides:
    """What the user states about a checkpoint; None where nothing.

    Raises:
        ModelError: if a value is no activation, or not three usable numbers.
    """

    activation: str | None = None
    mean: Sequence[float] | None = None
    std: Sequence[float] | None = None

    def __post_init__(self) -> None:
        if self.activation is not None and self.activation not in ACTIVATIONS:
            raise ModelError(
                f"activation must be one of {', '.join(ACTIVATIONS)}, got {self.activation!r}"
            )
        for name in ("mean", "std"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, _channels(name, value))

    def given(self) -> dict[str, Any]:
        """The values that are stated, as plain values for JSON."""
        values = {
            "activation": self.activation,
            "mean": None if self.mean is None else list(self.mean),
            "std": None if self.std is None else list(self.std),
        }
        return {name: value for name, value in values.items() if value is not None}


def _channels(name: str, value: object) -> Channels:
    numbers = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else []
    if len(numbers) != 3 or not all(
        isinstance(n, int | float) and math.isfinite(n) and (n > 0 or name == "mean")
        for n in numbers
    ):
        raise ModelError(
            f"{name} must be three finite numbers{', above zero' if name == 'std' else ''}, "
            f"got {value!r}"
        )
    return (float(numbers[0]), float(numbers[1]), float(numbers[2]))


@dataclass(frozen=True)
class Recognised:
    """A known family and by what it was recognised.

    Attributes:
        known: what it was trained with.
        by: for messages.
        derived: whether the checkpoint only started from the family's weights, so that mean and
            deviation may be its own.
    """

    known: Known
    by: str
    derived: bool = False


def recognise(folder: Path, started_from: object) -> Recognised | None:
    """Find a checkpoint among the known ones.

    Args:
        folder: where it is: in the hub's cache (``models--OWNER--NAME``) or a folder named as on
            the hub, with or without the owner.
        started_from: ``_name_or_path`` of its config.json.
    """
    name = hub_name(folder)
    for known in KNOWN:
        if any(_fits(name, pattern) for pattern in known.names):
            return Recognised(known, f"its name {name}")
    if isinstance(started_from, str):
        for known in KNOWN:
            if any(fnmatch(started_from.lower(), pattern) for pattern in known.names):
                return Recognised(known, f"config.json's _name_or_path {started_from}", True)
    return None


def _fits(name: str, pattern: str) -> bool:
    owner, _, rest = pattern.partition("/")
    forms = (pattern, rest, *(f"{owner}{joint}{rest}" for joint in ("--", "-", "_")))
    if "/" in name:
        forms = (pattern,)
    return any(fnmatch(name.lower(), form) for form in forms)


@dataclass(frozen=True)
class Voice:
    """One source's value and how to name the source."""

    value: Any
    source: str


def settle(
    what: str,
    mend: str,
    voices: tuple[Voice | None, Voice | None, Voice | None],
    same: Callable[[Any, Any], bool],
    default: Any,
) -> Any:
    """The value that stands by the table above.

    Args:
        what: ``"activation"``, ``"mean"`` or ``"std"``.
        mend: where the checkpoint's own value stands, for the error.
        voices: the checkpoint's, what is known, what is stated; None where silent.
        same: whether two values are the same.
        default: where all are silent.

    Raises:
        ModelError: naming both ways to mend a contradiction.
    """
    checkpoint, known, stated = voices
    if stated is not None:
        others = [voice for voice in (checkpoint, known) if voice is not None]
        if not others or any(same(stated.value, voice.value) for voice in others):
            return stated.value
        said = " and ".join(f"{show(voice.value)} by {voice.source}" for voice in others)
        keep = " and leave the statement as it is" if known is not None else ""
        raise ModelError(
            f"{what}={show(stated.value)} was stated, but it is {said}. Either leave {what}= out, "
            f"or, if {show(stated.value)} is right, write it into the checkpoint ({mend}){keep}."
        )
    if checkpoint is None:
        return default if known is None else known.value
    if known is not None and not same(checkpoint.value, known.value):
        raise ModelError(
            f"{what} is {show(checkpoint.value)} by {checkpoint.source}, but the model was trained "
            f"with {show(known.value)}, going by {known.source}. Either mend the checkpoint "
            f"({mend}: {show(known.value)}), or state which is right: "
            f"load_backbone(..., {what}={show(known.value)}) or {what}={show(checkpoint.value)}."
        )
    return checkpoint.value


def show(value: Any) -> str:
    """A value as a person would type it."""
    if isinstance(value, str):
        return repr(value)
    if isinstance(value[0], str):  # one activation a tower
        return show(value[0]) if value[0] == value[1] else " and ".join(map(show, value))
    return "(" + ", ".join(f"{number:.6g}" for number in value) + ")"


def function(activation: str) -> str:
    """The one name of an activation that ``transformers`` has under several.

    >>> function("gelu_new"), function("quick_gelu")
    ('gelu_pytorch_tanh', 'quick_gelu')
    """
    return SAME_FUNCTION.get(activation, activation)


def same_activation(one: str | Sequence[str], other: str | Sequence[str]) -> bool:
    """Whether two activations, or two towers' each, are all the same function."""
    values = [[value] if isinstance(value, str) else list(value) for value in (one, other)]
    return len({function(name) for value in values for name in value}) == 1


def same_channels(one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether two means or deviations are the same but for rounding."""
    return all(abs(a - b) <= CLOSE for a, b in zip(one, other, strict=True))


def settle_activation(
    own: tuple[str, str], known: Recognised | None, overrides: Overrides
) -> tuple[str, str]:
    """The activation of the image and of the text tower that stands.

    Args:
        own: what ``config.json`` says of each.
        known: what is known of the checkpoint.
        overrides: what the user states.

    Raises:
        ModelError: naming both ways to mend a contradiction.
    """
    stated = overrides.activation
    value = settle(
        "activation",
        "hidden_act of vision_config and text_config in config.json",
        (
            Voice(own, "config.json"),
            None if known is None else Voice(known.known.activation, known.by),
            None if stated is None else Voice(stated, "activation="),
        ),
        same_activation,
        own,
    )
    image, text = (value, value) if isinstance(value, str) else value
    return image, text


def joined(activations: tuple[str, str]) -> str:
    """Both towers' activation as one text, with a ``/`` between where they differ."""
    return "/".join(dict.fromkeys(function(name) for name in activations))
