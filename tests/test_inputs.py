import os
import socket
from pathlib import Path

import pytest

from sdmad.errors import InputError, ModelError
from sdmad.inputs import check_regular, read_bytes, read_json, read_text


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"\xef\xbb\xbf{}")
    return path


def test_what_is_right_is_read(file):
    assert read_bytes(file, 5) == b"\xef\xbb\xbf{}"
    assert read_text(file, 5) == "{}"
    file.write_text('{"a": 1}')
    assert read_json(file, 8) == {"a": 1}
    check_regular(file)


def pipe(folder):
    os.mkfifo(folder / "pipe")
    return folder / "pipe"


def unix_socket(folder):
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(folder / "s"))
    return folder / "s"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: folder / "none", "none: no such file"),
        (lambda folder: folder / "a" / "b", "b: no such file"),
        (lambda folder: folder, "a folder; give the file"),
        (lambda _: Path("/dev/zero"), "/dev/zero: not a regular file"),
        (pipe, "pipe: not a regular file"),
        (unix_socket, "s: not a regular file"),
        (lambda folder: folder / ("x" * 300), "cannot be read .*too long"),
        (lambda folder: folder / "a\0b", r"a\\x00b: cannot be read \(.*null"),
        (lambda folder: folder / "a", "larger than 4 bytes"),
    ],
)
@pytest.mark.parametrize("read", [read_bytes, read_text, read_json])
def test_what_is_no_small_regular_file_is_refused_before_it_is_read(
    tmp_path, file, make, message, read
):
    path = make(tmp_path)
    for kind in (InputError, ModelError):
        with pytest.raises(kind, match=message):
            read(path, 4, kind)


def test_a_file_that_grows_is_refused(file, monkeypatch):
    monkeypatch.setattr("sdmad.inputs.check_regular", lambda *_: None)
    with pytest.raises(InputError, match="larger than 4 bytes"):
        read_bytes(file, 4)


@pytest.mark.parametrize(
    "content", [b"", b"[1]", b"{", b"\xff{}", b"[" * 100_000, b'{"a": ' + b"9" * 5000 + b"}"]
)
def test_what_is_no_object_is_refused(file, content):
    file.write_bytes(content)
    with pytest.raises(InputError, match="a is not readable JSON"):
        read_json(file, 1_000_000)


def test_the_line_that_is_no_text_is_named(file):
    file.write_bytes(b"one\ntwo\xe4\n")
    with pytest.raises(InputError, match="line 2: not UTF-8 text"):
        read_text(file, 100)
