import os
import sys
import time
from datetime import UTC, datetime

import fsspec
import pytest

from sdmad.archive.places import LEFT, Place, place_of
from sdmad.errors import InputError, SDMADError
from sdmad.unfinished import unfinished_file


def test_paths_are_absolute_and_addresses_kept(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert place_of("a/../b").address == str(tmp_path / "b")
    assert place_of("s3://bucket/a b/").address == "s3://bucket/a b"
    assert place_of(tmp_path / "x#3").is_local


def test_an_address_that_was_taken_for_a_path_is_one_again():
    from pathlib import Path

    assert place_of(Path("s3://bucket/scores")).address == "s3://bucket/scores"


def test_colons_in_a_name_are_no_chain(tmp_path):
    assert place_of("s3://bucket/a::b.png").address == "s3://bucket/a::b.png"
    (place_of(tmp_path) / "a::b.png").write(b"x")
    assert (place_of(tmp_path) / "a::b.png").read(0, 1) == b"x"


@pytest.mark.parametrize("text", ["ftp://host/a", "simplecache::s3://b/a", "github://a:b@/c"])
def test_other_protocols_and_chains_are_refused(text):
    with pytest.raises(InputError):
        place_of(text)


@pytest.mark.parametrize("make", [lambda p: place_of(p), lambda p: place_of(f"memory://{p.name}")])
def test_what_is_written_is_read_again(tmp_path, make):
    folder = make(tmp_path / "there")
    assert folder.names() == []
    assert not folder.is_there()
    (folder / "in" / "a.bin").write(b"0123456789")
    assert (folder / "in").names() == ["a.bin"]
    assert (folder / "in" / "a.bin").read() == b"0123456789"
    assert (folder / "in" / "a.bin").read(3, 4) == b"3456"
    assert folder.is_folder()
    with pytest.raises(FileNotFoundError):
        (folder / "none").read()
    folder.remove()
    assert folder.names() == []


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "s3fs", None)
    from fsspec.registry import _registry

    monkeypatch.delitem(_registry, "s3", raising=False)
    with pytest.raises(InputError, match=r"sdmad\[s3\]"):
        Place("s3://bucket/a").opened()


def test_what_a_place_refuses_is_one_line(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(SDMADError, match="cannot be"):
        (place_of(tmp_path / "file") / "below").write(b"")


def test_what_killed_runs_left_is_swept_and_what_is_written_is_not(tmp_path):
    with unfinished_file(tmp_path / "b.bin") as written:
        (tmp_path / ".a.bin.abcdefgh.part").write_bytes(b"half")
        (tmp_path / "a.bin").write_bytes(b"whole")
        place_of(tmp_path).sweep()
        assert place_of(tmp_path).names() == sorted([written.name, "a.bin"])
    place_of(tmp_path / "none").sweep()
    place_of("memory://none").sweep()


@pytest.fixture
def over_sftp(monkeypatch, tmp_path):
    """A folder of this machine in the place of an SFTP server's."""
    from fsspec.implementations.dirfs import DirFileSystem
    from fsspec.registry import _registry

    class Server(DirFileSystem):
        protocol = "sftp"

        def __init__(self, **_):
            super().__init__(str(tmp_path), fs=fsspec.filesystem("file"))

        @classmethod
        def _strip_protocol(cls, path):
            return path.removeprefix("sftp://server")

        def ls(self, path, detail=False, **_):
            found = super().ls(path, detail=detail)
            if detail:
                for told in found:
                    told["mtime"] = datetime.fromtimestamp(told["mtime"], UTC)
            return found

    monkeypatch.setitem(_registry, "sftp", Server)
    return place_of("sftp://server/scores"), tmp_path / "scores"


def test_over_sftp_a_file_is_whole_and_what_is_old_and_half_written_is_swept(over_sftp):
    place, folder = over_sftp
    place.sweep()
    (place / "a.parquet").write(b"whole")
    old, new = folder / ".b.parquet.0a1b2c3d.part", folder / ".c.parquet.0a1b2c3d.part"
    for half in (old, new):
        half.write_bytes(b"half")
    long_ago = time.time() - 1.1 * LEFT.total_seconds()
    for file in (old, folder / "a.parquet"):
        os.utime(file, (long_ago, long_ago))
    place.sweep()
    assert place.names() == [new.name, "a.parquet"]
    assert (place / "a.parquet").read() == b"whole"
