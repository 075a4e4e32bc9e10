import csv
import errno
import io
import json
import math
import os
import socket
from pathlib import Path

import numpy as np
import pytest

from sdmad import output
from sdmad.errors import InputError, SDMADError
from sdmad.output import (
    check_output,
    check_output_file,
    csv_text,
    json_text,
    output_directory,
    results_folder,
    write_arrays,
    write_csv,
    write_json,
    write_text,
)


def content(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_text()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def write_and_raise(target, error, force=False):
    with output_directory(target, force=force) as work:
        (work / "x.txt").write_text("x")
        raise error


@pytest.fixture
def old(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old.txt").write_text("old")
    return tmp_path / "out"


def test_folder_appears_when_all_is_written(tmp_path):
    target = tmp_path / "a" / "out"
    with output_directory(target) as work:
        (work / "sub").mkdir()
        (work / "sub" / "x.txt").write_text("x")
        assert not target.exists()
        assert work.parent == target.parent
        assert work.name.startswith(".")
    assert content(tmp_path) == {"a/out/sub/x.txt": "x"}
    assert names(target.parent) == ["out"]


def test_folder_is_as_readable_as_any_other(tmp_path):
    (tmp_path / "plain").mkdir()
    with output_directory(tmp_path / "out"):
        pass
    assert (tmp_path / "out").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, SystemExit])
@pytest.mark.parametrize("force", [True, False])
def test_nothing_is_left_and_nothing_lost_on_errors(tmp_path, error, force):
    target = tmp_path / "out"
    target.mkdir()
    if force:
        (target / "old.txt").write_text("old")
    with pytest.raises(error):
        write_and_raise(target, error, force)
    assert content(tmp_path) == ({"out/old.txt": "old"} if force else {})
    assert names(tmp_path) == ["out"]


def test_full_folder_is_refused_without_force(old):
    with (
        pytest.raises(InputError, match=r"out: this folder already holds something; .*--force"),
        output_directory(old),
    ):
        pytest.fail("the body must not run")
    assert content(old) == {"old.txt": "old"}


def test_force_replaces_only_at_the_end(old):
    with output_directory(old, force=True) as work:
        (work / "new.txt").write_text("new")
        assert content(old) == {"old.txt": "old"}
    assert content(old) == {"new.txt": "new"}
    assert names(old.parent) == ["out"]


def test_what_appears_meanwhile_is_not_overwritten(tmp_path):
    def race():
        with output_directory(tmp_path / "out") as work:
            (work / "x.txt").write_text("x")
            (tmp_path / "out").mkdir()
            (tmp_path / "out" / "theirs.txt").write_text("theirs")

    with pytest.raises(InputError, match="already holds something"):
        race()
    assert content(tmp_path) == {"out/theirs.txt": "theirs"}


def test_failing_swap_brings_the_old_folder_back(old, monkeypatch):
    rename = Path.rename

    def refuse(self, target):
        if self.name.endswith(".part"):
            raise OSError(errno.EIO, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refuse)
    monkeypatch.setattr(output, "exchange", lambda *_: False)  # as on systems that cannot
    with (
        pytest.raises(SDMADError, match="cannot be written"),
        output_directory(old, force=True) as work,
    ):
        (work / "new.txt").write_text("new")
    assert content(old.parent) == {"out/old.txt": "old"}
    assert names(old.parent) == ["out"]


def test_a_file_in_the_way(tmp_path):
    (tmp_path / "out").write_text("mine")
    for force in (True, False):
        with pytest.raises(InputError, match="a file is in the way"):
            check_output(tmp_path / "out", force)


def test_link_to_a_folder_is_kept(old, tmp_path):
    (tmp_path / "link").symlink_to(old, target_is_directory=True)
    with output_directory(tmp_path / "link", force=True) as work:
        (work / "new.txt").write_text("new")
    assert (tmp_path / "link").is_symlink()
    assert content(old) == {"new.txt": "new"}


def test_full_disk_in_a_folder(tmp_path):
    error = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(SDMADError, match=r"out: cannot be written \(No space left on device\)"):
        write_and_raise(tmp_path / "out", error)
    assert names(tmp_path) == []


def test_reading_errors_are_not_called_writing_errors(tmp_path):
    with pytest.raises(FileNotFoundError), output_directory(tmp_path / "out"):
        (tmp_path / "input.txt").read_text()
    assert names(tmp_path) == []


def test_parent_that_is_a_file(tmp_path):
    (tmp_path / "f").write_text("")
    with (
        pytest.raises(SDMADError, match="cannot be written"),
        output_directory(tmp_path / "f" / "out"),
    ):
        pytest.fail("the body must not run")


def test_write_text(tmp_path):
    (tmp_path / "plain").write_text("")
    write_text(tmp_path / "a.txt", "Ödem\r\n")
    assert (tmp_path / "a.txt").read_bytes() == "Ödem\r\n".encode()
    assert (tmp_path / "a.txt").stat().st_mode == (tmp_path / "plain").stat().st_mode
    write_text(tmp_path / "a.txt", "new")
    assert content(tmp_path) == {"a.txt": "new", "plain": ""}


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left"), KeyboardInterrupt()])
def test_write_text_keeps_the_old_file_when_it_fails(tmp_path, monkeypatch, error):
    write_text(tmp_path / "a.txt", "old")

    def refuse(self, target):
        raise error

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises((SDMADError, KeyboardInterrupt)):
        write_text(tmp_path / "a.txt", "new")
    assert content(tmp_path) == {"a.txt": "old"}


