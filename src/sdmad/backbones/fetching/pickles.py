"""Pickled weights become safetensors, read in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import safe_open

from sdmad.backbones.files import holds_code, refuse_file
from sdmad.errors import ModelError
from sdmad.inputs import bounded, check_regular
from sdmad.processes import environment

PROGRAM = (
    "from sdmad.processes import be_alone; network = be_alone(); "
    "from sdmad.backbones.fetching.restricted import serve; serve(network)"
)
# be_alone before torch, whose threads would keep the process where it is.

SECONDS, BYTES_A_SECOND = 180, 10_000_000
"""What reading a file may take: so long, and longer by its size."""

POINTER = b"version https://git-lfs"
"""How a file begins that Git leaves in the place of a large one."""

LONGEST_ANSWER = 1 << 16


@dataclass(frozen=True)
class Converted:
    """What was done with a pickle.

    Attributes:
        names: of the tensors.
        nested: keys and prefixes that were taken off.
        left: what stood beside the weights and was left out.
        network: what held of the network while it was read, behind "it".
    """

    names: tuple[str, ...]
    nested: tuple[str, ...]
    left: tuple[str, ...]
    network: str


def convert_weights(source: Path, target: Path) -> Converted:
    """Read a pickled checkpoint with PyTorch's restricted loader and write its tensors.

    The process that reads it executes nothing of the file, has no network, and may take memory,
    time and disk by the file's size only.

    Args:
        source: the pickle.
        target: the safetensors file to write, in a folder that is whole or not there.

    Raises:
        ModelError: naming what the file holds that is no plain tensor, or why it cannot be read.
    """
    check_regular(source, None, ModelError)
    if holds_code(source):
        raise refuse_file(source)
    with bounded(f"{source} cannot be read", ModelError), source.open("rb") as stream:
        start = stream.read(len(POINTER))
    if start in (b"", POINTER):
        what = "Git LFS's pointer to the weights, not the weights" if start else "empty"
        raise ModelError(f"{source} is {what}: download it again")
    seconds = SECONDS + source.stat().st_size // BYTES_A_SECOND
    answer = _ask(source, target, seconds)
    if "error" in answer:
        raise ModelError(f"{source}: {answer['error']}")
    with bounded(f"{source} was not converted", ModelError), safe_open(target, "pt") as written:
        names = tuple(written.keys())
    return Converted(names, tuple(answer["nested"]), tuple(answer["left"]), answer["network"])


def _ask(source: Path, target: Path, seconds: int) -> dict[str, Any]:
    request = {"source": str(source.resolve()), "target": str(target.resolve()), "seconds": seconds}
    with tempfile.TemporaryFile() as answered:
        # Without the current folder: a module in it must not take the place of a library.
        process = subprocess.Popen(  # noqa: S603  # nothing in it is a stranger's
            [sys.executable, "-P", "-c", PROGRAM],
            stdin=subprocess.PIPE,
            stdout=answered,
            stderr=subprocess.DEVNULL,
            env=environment(),
        )
        try:
            process.communicate(json.dumps(request).encode(), timeout=seconds)
        except subprocess.TimeoutExpired:
            raise ModelError(f"{source}: not read within {seconds} s, and given up") from None
        finally:
            process.kill()
            process.wait()
        answered.seek(0)
        text = answered.read(LONGEST_ANSWER)
    try:
        answer: dict[str, Any] = json.loads(text)
    except ValueError:
        raise ModelError(
            f"{source}: the process that read it ended (status {process.returncode}); it is "
            "damaged, or takes more memory or time than a file of its size may"
        ) from None
    return answer
