"""Shared batches: who goes with whom, before whom, and what a failure takes along."""

import threading
import time

import numpy as np
import pytest

from sdmad.detector.scores import ImageScores
from sdmad.serve.compute.batching import Batcher, BusyError, OverdueError


def square(value):
    return np.full((2, 2), value, np.uint8)


def scores_of(squares):
    """One category whose score is the square's value."""
    values = np.array([[float(one[0, 0])] for one in squares])
    flat = values[:, 0]
    return ImageScores(values, values > 0, flat, values, flat)


class Gate:
    """Scores that wait until they are let through, and what each batch held."""

    def __init__(self, fails=()):
        self.open, self.entered = threading.Event(), threading.Event()
        self.batches, self.fails = [], set(fails)

    def __call__(self, squares):
        values = [int(one[0, 0]) for one in squares]
        self.batches.append(values)
        self.entered.set()
        assert self.open.wait(10)
        if self.fails & set(values):
            raise ValueError(f"cannot score {sorted(self.fails & set(values))}")
        return scores_of(squares)


@pytest.fixture
def make():
    made = []

    def batcher(score, **settings):
        made.append(Batcher(score, **settings))
        return made[-1]

    yield batcher
    for one in made:
        if isinstance(one._score, Gate):
            one._score.open.set()
        one.close()


def busy_with_one(make, gate, **settings):
    """A batcher of one thread that holds a group of the value 0."""
    batcher = make(gate, **settings)
    first = batcher.submit([square(0)])
    assert gate.entered.wait(10)
    return batcher, first


def test_requests_at_once_share_a_batch_and_get_their_own_rows(make):
    gate = Gate()
    batcher, first = busy_with_one(make, gate, size=8)
    answers = [batcher.submit([square(v), square(v + 1)]) for v in (10, 20, 30)]
    gate.open.set()
    assert [a.result(10).scores[:, 0].tolist() for a in answers] == [[10, 11], [20, 21], [30, 31]]
    assert first.result(10).scores.tolist() == [[0]]
    assert gate.batches == [[0], [10, 11, 20, 21, 30, 31]]


def test_a_group_that_does_not_fit_goes_whole_into_the_next_batch(make):
    gate = Gate()
    batcher, _ = busy_with_one(make, gate, size=4)
    answers = [batcher.submit([square(v)] * 3) for v in (1, 2)]
    gate.open.set()
    for answer in answers:
        answer.result(10)
    assert gate.batches == [[0], [1, 1, 1], [2, 2, 2]]


def test_who_waits_goes_before_the_background(make):
    gate = Gate()
    batcher, _ = busy_with_one(make, gate, size=2)
    behind = [batcher.submit([square(v)], behind=True) for v in (1, 2, 3)]
    asked = batcher.submit([square(9)])
    gate.open.set()
    for answer in (*behind, asked):
        answer.result(10)
    assert gate.batches == [[0], [9, 1], [2, 3]]


def test_a_batch_that_fails_takes_only_its_culprit_with_it(make):
    gate = Gate(fails={66})
    batcher, _ = busy_with_one(make, gate, size=8)
    good, bad, other = (batcher.submit([square(v)]) for v in (1, 66, 2))
    gate.open.set()
    assert good.result(10).scores.tolist() == [[1]]
    assert other.result(10).scores.tolist() == [[2]]
    with pytest.raises(ValueError, match="66"):
        bad.result(10)
    assert batcher.submit([square(3)]).result(10).scores.tolist() == [[3]]


def test_what_is_overdue_is_not_scored(make):
    gate = Gate()
    batcher, _ = busy_with_one(make, gate, size=8)
    late = batcher.submit([square(7)], due=time.monotonic() - 1)
    asked = batcher.submit([square(8)], due=time.monotonic() + 60)
    gate.open.set()
    with pytest.raises(OverdueError, match="in time"):
        late.result(10)
    assert asked.result(10).scores.tolist() == [[8]]
    assert gate.batches == [[0], [8]]


def test_what_nobody_wants_any_more_is_not_scored(make):
    gate = Gate()
    batcher, _ = busy_with_one(make, gate, size=8)
    assert batcher.submit([square(7)]).cancel()
    asked = batcher.submit([square(8)])
    gate.open.set()
    asked.result(10)
    assert gate.batches == [[0], [8]]


def test_no_more_wait_than_may(make):
    batcher = make(scores_of, size=4, most=5)
    with batcher.places(3):
        with pytest.raises(BusyError, match=r"3 of at most 5"), batcher.places(3):
            pass
        with batcher.places(2):
            assert batcher.waiting == 5
    assert batcher.waiting == 0


def test_at_the_end_who_waits_is_told(make):
    gate = Gate()
    batcher, first = busy_with_one(make, gate, size=1)
    waits = batcher.submit([square(1)])
    threading.Timer(0.1, gate.open.set).start()
    batcher.close()
    with pytest.raises(BusyError, match="ending"):
        waits.result(10)
    assert first.result(10).scores.tolist() == [[0]]
    with pytest.raises(BusyError, match="ending"):
        batcher.submit([square(2)])


def test_batches_are_told_with_their_size(make):
    told = []
    gate = Gate()
    batcher, first = busy_with_one(make, gate, size=8, told=lambda n, seconds: told.append(n))
    answers = [batcher.submit([square(1)]), batcher.submit([square(2)] * 2)]
    gate.open.set()
    for answer in (first, *answers):
        answer.result(10)
    batcher.close()
    assert told == [1, 3]
