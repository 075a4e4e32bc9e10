"""Weights: their hash, and whether they fill a model."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError

from sdmad.errors import ModelError

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
