"""A graph's file from a stranger, looked at before a runtime reads it.

It may name other files, hold loops, or ask for more memory than there is. Refused are: weights
outside the export, document types and entities of XML, loops, operators that are not the standard's
own. What is left is bounded by its tensors, which :func:`trial` tries with a limit on memory and
time.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.parsers import expat

from sdmad.errors import ModelError
from sdmad.inputs import TooLate, check_regular, read_bytes, within

MAX_GRAPH = 1 << 31
"""Bytes of a graph's file, which is also protobuf's own limit."""

MAX_DEPTH = 16
MAX_MEMORY = 4 << 30
"""Bytes that a trial may take beside four times the weights."""

MAX_SECONDS = 300.0
LOOPS = frozenset({"Loop", "Scan", "SequenceMap", "TensorIterator"})

# Of onnx.proto: which fields of a message are messages that matter here.
_MESSAGES = {
    "model": {7: "graph", 20: "refused", 25: "refused"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "external"},
    "external": {},
}
Trial = Callable[[Callable[[], Any]], Any]
"""Runs a step and gives its result."""

_OPERATOR, _DOMAIN, _KEY, _VALUE = 4, 7, 1, 2


def check_graph(path: Path, weights: str) -> None:
    """Refuse a graph that reads other files than its own or may never end.

    Args:
        path: ``model.xml`` or ``model.onnx``.
        weights: name of the one file beside it that it may read.

    Raises:
        ModelError: saying what it holds.
    """
    if path.suffix == ".xml":
        check_regular(path, MAX_GRAPH, ModelError)
        _check_xml(path)
    else:
        _walk(path, weights, "model", memoryview(read_bytes(path, MAX_GRAPH, ModelError)), 0)


@contextmanager
def trial(path: Path) -> Iterator[Trial]:
    """Yield what runs a step within a limit on memory and time.

    Args:
        path: of the graph, whose folder's size the limit depends on.
    """
    size = sum(file.stat().st_size for file in path.parent.iterdir() if file.is_file())

    def run(step: Callable[[], Any]) -> Any:
        try:
            return within(MAX_SECONDS, step)
        except TooLate as error:
            raise ModelError(f"{path}: does not come to an end; export it again") from error

    with _limited(MAX_MEMORY + 4 * size):
        yield run


@contextmanager
def _limited(more: int) -> Iterator[None]:
    """Let this process take so many bytes more; where a system cannot say, no limit."""
    used = Path("/proc/self/statm")
    if sys.platform == "win32" or not used.exists():
        yield
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    now = int(used.read_text(encoding="ascii").split()[0]) * os.sysconf("SC_PAGE_SIZE")
    bounds = [limit for limit in (now + more, soft, hard) if limit != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_AS, (min(bounds), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _check_xml(path: Path) -> None:
    parser = expat.ParserCreate()

    def refuse(*_: object) -> None:
        raise ModelError(f"{path}: names a document type or an entity; export it again")

    def element(name: str, attributes: dict[str, str]) -> None:
        if name == "layer":
            _check_operator(path, attributes.get("type", ""))

    parser.StartDoctypeDeclHandler = refuse
    parser.EntityDeclHandler = refuse
    parser.StartElementHandler = element
    try:
        with path.open("rb") as file:
            parser.ParseFile(file)
    except expat.ExpatError as error:
        raise ModelError(f"{path}: no readable XML ({error})") from error


def _check_operator(path: Path, operator: str) -> None:
    if operator in LOOPS:
        raise ModelError(f"{path}: holds a loop ({operator}), which no export has")


def _walk(path: Path, weights: str, kind: str, data: memoryview, depth: int) -> None:
    """Go through a message of onnx.proto and those in it that matter."""
    if depth > MAX_DEPTH:
        raise ModelError(f"{path}: nested too deeply")
    inner, texts = _MESSAGES[kind], {}
    for number, value in _fields(path, data):
        if number in inner:
            if inner[number] == "refused":
                raise ModelError(f"{path}: holds functions or a training, which no export has")
            _walk(path, weights, inner[number], value, depth + 1)
        elif kind in ("node", "external"):
            texts[number] = bytes(value).decode("utf-8", "replace")
    if kind == "node":
        _check_operator(path, texts.get(_OPERATOR, ""))
        if texts.get(_DOMAIN, "") not in ("", "ai.onnx"):
            raise ModelError(f"{path}: holds an operator of {texts[_DOMAIN]}, not of ONNX itself")
    if kind == "external" and texts.get(_KEY) == "location" and texts.get(_VALUE) != weights:
        raise ModelError(f"{path}: names weights elsewhere ({texts.get(_VALUE)}); export it again")


def _fields(path: Path, data: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Numbers and contents of a message's fields that have a length; others are passed over."""
    place, end = 0, len(data)
    while place < end:
        tag, place = _varint(path, data, place)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            _, place = _varint(path, data, place)
        elif wire in (1, 5):
            place += 8 if wire == 1 else 4
        elif wire == 2:
            length, place = _varint(path, data, place)
            if length > end - place:
                break
            yield number, data[place : place + length]
            place += length
        else:
            break
    if place != end:
        raise ModelError(f"{path}: no readable ONNX; export it again")


def _varint(path: Path, data: memoryview, place: int) -> tuple[int, int]:
    found = 0
    for count in range(10):
        if place + count >= len(data):
            break
        byte = data[place + count]
        found |= (byte & 127) << (7 * count)
        if byte < 128:
            return found, place + count + 1
    raise ModelError(f"{path}: no readable ONNX; export it again")
