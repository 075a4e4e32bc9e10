"""Weights: their hash, and whether they fill a model."""

from __future__ import annotations

import hashlib
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
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def check_weights(model: torch.nn.Module, report: dict[str, Any]) -> None:
    """Refuse weights that do not fill the model exactly, or hold what is no number."""
    lost = [f"{name} is missing" for name in sorted(report["missing_keys"])]
    lost += [
        f"{name} has shape {list(found)}, not {list(expected)}"
        for name, found, expected in sorted(report["mismatched_keys"])
    ]
    lost += [
        f"{name} is too much"
        for name in sorted(report["unexpected_keys"])
        if ".encoder.layers." in name
    ]
    if lost:
        raise ModelError(
            f"the weights do not fit config.json in {len(lost)} tensors: {'; '.join(lost[:3])}"
        )
    broken = [name for name, tensor in model.named_parameters() if not tensor.isfinite().all()]
    if broken:
        raise ModelError(f"the weights hold NaN or infinite values, first in {broken[0]}")
