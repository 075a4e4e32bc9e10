"""Files of strangers at the command line: what is said, and what goes on."""

import csv
import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sdmad.data import decoder, decoders

MISCHIEF = """
import os, signal
from sdmad.data import serving, tasks
true = tasks.TASKS["square"]

def square(path, **arguments):
    if path.name == "crash.png":
        os.kill(os.getpid(), signal.SIGSEGV)
    while path.name == "hang.png":
        pass
    return true(path, **arguments)

tasks.TASKS["square"] = square
serve = serving.serve
"""


@pytest.fixture
def mischief(tmp_path, monkeypatch):
    """Decoders that crash or hang on files of certain names."""
    (tmp_path / "module").mkdir()
    (tmp_path / "module" / "tests_cli_mischief.py").write_text(MISCHIEF)
    monkeypatch.syspath_prepend(str(tmp_path / "module"))
    monkeypatch.setattr(
        decoder, "PROGRAM", "import tests_cli_mischief as m; m.serve({memory}, {shared})"
    )
    monkeypatch.setenv("SDMAD_READ_SECONDS", "3")
    decoders._end_all()
    yield
    decoders._end_all()


def pictures(folder, names, **options):
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name in names:
        Image.fromarray(rng.integers(0, 256, (40, 50), dtype=np.uint8)).save(
            folder / name, **options
        )
    return folder


def test_a_file_that_crashes_or_hangs_costs_itself_alone(sdmad, model_folder, tmp_path, mischief):
    folder = pictures(tmp_path / "images", ["a.png", "crash.png", "hang.png", "z.png"])
    done = sdmad("predict", model_folder, folder)
    assert done.status == 3
    assert "crash.png: its decoder crashed on it" in done.said
    assert "hang.png: not read within 3 s" in done.said
    assert "2 of 4 images could not be read" in done.said
    rows = {Path(row["file"]).name: row for row in csv.DictReader(io.StringIO(done.out))}
    scored = {name for name, row in rows.items() if row["abnormality"]}
    assert set(rows) == scored == {"a.png", "z.png"}  # what cannot be read has no row


def test_files_of_which_a_page_is_read_are_named_then_counted(sdmad, model_folder, tmp_path):
    page = Image.fromarray(np.arange(2000, dtype=np.uint16).reshape(40, 50).astype(np.uint8))
    names = [f"{i}.tif" for i in range(5)]
    folder = pictures(tmp_path / "images", names, save_all=True, append_images=[page])
    done = sdmad("predict", model_folder, folder)
    assert done.status == 0, done.err
    for name in names[:3]:
        assert f"{name}: of its 2 pages the first is read; name another as FILE#INDEX" in done.said
    assert "3.tif" not in done.said
    assert "2 more files of which one page, frame or slice is read" in done.said


def test_a_limit_that_is_none(sdmad, model_folder, tmp_path, monkeypatch):
    folder = pictures(tmp_path / "images", ["a.png"])
    monkeypatch.setenv("SDMAD_READ_MEMORY", "much")
    done = sdmad("predict", model_folder, folder)
    assert done.status == 2
    assert "SDMAD_READ_MEMORY: expected a number, got 'much'" in done.said


def test_pipes_and_devices_are_refused(sdmad, model_folder, tmp_path):
    folder = pictures(tmp_path / "images", ["a.png"])
    os.mkfifo(folder / "b.png")
    done = sdmad("predict", model_folder, folder, "/dev/zero")
    assert done.status == 3
    assert "b.png: not a regular file (a device, a pipe or a socket)" in done.said
    assert "/dev/zero: not a regular file" in done.said
