"""How often somebody may ask: a bucket that fills with time and is emptied by requests."""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

MOST_KEYS = 10_000
"""Of whom buckets are kept; who has not asked for longest is forgotten first."""


class Rate:
    """So many a minute, all at once if they like.

    Args:
        most: a minute.
        clock: seconds that only grow.
    """

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.most = most
        self._now = clock
        self._lock = threading.Lock()
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait(self, key: str) -> int:
        """Seconds that somebody has to wait before the next one; 0 where it is taken now."""
        with self._lock:
            left = self._left(key)
            if left < 1:
                return max(1, math.ceil((1 - left) * 60 / self.most))
            self._put(key, left - 1)
        return 0

    def blocked(self, key: str) -> int:
        """As `wait`, without taking one."""
        with self._lock:
            left = self._left(key)
        return 0 if left >= 1 else max(1, math.ceil((1 - left) * 60 / self.most))

    def _left(self, key: str) -> float:
        left, at = self._buckets.get(key, (float(self.most), self._now()))
        return min(float(self.most), left + (self._now() - at) * self.most / 60)

    def _put(self, key: str, left: float) -> None:
        self._buckets[key] = (left, self._now())
        self._buckets.move_to_end(key)
        while len(self._buckets) > MOST_KEYS:
            self._buckets.popitem(last=False)
