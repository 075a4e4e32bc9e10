"""Can a run still go on? Where a tower fits nowhere since its node was lost, Ray waits forever.

What comes is waited for patiently as long as the cluster has room for all that the run claimed.
Where the cluster's head is lost, Ray ends the process after a minute without a word: it is said
before.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sdmad.errors import SDMADError

if TYPE_CHECKING:
    import pyarrow as pa

PATIENCE = 300.0
"""Seconds without any rows after which a run is given up that lacks room: lost nodes may return."""

EVERY = 5.0
"""Seconds between two looks at the cluster, once patience is at its end."""

LOOKS = 3
"""Looks at a head in a row that find none before it is said: one may be too busy to answer."""

Node = Mapping[str, float]
"""What a node has: ``CPU``, ``GPU`` and others by their names at Ray."""


def living() -> list[Node]:
    """What each node has that is alive."""
    import ray

    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def cores_of(nodes: Sequence[Node]) -> float:
    """Cores of all nodes."""
    return sum(node.get("CPU", 0.0) for node in nodes)


def room(nodes: Sequence[Node], gpus: float) -> int:
    """How many towers fit that need some GPUs each, all of one node.

    >>> room([{"GPU": 1.0}, {"GPU": 3.0}, {"CPU": 8.0}], 2.0)
    1
    """
    return sum(int(node.get("GPU", 0.0) / gpus) for node in nodes)


@dataclass(frozen=True)
class Need:
    """What a run claims of a cluster.

    Attributes:
        cores: of all towers, and of one decoder at least.
        towers: at once.
        gpus: of each tower; 0 for none.
    """

    cores: float
    towers: int = 0
    gpus: float = 0.0

    def lack(self, nodes: Sequence[Node]) -> str | None:
        """What some nodes lack of it, in words; None where they have it all."""
        if self.gpus and (fits := room(nodes, self.gpus)) < self.towers:
            return f"GPUs for {fits} of {self.towers} models"
        if (cores := cores_of(nodes)) < self.cores:
            return f"{cores:g} cores where {self.cores:g} are claimed"
        return None


@dataclass
class Waiting:
    """The command, as it waits for rows; it does not while it writes some.

    Attributes:
        need: what the run claims.
        since: when it began to wait for what comes next; None while it works.
        looked: when the cluster was looked at last.
    """

    need: Need
    since: float | None = None
    looked: float = 0.0

    def tables(self, batches: Iterator[pa.Table]) -> Iterator[pa.Table]:
        """Pass on what comes."""
        while True:
            self.since = time.monotonic()
            table = next(batches, None)
            self.since = None
            if table is None:
                return
            yield table

    def check(self) -> None:
        """Look whether it waits in vain.

        Raises:
            SDMADError: if nothing came for long, and the cluster lacks what the run claims.
        """
        now, since = time.monotonic(), self.since
        if since is None or now - since < PATIENCE or now - self.looked < EVERY:
            return
        self.looked = now
        if lack := self.need.lack(living()):
            raise SDMADError(
                f"the cluster lost a node that this run needs (left are {lack}), and nothing came "
                f"for {PATIENCE:g} seconds; finished shards are kept: run it again"
            )

    def callback(self) -> type:
        """A class as Ray Data takes them: it looks at each step of Ray's own loop."""
        others = ("before_execution_starts", "after_execution_succeeds", "after_execution_fails")
        steps = dict.fromkeys(others, lambda *_: None)
        return type("Watch", (), {**steps, "on_execution_step": lambda *_: self.check()})


@contextlib.contextmanager
def head_watched(address: str) -> Iterator[None]:
    """Say in the log, once, when a cluster's head no longer answers.

    Args:
        address: of its store, host and port.
    """
    done = threading.Event()
    thread = threading.Thread(target=_watch, args=(address, done), daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _watch(address: str, done: threading.Event) -> None:
    host, _, port = address.rpartition(":")
    misses = 0
    while misses < LOOKS:
        if done.wait(EVERY):
            return
        misses = 0 if answers(host, int(port)) else misses + 1
    logging.getLogger("sdmad").error(
        f"the head of the cluster at {address} does not answer; Ray ends this command in about a "
        "minute. Finished shards are kept: start the cluster, then the same command again"
    )


def answers(host: str, port: int) -> bool:
    """Whether anything answers there within some seconds."""
    try:
        socket.create_connection((host, port), timeout=EVERY).close()
    except (OSError, OverflowError):  # a port that none can be
        return False
    return True
