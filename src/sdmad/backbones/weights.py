"""Weights: their hash, and whether they fill a model."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError

from sdmad.errors import ModelError, SDMADError

# What the readers of configurations, weights and tokenizers raise on damaged files.
DAMAGED = (
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    RuntimeError,
    SafetensorError,
    StrictDataclassError,
)
PANIC = "PanicException"  # what a mistake inside a Rust library becomes; no Exception


class Reading(AbstractContextManager[None]):
    """Turn what a reader raises on a damaged file into a ModelError of one line.

    The tokenizers library raises plain ``Exception``, which no ``except`` could tell from a mistake
    of ours; here the exact type is compared.

    >>> with Reading("tokenizer.json is not readable"):
    ...     raise Exception("no variant of enum Normalizer")
    Traceback (most recent call last):
    ...
    sdmad.errors.ModelError: tokenizer.json is not readable (no variant of enum Normalizer)

    Args:
        complaint: what to say before the reader's own words.

    Raises:
        ModelError: for damage; any other error passes.
    """

    def __init__(self, complaint: str) -> None:
        self.complaint = complaint

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Complain about damage, let everything else pass."""
        if kind is None or issubclass(kind, SDMADError):
            return
        if kind is Exception or kind.__name__ == PANIC or issubclass(kind, DAMAGED):
            reason = " ".join(str(error).split()) or kind.__name__
            if kind is not Exception and not issubclass(kind, OSError | SafetensorError):
                reason = f"{kind.__name__}: {reason}"
            raise ModelError(f"{self.complaint} ({reason[:300]})") from error


def hash_weights(model: torch.nn.Module) -> str:
    """SHA-256 over a model's tensors, by name, shape, type and bytes."""
    return hash_tensors(model.state_dict())


def hash_tensors(tensors: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 over tensors, by name, shape, type and bytes."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        flat = tensor.detach().cpu().contiguous().flatten().view(torch.uint8)
        digest.update(flat.numpy().data)
    return digest.hexdigest()


def check_weights(model: torch.nn.Module, report: dict[str, Any]) -> None:
    """Refuse weights that do not fill the model exactly, or hold what is no number."""
    mismatched = {name: (found, expected) for name, found, expected in report["mismatched_keys"]}
    _complain(report["missing_keys"], mismatched, report["unexpected_keys"])
    broken = [name for name, tensor in model.named_parameters() if not tensor.isfinite().all()]
    if broken:
        raise ModelError(f"the weights hold NaN or infinite values, first in {broken[0]}")


def complain_of_misfits(
    wanted: Mapping[str, tuple[int, ...]],
    found: Mapping[str, tuple[int, ...]],
    unexpected: Iterable[str],
) -> None:
    """Refuse shapes that are not those wanted, and blocks that nobody wants.

    Args:
        wanted: shape of each tensor by its name.
        found: the same, of the checkpoint.
        unexpected: names that are not wanted; buffers among them do not matter.

    Raises:
        ModelError: naming the first three.
    """
    mismatched = {
        name: (found[name], shape)
        for name, shape in wanted.items()
        if name in found and found[name] != shape
    }
    _complain(set(wanted) - set(found), mismatched, unexpected)


def _complain(
    missing: Iterable[str],
    mismatched: Mapping[str, tuple[Sequence[int], Sequence[int]]],
    unexpected: Iterable[str],
) -> None:
    lost = [f"{name} is missing" for name in sorted(missing)]
    lost += [
        f"{name} has shape {list(found)}, not {list(expected)}"
        for name, (found, expected) in sorted(mismatched.items())
    ]
    lost += [
        f"{name} is too much"
        for name in sorted(unexpected)
        if ".encoder.layers." in name or ".head." in name
    ]
    if lost:
        raise ModelError(
            f"the weights do not fit config.json in {len(lost)} tensors: {'; '.join(lost[:3])}"
        )
