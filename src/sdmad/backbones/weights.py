"""Weights: their hash, and whether they fill a model."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError, safe_open
from torch import Tensor

from sdmad.backbones.files import check_room, weight_files
from sdmad.errors import ModelError
from sdmad.inputs import bounded

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


def hash_tensors(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over tensors, by name, shape, type and bytes."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        flat = tensor.detach().cpu().contiguous().flatten().view(torch.uint8)
        digest.update(flat.numpy().data)
    return digest.hexdigest()


def read_tensors(folder: Path, wanted: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Exactly the tensors that a model needs, float32, by their names in the checkpoint.

    Args:
        folder: that :func:`~sdmad.backbones.files.check_files` has passed; what lies in which of
            its shards is read from the shards, whatever an index says.
        wanted: shape of each tensor by its name.

    Raises:
        ModelError: if one is missing, too much, there twice, of another shape, or holds what is no
            number.
    """
    files = weight_files(folder)
    count = sum(torch.Size(shape).numel() for shape in wanted.values())
    found: dict[str, Tensor] = {}
    unexpected = []
    for path in files:
        with (
            bounded(f"{path} is no readable safetensors file", ModelError),
            safe_open(path, "pt") as stored,
        ):
            check_room(folder, count, files)
            for name in stored.keys():  # noqa: SIM118  # it is no mapping
                if name in found:
                    raise ModelError(f"{folder}: {name} stands in two files")
                if name in wanted:
                    found[name] = stored.get_tensor(name).to(torch.float32, copy=True)
                else:
                    unexpected.append(name)
    shapes = {name: tuple(tensor.shape) for name, tensor in found.items()}
    try:
        complain_of_misfits(wanted, shapes, unexpected)
        broken = [name for name in wanted if not found[name].isfinite().all()]
        if broken:
            raise ModelError(f"the weights hold NaN or infinite values, first in {broken[0]}")
    except ModelError as error:
        raise ModelError(f"{folder}: {error}") from error
    return found


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
