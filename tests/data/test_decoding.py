import itertools
import os
import subprocess
import threading
import warnings

import numpy as np
import pytest
from PIL import Image

from sdmad.data import decoding
from sdmad.data.decoding import decode_all
from sdmad.data.intensity import IntensityWarning
from sdmad.data.plane import ImageError
from sdmad.data.preprocessing import Preprocessing

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


def test_a_crashing_decoder_costs_one_image(files, monkeypatch):
    monkeypatch.setattr(decoding, "serve", None)
    monkeypatch.setattr(decoding, "__name__", "tests_crashing_worker")
    folder = files[0].parent
    (folder / "tests_crashing_worker.py").write_text(
        "import os, sdmad.data.decoding as d\n"
        "true = d._answer\n"
        "def answer(preprocessing, path, answers):\n"
        "    if path.name == '02.png':\n"
        "        os._exit(139)\n"
        "    true(preprocessing, path, answers)\n"
        "d._answer = answer\n"
        "serve = d.serve\n"
    )
    monkeypatch.syspath_prepend(str(folder))
    found = list(decode_all(PLAIN, files, 1))
    assert "its decoder crashed on it" in str(found[2])
    assert [isinstance(f, ImageError) for f in found] == [i in (2, 5) for i in range(12)]


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


def test_warnings_of_a_worker_are_given_here(tmp_path):
    path = tmp_path / "flat.png"
    Image.fromarray(np.full((20, 20), 7, np.uint8)).save(path)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        list(decode_all(PLAIN, [path, path], 1))
    assert {w.category for w in caught} == {IntensityWarning}


@pytest.fixture
def started(monkeypatch):
    """An entry a process that was started."""
    entries = []
    true_start = subprocess.Popen.__init__

    def start(self, *arguments, **settings):
        entries.append(arguments)
        true_start(self, *arguments, **settings)

    monkeypatch.setattr(subprocess.Popen, "__init__", start)
    return entries


def test_few_images_and_arrays_need_no_process(files, started):
    assert len(list(decode_all(PLAIN, files))) == 12
    arrays = [np.zeros((20, 20, 3), np.uint8)] * (decoding.ENOUGH + 1)
    assert len(list(decode_all(PLAIN, arrays))) == len(arrays)
    assert started == []


def test_many_files_are_decoded_elsewhere(files, started):
    good = [files[i % 5] for i in range(decoding.ENOUGH)]
    assert len(list(decode_all(PLAIN, good))) == len(good)
    assert len(started) == min(decoding.MOST_WORKERS, max(1, (os.cpu_count() or 1) - 1))
