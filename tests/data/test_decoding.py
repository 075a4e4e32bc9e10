import itertools
import os
import threading
import warnings
from contextlib import contextmanager

import numpy as np
import pytest
from PIL import Image

from sdmad.data import decoder, decoders, decoding, intensity
from sdmad.data.decoding import decode_all
from sdmad.data.intensity import IntensityWarning
from sdmad.data.plane import ImageError
from sdmad.data.preprocessing import Preprocessing
from sdmad.errors import InputError

PLAIN = Preprocessing(size=16, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


@pytest.fixture
def files(tmp_path):
    """Twelve pictures, every third in colour, the sixth damaged."""
    rng = np.random.default_rng(0)
    paths = []
    for i in range(12):
        shape = (20 + i, 30, 3) if i % 3 == 0 else (20 + i, 30)
        path = tmp_path / f"{i:02d}.png"
        Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).save(path)
        paths.append(path)
    paths[5].write_bytes(paths[5].read_bytes()[:60])
    return paths


@contextmanager
def decoders_ended():
    """Whoever asks next starts a decoder."""
    decoders._end_all()
    yield
    decoders._end_all()


def same(one, other):
    if isinstance(one, ImageError):
        return isinstance(other, ImageError) and (str(one), one.path) == (str(other), other.path)
    return np.array_equal(one, other)


@pytest.mark.parametrize("workers", [1, 3])
def test_workers_give_what_this_process_gives_in_the_same_order(files, workers):
    here = list(decode_all(PLAIN, files, 0))
    there = list(decode_all(PLAIN, files, workers))
    assert [same(a, b) for a, b in zip(here, there, strict=True)] == [True] * 12
    assert isinstance(here[5], ImageError)
    assert here[0].shape == (16, 16, 3)
    assert here[1].shape == (16, 16)


def test_more_workers_than_images(files):
    assert len(list(decode_all(PLAIN, files[:2], 4))) == 2


def test_a_reader_that_stops_leaves_no_process_and_no_thread(files):
    before = threading.active_count()
    squares = decode_all(PLAIN, files * 20, 2)
    assert len(list(itertools.islice(squares, 3))) == 3
    line_workers = [t for t in threading.enumerate() if t.daemon]
    assert line_workers
    squares.close()
    assert threading.active_count() == before


def test_no_more_squares_wait_than_allowed(files, monkeypatch):
    monkeypatch.setattr(decoding, "AHEAD", 4)
    good = [f for i, f in enumerate(files) if i != 5] * 10
    squares = decode_all(PLAIN, good, 2)
    next(squares)
    lines = squares.gi_frame.f_locals["lines"]
    assert [line.done.maxsize for line in lines] == [2, 2]
    assert len([next(squares) for _ in range(len(good) - 1)]) == len(good) - 1


def test_warnings_of_a_worker_are_given_here(tmp_path, monkeypatch):
    monkeypatch.setattr(intensity, "_told", set())
    path = tmp_path / "flat.png"
    Image.fromarray(np.full((20, 20), 7, np.uint8)).save(path)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        list(decode_all(PLAIN, [path, path], 1))
    assert {w.category for w in caught} == {IntensityWarning}


def test_many_files_are_read_ahead(files, monkeypatch):
    """So many lines, each with a decoder, as there are cores but one."""
    lines = []
    true_line = decoding._Line

    def line(*arguments):
        lines.append(true_line(*arguments))
        return lines[-1]

    monkeypatch.setattr(decoding, "_Line", line)
    assert len(list(decode_all(PLAIN, files))) == 12
    arrays = [np.zeros((20, 20, 3), np.uint8)] * (decoding.ENOUGH + 1)
    assert len(list(decode_all(PLAIN, arrays))) == len(arrays)
    assert lines == []
    good = [files[i % 5] for i in range(decoding.ENOUGH)]
    assert len(list(decode_all(PLAIN, good))) == len(good)
    assert len(lines) == min(decoding.MOST_WORKERS, max(1, (os.cpu_count() or 1) - 1))


def test_no_process_that_can_be_started_is_one_error(files, monkeypatch):
    monkeypatch.setattr(decoder, "PROGRAM", "raise SystemExit(3)")
    with decoders_ended(), pytest.raises(InputError, match=r"ended as it started \(status 3\)"):
        list(decode_all(PLAIN, files, 2))
