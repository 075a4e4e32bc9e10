"""Images in batches that run beside each other: order, errors, threads, what waits in memory."""

import threading
import time

import numpy as np
import pytest
import torch

from sdmad.data.images import ImageError
from sdmad.data.preprocessing import Preprocessing
from sdmad.detector.batches import MOST_LANES, Lanes, lanes_on, score_in_batches
from sdmad.detector.scores import ImageScores

PLAIN = Preprocessing(8, (0.5,) * 3, (0.5,) * 3)


def numbered(count):
    return [np.full((8, 8), i, np.uint8) for i in range(count)]


def brightness(squares):
    values = np.array([[float(square.mean())] for square in squares])
    return ImageScores(values, values > 3, values[:, 0], np.zeros((len(values), 0)), values[:, 0])


@pytest.mark.parametrize("lanes", [1, 2, 3, 8])
def test_scores_come_in_the_order_of_the_images(lanes):
    def late_first(squares):
        time.sleep(0.02 if squares[0].mean() < 4 else 0)
        return brightness(squares)

    found = score_in_batches(numbered(23), PLAIN, late_first, 4, None, None, Lanes(lanes))
    assert found.scores[:, 0].tolist() == list(range(23))


def test_as_many_batches_run_at_once_as_there_are_lanes_and_each_thread_is_prepared():
    meeting, prepared = threading.Barrier(3, timeout=20), []

    def together(squares):
        meeting.wait()
        assert threading.get_ident() in prepared
        return brightness(squares)

    lanes = Lanes(3, lambda: prepared.append(threading.get_ident()))
    found = score_in_batches(numbered(12), PLAIN, together, 2, None, None, lanes)
    assert len(found) == 12
    assert len(prepared) == 3
    assert threading.get_ident() not in prepared


def test_an_unreadable_image_keeps_its_place_or_stops_everything(tmp_path):
    images = [*numbered(5), tmp_path / "none.png", *numbered(3)]
    told = []
    found = score_in_batches(
        images, PLAIN, brightness, 2, lambda place, _: told.append(place), None, Lanes(2)
    )
    assert told == [5]
    assert np.flatnonzero(np.isnan(found.scores[:, 0])).tolist() == [5]
    with pytest.raises(ImageError, match=r"none\.png"):
        score_in_batches(images, PLAIN, brightness, 2, None, None, Lanes(2))


def test_a_fault_in_a_lane_is_raised_and_no_thread_is_left():
    def broken(squares):
        raise RuntimeError("broken")

    before = threading.active_count()
    with pytest.raises(RuntimeError, match="broken"):
        score_in_batches(numbered(40), PLAIN, broken, 2, None, None, Lanes(2))
    assert threading.active_count() == before


def test_no_more_is_read_ahead_than_the_lanes_can_take():
    class Read:
        def __init__(self):
            self.count = 0

        def __len__(self):
            return 40

        def __getitem__(self, index):
            raise AssertionError

        def __iter__(self):
            for image in numbered(40):
                self.count += 1
                yield image

    read, finished, most = Read(), [], []

    def watched(squares):
        most.append(read.count - len(finished))
        finished.extend(squares)
        return brightness(squares)

    score_in_batches(read, PLAIN, watched, 2, None, None, Lanes(2))
    assert max(most) <= 2 * (2 + 2)


def test_lanes_by_cores():
    assert [lanes_on(cores) for cores in (0, 1, 2, 7, 64)] == [1, 1, 2, 7, MOST_LANES]


def test_torch_has_its_threads_back_and_scores_are_those_of_one_thread(fitted, pictures):
    images = [pictures[0][i % 12] for i in range(70)]
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        beside = fitted.score_images(images)
        assert torch.get_num_threads() == 2
        torch.set_num_threads(1)
        alone = fitted.score_images(images)
    finally:
        torch.set_num_threads(before)
    np.testing.assert_allclose(beside.scores, alone.scores, atol=1e-6)
    assert (beside.decisions == alone.decisions).all()
