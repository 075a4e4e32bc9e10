"""A run that waits in vain is ended; one that only waits is not. No Ray is started."""

import logging
import socket
import threading

import pytest

from sdmad.archive import watching
from sdmad.archive.watching import Need, Waiting, head_watched, room
from sdmad.errors import SDMADError


@pytest.mark.parametrize(
    ("need", "nodes", "wanted"),
    [
        (Need(1.0), [{"CPU": 1.0}], None),
        (Need(1.5, 2), [{"CPU": 1.0}], "1 cores where 1.5 are claimed"),
        (Need(1.5, 2, 1.0), [{"CPU": 4.0, "GPU": 2.0}], None),
        (Need(1.5, 2, 1.0), [{"CPU": 4.0, "GPU": 1.0}, {}], "GPUs for 1 of 2 models"),
        (Need(1.5, 2, 0.5), [{"CPU": 4.0, "GPU": 1.0}], None),
        (Need(1.0, 1, 2.0), [{"CPU": 4.0, "GPU": 1.0}] * 2, "GPUs for 0 of 1 models"),
        (Need(1.0), [], "0 cores where 1 are claimed"),
    ],
)
def test_what_is_left_is_held_to_what_is_claimed(need, nodes, wanted):
    assert need.lack(nodes) == wanted


def test_no_tower_has_its_gpus_on_two_nodes():
    assert room([{"GPU": 1.0}, {"GPU": 3.0}, {"CPU": 8.0}], 2.0) == 1
    assert room([{"GPU": 1.0}], 0.25) == 4


@pytest.fixture
def clock(monkeypatch):
    """Seconds that a test sets, and a cluster of a core."""
    told = [1000.0]
    monkeypatch.setattr(watching.time, "monotonic", lambda: told[0])
    monkeypatch.setattr(watching, "living", lambda: [{"CPU": 1.0}])
    return told


def test_patience_begins_anew_with_each_table_and_rests_while_it_is_written(clock):
    waiting = Waiting(Need(2.0))
    step = waiting.callback()()

    def come():
        for table in "abc":
            clock[0] += watching.PATIENCE - 1
            step.on_execution_step(None)
            yield table

    for _ in waiting.tables(come()):
        clock[0] += 10 * watching.PATIENCE
        step.on_execution_step(None)


def test_a_run_without_room_is_given_up_and_one_with_room_is_not(clock):
    def hang():
        clock[0] += watching.PATIENCE
        waiting.callback()().on_execution_step(None)
        yield "late"

    waiting = Waiting(Need(1.0))
    assert list(waiting.tables(hang())) == ["late"]
    waiting = Waiting(Need(2.0))
    with pytest.raises(SDMADError, match=r"1 cores where 2 are claimed.*finished shards are kept"):
        list(waiting.tables(hang()))


@pytest.fixture
def head(monkeypatch):
    """Something that listens, and is looked at all the time."""
    monkeypatch.setattr(watching, "EVERY", 0.01)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening


def test_a_head_that_is_gone_is_told_of_once(head, caplog):
    address = "{}:{}".format(*head.getsockname())
    said = threading.Event()
    listener = logging.Handler()
    listener.emit = lambda _: said.set()
    logging.getLogger("sdmad").addHandler(listener)
    try:
        with head_watched(address):
            head.accept()[0].close()  # a look
            assert not said.is_set()
            head.close()
            assert said.wait(30)
    finally:
        logging.getLogger("sdmad").removeHandler(listener)
    (record,) = caplog.records
    assert record.levelname == "ERROR"
    assert f"the head of the cluster at {address} does not answer" in record.message


def test_a_head_that_answers_is_not_told_of(head, caplog):
    with head_watched("{}:{}".format(*head.getsockname())):
        for _ in range(watching.LOOKS + 2):
            head.accept()[0].close()
    assert not caplog.records
