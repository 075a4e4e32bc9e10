"""Many readers over plain sockets, as cheap as can be: real readers' browsers are elsewhere.

One thread holds a connection for each reader, sends bytes that were made before, and of an answer
looks at nothing but its status and its length.
"""

from __future__ import annotations

import re
import selectors
import socket
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

import numpy as np

PATIENCE = 300.0
"""Seconds without any answer after which something is wrong."""

_STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
_END = b"\r\n\r\n"


@dataclass(frozen=True)
class Load:
    """What many readers saw.

    Attributes:
        seconds: of each answer.
        wall: from the first question to the last answer.
        statuses: how many answers of each status.
        busy: seconds of processor time that asking took.
    """

    seconds: tuple[float, ...]
    wall: float
    statuses: Counter[int]
    busy: float = 0.0

    @property
    def p95(self) -> float:
        """Seconds within which 95 of 100 answers came."""
        return float(np.quantile(self.seconds, 0.95))

    @property
    def rate(self) -> float:
        """Answers a second."""
        return len(self.seconds) / self.wall

    @property
    def errors(self) -> int:
        """Answers that were none."""
        return sum(count for status, count in self.statuses.items() if status != 200)


Ask = Callable[[int, int], bytes]
"""The request of a reader by his number and that of his question."""


def request(
    method: str, path: str, host: str, token: str, body: bytes = b"", kind: str = ""
) -> bytes:
    """A request as it goes over the wire.

    Args:
        method: GET or POST.
        path: with its query.
        host: name and port.
        token: of the reader.
        body: what is sent.
        kind: the body's content type.
    """
    head = [f"{method} {path} HTTP/1.1", f"Host: {host}", f"Authorization: Bearer {token}"]
    if body:
        head += [f"Content-Type: {kind}", f"Content-Length: {len(body)}"]
    return "\r\n".join((*head, "", "")).encode() + body


def load(url: str, readers: int, ask: Ask, each: int) -> Load:
    """Have all readers ask at once, each one question after the other.

    Raises:
        RuntimeError: if the server goes away, is silent or answers in a way that is not known here.
    """
    place = urlsplit(url)
    wire = selectors.DefaultSelector()
    several = [_Reader(number, place.hostname or "", place.port or 80) for number in range(readers)]
    seconds: list[float] = []
    statuses: Counter[int] = Counter()
    start, busy = time.perf_counter(), time.process_time()
    for reader in several:
        wire.register(reader.socket, selectors.EVENT_READ, reader)
        reader.send(ask(reader.number, 0))
    while len(seconds) < readers * each:
        ready = wire.select(PATIENCE)
        if not ready:
            raise RuntimeError(f"{url}: no answer for {PATIENCE:g} s")
        for key, _ in ready:
            reader = key.data
            status = reader.receive()
            if reader.left:
                wire.unregister(reader.socket)
                reader.again()
                wire.register(reader.socket, selectors.EVENT_READ, reader)
            if status is None:
                continue
            seconds.append(time.perf_counter() - reader.sent)
            statuses[status] += 1
            if reader.asked < each:
                reader.send(ask(reader.number, reader.asked))
            else:
                wire.unregister(reader.socket)  # the server may close it from now on
    end, used = time.perf_counter(), time.process_time()
    for reader in several:
        reader.socket.close()
    wire.close()
    return Load(tuple(seconds), end - start, statuses, used - busy)


class _Reader:
    """One connection; as a browser does, a question is asked once again where it was closed.

    Attributes:
        left: whether the server closed the connection before a byte of an answer came.
    """

    def __init__(self, number: int, host: str, port: int) -> None:
        self.number, self.asked, self.sent, self.left = number, 0, 0.0, False
        self._place, self._content, self._tries = (host, port), b"", 0
        self._held, self._whole = bytearray(), 0
        self.socket = self._connect()

    def _connect(self) -> socket.socket:
        connected = socket.create_connection(self._place, timeout=PATIENCE)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connected

    def send(self, content: bytes) -> None:
        self.asked += 1
        self._content, self._tries = content, 0
        self.sent = time.perf_counter()
        self._send()

    def _send(self) -> None:
        self._held.clear()
        self._whole, self.left = 0, False
        self._tries += 1
        self.socket.sendall(self._content)

    def again(self) -> None:
        """Ask once more, over a new connection."""
        self.socket.close()
        self.socket = self._connect()
        self._send()

    def receive(self) -> int | None:
        """Take what there is; the status once the answer is whole."""
        piece = self.socket.recv(1 << 18)
        if not piece:
            if self._held or self._tries > 1:
                raise RuntimeError("the server has closed a connection")
            self.left = True
            return None
        self._held += piece
        if not self._whole:
            end = self._held.find(_END)
            if end < 0:
                return None
            length = _LENGTH.search(self._held, 0, end + 2)
            if length is None:
                raise RuntimeError("an answer does not tell its length")
            self._whole = end + len(_END) + int(length[1])
        if len(self._held) < self._whole:
            return None
        status = _STATUS.match(self._held)
        if status is None:
            raise RuntimeError("an answer is none of HTTP/1.1")
        return int(status[1])
