"""Parquet files that were made to take memory, time or the reader itself."""

import io
import json
import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.local import LocalFileSystem

from sdmad.archive import parquet, places
from sdmad.archive.parquet import cells, rows
from sdmad.archive.places import Place
from sdmad.data import child
from sdmad.data.limits import reading_limits
from sdmad.errors import InputError, SDMADError

RNG = np.random.default_rng(0)
CELLS = [RNG.bytes(int(size)) for size in RNG.integers(1, 3000, 40)]


def written(path, column, **how):
    pq.write_table(pa.table({"image": column}), path, **{"row_group_size": 7, **how})
    return Place(str(path))


def readers():
    """Processes that unpack, and have not ended."""
    return [one for one in child.started if isinstance(one, parquet._Reader)]


def asked(place, first, last):
    return list(cells(place, lambda names: names[0], first, last))


@pytest.mark.parametrize("column", [CELLS, [{"bytes": one, "path": None} for one in CELLS]])
def test_any_rows_are_what_was_written(tmp_path, column):
    place = written(tmp_path / "x.parquet", column)
    assert asked(place, 0, 39) == CELLS
    assert asked(place, 6, 7) == CELLS[6:8]
    assert asked(place, 39, 39) == CELLS[39:]
    assert not readers()


def test_no_bytes_and_rows_that_are_there_no_more(tmp_path):
    place = written(tmp_path / "x.parquet", [b"1", None, b""])
    empty = "no bytes in this row"
    assert asked(place, 0, 4) == [b"1", empty, empty, parquet.GONE, parquet.GONE]


def test_a_cell_that_unpacks_to_too_much_costs_no_other(tmp_path):
    column = [b"1", bytes(97 << 20), b"3"]
    place = written(tmp_path / "x.parquet", column, use_dictionary=False)
    assert (tmp_path / "x.parquet").stat().st_size < 10 << 20
    with reading_limits(memory=0.75):
        first, error, last = asked(place, 0, 2)
    assert (first, last) == (b"1", b"3")
    assert error == "larger than 96 MiB (an eighth of SDMAD_READ_MEMORY, 0.75 GiB)"


def test_a_row_group_that_takes_too_much_memory_costs_no_other_group(tmp_path):
    column = [bytes(160 << 20), b"2", b"3", b"4"]
    place = written(
        tmp_path / "x.parquet", column, use_dictionary=False, compression="zstd", row_group_size=3
    )
    with reading_limits(memory=0.5):
        *lost, last = asked(place, 0, 3)
    assert last == b"4"
    assert all("takes more memory to unpack than it may (SDMAD_READ_MEMORY" in one for one in lost)
    assert [one.startswith("behind row 0 (from 0)") for one in lost] == [False, True, True]


MISCHIEF = """
import os, signal
from sdmad.archive import unpacking
true = unpacking._cell

def cell(batch, most):
    value = batch.column(0)[0].as_py()
    if value == b"crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    while value == b"hang":
        pass
    if value == b"damaged":
        raise ValueError("Doe^Secret")
    if value == b"network":
        import socket
        socket.create_connection(("127.0.0.1", 1))
    return true(batch, most)

unpacking._cell = cell
unpacking.serve({memory})
"""


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (b"crash", "damaged, so that its reader crashed on it, or takes more memory to unpack"),
        (b"hang", r"not unpacked within 0.5 s of processor time \(SDMAD_READ_SECONDS sets"),
        (b"damaged", "damaged; write its Parquet file again"),
        (b"network", "damaged; write its Parquet file again"),
    ],
)
def test_what_ends_its_reader_costs_its_row_group(tmp_path, monkeypatch, kind, message):
    monkeypatch.setattr(parquet, "PROGRAM", MISCHIEF)
    place = written(tmp_path / "x.parquet", [b"0", kind, b"2", b"3", b"4"], row_group_size=3)
    with reading_limits(seconds=0.5):
        good, bad, lost, *others = asked(place, 0, 4)
    assert [good, *others] == [b"0", b"3", b"4"]
    assert re.match(message, bad)
    assert lost.startswith("behind row 1 (from 0) of the same row group, which cannot be read: ")
    assert not readers()