def test_write_text_on_a_full_disk(tmp_path, monkeypatch):
    write_text(tmp_path / "a.txt", "old")

    class FullDisk(io.StringIO):
        def write(self, text):
            raise OSError(errno.ENOSPC, "No space left on device")

    def fdopen(handle, *_, **__):
        os.close(handle)
        return FullDisk()

    monkeypatch.setattr(output.os, "fdopen", fdopen)
    message = r"a\.txt: cannot be written \(No space left on device\); nothing was left"
    with pytest.raises(SDMADError, match=message):
        write_text(tmp_path / "a.txt", "new")
    assert content(tmp_path) == {"a.txt": "old"}


def test_write_text_into_a_missing_folder(tmp_path):
    with pytest.raises(SDMADError, match=r"a\.txt: cannot be written \(No such file"):
        write_text(tmp_path / "none" / "a.txt", "x")


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "\tx", "\rx", "\n=1", "=cmd|'/C x'!A0"])
def test_formulas_are_defused(tmp_path, text):
    write_csv(tmp_path / "a.csv", [text], [[text]])
    with (tmp_path / "a.csv").open(newline="", encoding="utf-8") as file:
        cell = f"'{text}".replace("\r", "\n")
        assert list(csv.reader(file)) == [[cell], [cell]]


def test_carriage_return_inside_a_cell_starts_no_row():
    assert list(csv.reader(io.StringIO(csv_text(["a"], [["x\r=1"]]), newline=""))) == [
        ["a"],
        ["x\n=1"],
    ]


def test_csv_cells():
    rows = [["a,b", -1, -0.5, np.float64(-2.5), np.int64(-3), None, math.nan, True, "a-b"]]
    text = csv_text([f"c{i}" for i in range(9)], rows)
    assert text == 'c0,c1,c2,c3,c4,c5,c6,c7,c8\n"a,b",-1,-0.5,-2.5,-3,,,True,a-b\n'
    with pytest.raises(ValueError, match="expected 2 cells, got 1"):
        csv_text(["a", "b"], [["x"]])


def test_json(tmp_path):
    values = {
        "z": math.nan,
        "a": np.array([[1.5, np.inf]]),
        "i": np.int64(3),
        "b": np.bool_(True),
        "p": Path("x"),
        "t": (1, None),
        2: "Ödem",
    }
    write_json(tmp_path / "a.json", values)
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert "Ödem" in text
    read = json.loads(text)
    assert list(read) == ["z", "a", "i", "b", "p", "t", "2"]
    assert list(read.values()) == [None, [[1.5, None]], 3, True, "x", [1, None], "Ödem"]
    assert json_text({"a": [1]}, indent=None) == '{"a": [1]}'
    with pytest.raises(TypeError, match="cannot write set as JSON"):
        write_json(tmp_path / "b.json", {"a": {1}})
    assert not (tmp_path / "b.json").exists()


def special(folder, kind):
    path = folder / kind
    if kind == "device":
        path.symlink_to("/dev/null")
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(str(path))
    return path


@pytest.mark.parametrize("kind", ["device", "pipe", "socket"])
@pytest.mark.parametrize("force", [False, True])
def test_no_file_takes_the_place_of_a_device_a_pipe_or_a_socket(tmp_path, kind, force):
    path = special(tmp_path, kind)
    before = path.stat()
    for refuse in (
        lambda: check_output_file(path, force),
        lambda: write_text(path, "x"),
        lambda: write_csv(path, ["a"], []),
    ):
        with pytest.raises(InputError, match="a device, a pipe or a socket"):
            refuse()
    with pytest.raises(InputError, match="a file is in the way"):
        check_output(path, force)
    assert (path.stat().st_ino, path.stat().st_mode) == (before.st_ino, before.st_mode)
    assert names(tmp_path) == [kind]


def test_bytes_of_file_names_are_written_as_they_are(tmp_path):
    name = os.fsdecode(b"na\xefve")
    write_csv(tmp_path / "a.csv", ["file"], [[name + "\u00f6\ud800"]])
    assert (tmp_path / "a.csv").read_bytes() == b"file\nna\xefve\xc3\xb6\\ud800\n"
    write_json(tmp_path / "a.json", [name])
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == [name]


def write_into(path):
    with output_directory(path):
        pass


@pytest.mark.parametrize("name", ["a\0b", "\ud800", "x" * 300])
@pytest.mark.parametrize(
    "write",
    [
        *(write_into, check_output, check_output_file, results_folder),
        *(lambda path: write_text(path, "a"), lambda path: write_arrays(path, {})),
    ],
)
def test_a_name_that_no_file_can_have(tmp_path, name, write):
    with pytest.raises(InputError, match=r"a name that no file can have \("):
        write(tmp_path / name)
    assert list(tmp_path.iterdir()) == []
