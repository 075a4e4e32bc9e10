"""Do named tensors in a file fill a model exactly?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import safe_open
from torch import nn

from sdmad.errors import ModelError
from sdmad.inputs import bounded

Model = TypeVar("Model", bound=nn.Module)
NAMED = 3  # tensors that a complaint names one by one


def load_filled(
    path: Path,
    build: Callable[[], Model],
    *,
    rename: Callable[[str], str] = str,
    unused: Callable[[str], bool] = lambda _: False,
) -> Model:
    """Build a model and fill it from a safetensors file, or refuse a file that does not fit.

    Names and shapes are compared before the model gets any memory, so that a configuration can
    ask for no more than the file holds.

    Args:
        path: the safetensors file.
        build: makes the model; called twice, first without memory.
        rename: brings a tensor's name, in the file and in the model, into one notation.
        unused: whether a name of that notation may be in the file although the model has no such
            tensor (buffers that older libraries saved).

    Returns:
        The model in float32, on the CPU, in evaluation mode, frozen.

    Raises:
        ModelError: naming what is missing, too much or of another shape; or if the file is not
            readable, or holds NaN or infinite values.
    """
    with torch.device("meta"):
        expected = {rename(k): tuple(t.shape) for k, t in build().state_dict().items()}
    with (
        bounded(f"{path.name} is no readable safetensors file", ModelError),
        safe_open(path, framework="pt") as file,
    ):
        names = _names(list(file.keys()), rename, unused)
        shapes = {k: tuple(file.get_slice(names[k]).get_shape()) for k in names}
        _compare(expected, shapes, path.name)
        with torch.random.fork_rng(devices=[]):
            model = build()
        for name, own in model.state_dict().items():
            tensor = file.get_tensor(names[rename(name)])
            if not tensor.isfinite().all():
                raise ModelError(
                    f"{path.name} holds NaN or infinite values, first in {names[rename(name)]}"
                )
            own.copy_(tensor)
    model.float().eval().requires_grad_(False)
    return model


def _names(
    keys: list[str], rename: Callable[[str], str], unused: Callable[[str], bool]
) -> dict[str, str]:
    """Name in the common notation to name in the file."""
    names: dict[str, str] = {}
    for key in sorted(keys):
        name = rename(key)
        if unused(name):
            continue
        if name in names:
            raise ModelError(f"{names[name]} and {key} are one tensor under two names; delete one")
        names[name] = key
    return names


def _compare(
    expected: Mapping[str, tuple[int, ...]], given: Mapping[str, tuple[int, ...]], file: str
) -> None:
    missing = sorted(expected.keys() - given.keys())
    extra = sorted(given.keys() - expected.keys())
    other = [k for k in sorted(expected.keys() & given.keys()) if expected[k] != given[k]]
    shapes = [f"{k} is {list(given[k])}, not {list(expected[k])}" for k in other]
    parts = [
        f"{len(found)} {what}: {'; '.join(found[:NAMED])}" + ("; ..." if found[NAMED:] else "")
        for what, found in (("missing", missing), ("too many", extra), ("of another shape", shapes))
        if found
    ]
    if parts:
        raise ModelError(
            f"{file} does not fit the model, of whose {len(expected)} tensors "
            f"{len(expected) - len(missing) - len(other)} fit. {'. '.join(parts)}"
        )