def test_a_file_whose_row_groups_all_fail_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "PROGRAM", MISCHIEF)
    monkeypatch.setattr(parquet, "MOST_FAILED", 2)
    place = written(tmp_path / "x.parquet", [b"damaged"] * 4, row_group_size=1)
    *_, third, fourth = asked(place, 0, 3)
    assert third == fourth
    assert third.startswith("passed over, as 2 row groups of its Parquet file failed before it")


def test_more_rows_than_bytes_are_refused(tmp_path):
    place = written(tmp_path / "x.parquet", pa.nulls(5000, pa.binary()), row_group_size=5000)
    with pytest.raises(InputError, match=r"no usable Parquet file \(more rows than bytes\)"):
        list(rows(place, lambda names: (None, None)))


def test_what_is_no_parquet_file_is_told_so(tmp_path):
    (tmp_path / "x.parquet").write_bytes(b"PAR1 nothing of the kind PAR1")
    place = Place(str(tmp_path / "x.parquet"))
    with pytest.raises(InputError, match=r"x\.parquet: no usable Parquet file \(Arrow"):
        list(rows(place, lambda names: (None, None)))
    assert asked(place, 0, 1) == ["damaged; write its Parquet file again"] * 2


LIAR = """
import sys
print("{{}}", flush=True)
sys.stdin.readline()
print('{{"columns": ["image"]}}', flush=True)
sys.stdin.readline()
print(r'''ANSWER''', flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize(
    "answer",
    [
        "no JSON",
        "7",
        "[" * 100_000,
        {"read": [-1, 9]},
        {"read": [0, 1 << 30]},
        {"read": [0, 0]},
        {"read": 7},
        {"group": [0, "1"]},
        {"group": [2, 1]},
        {"group": [1 << 70, 1 << 71]},
        {"cell": -1},
        {"cell": 1 << 40},
        {"cell": "1"},
        {},
    ],
)
def test_an_answer_that_its_reader_never_gives_counts_as_its_end(tmp_path, monkeypatch, answer):
    told = answer if isinstance(answer, str) else json.dumps(answer)
    braced = told.replace("{", "{{").replace("}", "}}")
    monkeypatch.setattr(parquet, "PROGRAM", LIAR.replace("ANSWER", braced))
    place = written(tmp_path / "x.parquet", [b"0", b"1"])
    assert all("its reader crashed on it" in one for one in asked(place, 0, 1))
    with pytest.raises(InputError, match="its reader crashed on it"):
        list(rows(place, lambda names: (None, None)))


def test_a_reader_that_does_not_take_what_it_asked_for_overruns(tmp_path, monkeypatch):
    program = "import time; print('{{}}', flush=True); time.sleep(60)"
    monkeypatch.setattr(parquet, "PROGRAM", program)
    place = written(tmp_path / "x.parquet", [b"0"])
    with reading_limits(seconds=0.05):
        (told,) = asked(place, 0, 0)
    assert told.startswith("not unpacked within 0.3 s by the clock (6 times SDMAD_READ_SECONDS)")


def test_a_place_that_does_not_answer_is_no_fault_of_a_row(tmp_path, monkeypatch):
    monkeypatch.setattr(places, "PAUSE", 0.0)
    place, tries = written(tmp_path / "x.parquet", CELLS), []

    class Cut(io.BytesIO):
        def read(self, length=-1):
            tries.append(length)
            raise OSError("the line is cut")

    monkeypatch.setattr(LocalFileSystem, "open", lambda *_: Cut(bytes(900)))
    with pytest.raises(SDMADError, match=r"x\.parquet: cannot be reached \(the line is cut\)"):
        asked(place, 0, 0)
    assert len(tries) == places.TRIES
    assert not readers()


def test_nothing_secret_is_handed_to_its_reader(tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "geheim")
    seen = tmp_path / "seen"
    program = (
        f"import os, pathlib; pathlib.Path({str(seen)!r}).write_text(str(dict(os.environ)));"
        + parquet.PROGRAM
    )
    monkeypatch.setattr(parquet, "PROGRAM", program)
    assert asked(written(tmp_path / "x.parquet", CELLS), 0, 0) == CELLS[:1]
    assert "geheim" not in seen.read_text()
