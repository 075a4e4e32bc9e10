"""What the process does that reads a pickle: PyTorch's restricted loader, and nothing else.

It knows tensors and plain containers; the name of anything else in the file is told, not looked up.
"""

from __future__ import annotations

import json
import os
import pickle
import re
import signal
import sys
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from sdmad.processes import address_space, bound
from sdmad.text import readable

NESTED = ("state_dict", "model_state_dict", "model")
"""Keys under which training checkpoints keep the weights."""

PREFIX = "module."
"""Before every name where several GPUs trained."""

GROWTH = 2
"""By how much tensors may be more than their file: a tensor may have two names."""

COPIES, BESIDE = 3, 1 << 30
"""Memory for a file's reader: so many times the file, and so many bytes."""

MOST_TENSORS, LONGEST_NAME = 100_000, 500
DTYPES = frozenset(
    {torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.bool}
    | {torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8}
)
DAMAGED = "damaged, or no checkpoint: download it again"
_GLOBAL = re.compile(r"GLOBAL ([\w.]+)")
_NO_MEMORY = re.compile(r"not enough memory|[Cc]annot allocate memory|can't allocate memory")


class RefusedError(Exception):
    """What is wrong with the file, for a person."""


def serve(network: str) -> None:
    """Do what the standard input asks and answer on the standard output, in JSON.

    Args:
        network: what holds of the network, given back with the answer.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever asks decides when it is over
    request = json.load(sys.stdin)
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what libraries print
    source, target = Path(request["source"]), Path(request["target"])
    size = source.stat().st_size
    seconds = int(request["seconds"])
    bound(address_space() + COPIES * size + BESIDE, seconds, GROWTH * size + (1 << 24))
    if hasattr(signal, "alarm"):
        signal.alarm(seconds + 5)  # should nobody end it
    answers.write(json.dumps({"network": network, **_answer(source, target)}))
    answers.close()


def _answer(source: Path, target: Path) -> dict[str, Any]:
    try:
        return convert(source, target)
    except RefusedError as error:
        return {"error": readable(str(error))}
    except MemoryError:
        return {"error": "it takes more memory to read than a file of its size may"}
    except Exception as error:
        if _NO_MEMORY.search(str(error)):
            return {"error": "it takes more memory to read than a file of its size may"}
        reason = " ".join(str(error).split())[:200]
        return {"error": readable(f"{DAMAGED} ({type(error).__name__}: {reason})")}


def convert(source: Path, target: Path) -> dict[str, Any]:
    """Read a pickled checkpoint and write its tensors as safetensors.

    Returns:
        Where in the checkpoint they were (``nested``), and what was left out (``left``).

    Raises:
        RefusedError: if it holds anything but plain tensors, or more of them than it has bytes.
    """
    content = _load(source)
    state, nested, left = _weights(content)
    prefixed = all(isinstance(name, str) and name.startswith(PREFIX) for name in state)
    named = {name.removeprefix(PREFIX): t for name, t in state.items()} if prefixed else state
    room = GROWTH * source.stat().st_size
    save_file(_plain(named, room), target, metadata={"format": "pt"})
    return {"nested": nested + [PREFIX] * prefixed, "left": left[:10]}


def _load(source: Path) -> Any:
    archive = zipfile.is_zipfile(source)
    if archive:
        with zipfile.ZipFile(source) as opened:
            if any(part.compress_type != zipfile.ZIP_STORED for part in opened.infolist()):
                raise RefusedError("it holds compressed parts, which torch.save never writes")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(source, map_location="cpu", weights_only=True, mmap=archive)
    except pickle.UnpicklingError as error:
        found = _GLOBAL.search(str(error))
        if found is None:
            raise RefusedError(f"it was not written by torch.save, or it is {DAMAGED}") from error
        raise RefusedError(
            f"it holds {found[1]}, and only plain tensors are read: whoever has the model can save "
            "its state_dict() alone"
        ) from error


def _weights(content: Any) -> tuple[Mapping[Any, Any], list[str], list[str]]:
    """The state dict, the keys that lead to it, and what stands beside it."""
    nested: list[str] = []
    left: list[str] = []
    while isinstance(content, Mapping) and not any(isinstance(v, Tensor) for v in content.values()):
        key = next((k for k in NESTED if isinstance(content.get(k), Mapping)), None)
        if key is None or len(nested) == len(NESTED):
            break
        left += [str(other)[:LONGEST_NAME] for other in content if other != key]
        nested.append(key)
        content = content[key]
    if not isinstance(content, Mapping) or not content:
        raise RefusedError(f"it holds a {_kind(content)} and no tensors by name")
    if len(content) > MOST_TENSORS:
        raise RefusedError(f"it holds {len(content):,} values; no model has so many tensors")
    return content, nested, left


def _plain(state: Mapping[Any, Any], room: int) -> dict[str, Tensor]:
    """The tensors as safetensors can have them; checked before any is copied."""
    for name, value in state.items():
        if not isinstance(name, str) or not 0 < len(name) <= LONGEST_NAME:
            raise RefusedError(f"a tensor's name is a {_kind(name)} that no model has")
        if type(value) not in (Tensor, nn.Parameter):
            raise RefusedError(f"{name} is a {_kind(value)}; only plain tensors are read")
        if value.layout != torch.strided or value.is_quantized or value.dtype not in DTYPES:
            what = f"{value.layout}, {value.dtype}"
            raise RefusedError(f"{name} is no plain tensor ({what}); only plain tensors are read")
        if value.device.type != "cpu":
            raise RefusedError(f"{name} is a tensor without values ({value.device.type})")
        room -= value.numel() * value.element_size()
        if room < 0:
            raise RefusedError(
                f"{name} is {list(value.shape)}: its tensors say that they are larger than the file"
            )
    seen: set[int] = set()
    found: dict[str, Tensor] = {}
    for name, value in state.items():
        tensor = value.detach().contiguous()
        place = tensor.untyped_storage().data_ptr()
        found[name] = tensor.clone() if place in seen else tensor
        seen.add(place)
    return found


def _kind(value: object) -> str:
    kind = type(value)
    return (
        kind.__qualname__
        if kind.__module__ == "builtins"
        else f"{kind.__module__}.{kind.__qualname__}"
    )
