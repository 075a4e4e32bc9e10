"""Concurrent requests share the batches of a tower.

Squares of one request stay together as a group; threads gather groups into batches. Who waits for
an answer goes before what is scored in the background. A batch that fails is tried again group by
group, so that only the group that fails is told so.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from sdmad.data.decoding import Square
from sdmad.detector.scores import ImageScores
from sdmad.errors import SDMADError

LINGER = 0.004
"""Seconds that a batch which is not full waits for more."""

MOST_WAITING = 256
"""Images whose answers people wait for at most, of one model."""

Score = Callable[[Sequence[Square]], ImageScores]
Told = Callable[[int, float], None]
"""Told of a batch: its images, and the seconds that it took."""


class BusyError(SDMADError):
    """More is asked for than can wait."""


class OverdueError(SDMADError):
    """An answer that did not come in time."""


@dataclass(frozen=True)
class _Group:
    squares: Sequence[Square]
    due: float
    answer: Future[ImageScores]


class Batcher:
    """Threads that score what requests hand in, in shared batches.

    Args:
        score: of some squares, one at least; called in several threads at once.
        size: images a batch.
        lanes: threads.
        start: called in each thread first.
        most: images that may wait.
        told: called after each batch.
    """

    def __init__(
        self,
        score: Score,
        size: int,
        lanes: int = 1,
        start: Callable[[], None] | None = None,
        most: int = MOST_WAITING,
        told: Told | None = None,
    ) -> None:
        self.size, self.most = size, most
        self._score, self._start, self._told = score, start, told
        self._asked: deque[_Group] = deque()
        self._behind: deque[_Group] = deque()
        self._changed = threading.Condition()
        self._places, self._closed = 0, False
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(lanes)]
        for thread in self._threads:
            thread.start()

    @contextmanager
    def places(self, images: int) -> Iterator[None]:
        """Hold the places of a request's images, from before they are read until it is answered.

        Raises:
            BusyError: if there are not so many.
        """
        with self._changed:
            if self._places + images > self.most:
                raise BusyError(
                    f"{self._places} of at most {self.most} images wait already; ask again in a "
                    "moment, or for fewer images at once"
                )
            self._places += images
        try:
            yield
        finally:
            with self._changed:
                self._places -= images

    @property
    def waiting(self) -> int:
        """Images whose places are held."""
        return self._places

    def submit(
        self, squares: Sequence[Square], due: float = float("inf"), behind: bool = False
    ) -> Future[ImageScores]:
        """Hand in a group.

        Args:
            squares: of the images, no more than a batch holds.
            due: on the monotonic clock, when nobody waits for it any longer.
            behind: whether all others go first.

        Returns:
            Its scores; an OverdueError where its time was up before they were computed.
        """
        group = _Group(squares, due, Future())
        with self._changed:
            if self._closed:
                raise BusyError("the server is ending")
            (self._behind if behind else self._asked).append(group)
            self._changed.notify()
        return group.answer

    def close(self) -> None:
        """End the threads; groups that wait are told that the server ends."""
        with self._changed:
            self._closed = True
            left = [*self._asked, *self._behind]
            self._asked.clear()
            self._behind.clear()
            self._changed.notify_all()
        for group in left:
            group.answer.set_exception(BusyError("the server is ending"))
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        if self._start is not None:
            self._start()
        while (batch := self._gather()) is not None:
            alive = [group for group in batch if _wanted(group)]
            if alive:
                self._answer(alive)

    def _gather(self) -> list[_Group] | None:
        """The next batch; None where there will be none."""
        with self._changed:
            while not (self._asked or self._behind):
                if self._closed:
                    return None
                self._changed.wait()
            until = time.monotonic() + LINGER
            while self._ready < self.size and (left := until - time.monotonic()) > 0:
                if self._closed:
                    return None
                self._changed.wait(left)
            return self._take()

    @property
    def _ready(self) -> int:
        return sum(len(group.squares) for line in (self._asked, self._behind) for group in line)

    def _take(self) -> list[_Group]:
        found: list[_Group] = []
        room = self.size
        for line in (self._asked, self._behind):
            while line and (not found or len(line[0].squares) <= room):
                found.append(line.popleft())
                room -= len(found[-1].squares)
        return found

    def _answer(self, batch: list[_Group]) -> None:
        squares = [square for group in batch for square in group.squares]
        start = time.monotonic()
        try:
            scored = self._score(squares)
        except Exception as error:
            if len(batch) == 1:
                batch[0].answer.set_exception(error)
                return
            for group in batch:
                self._answer([group])
            return
        if self._told is not None:
            self._told(len(squares), time.monotonic() - start)
        place = 0
        for group in batch:
            rows = np.arange(place, place + len(group.squares))
            group.answer.set_result(scored.rows(rows))
            place += len(group.squares)


def _wanted(group: _Group) -> bool:
    """Whether somebody still waits for a group, which begins now."""
    if not group.answer.set_running_or_notify_cancel():
        return False
    if time.monotonic() > group.due:
        group.answer.set_exception(OverdueError("not answered in time; ask again in a moment"))
        return False
    return True
