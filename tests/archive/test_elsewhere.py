"""The same images wherever they lie: tar shards, Parquet, tables, an S3 server on loopback."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sdmad.archive import places
from sdmad.archive.places import Place, patiently, place_of
from sdmad.archive.sources import Passed, entries
from sdmad.archive.stages import Judge
from sdmad.detector.sign_detector import SignDetector
from sdmad.errors import InputError, SDMADError
from tests.archive.helpers import staged, write_images, write_tar

BAD = (3,)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("elsewhere") / "images", 40, BAD)


@pytest.fixture(scope="module")
def judge(model_folder):
    return Judge.of(SignDetector.load(model_folder))


@pytest.fixture(scope="module")
def local(images, judge, tmp_path_factory):
    """The rows of the folder itself."""
    return staged([images], tmp_path_factory.mktemp("local") / "out", judge)


def check_same(rows, local):
    """What is said of the images, and that their names and errors end alike."""
    kept = ("hash", "abnormality", "unfamiliar", "score:Ring", "found:Bar", "sign:Dots")
    for mine, theirs in zip(rows, local, strict=True):
        assert {name: mine[name] for name in kept} == {name: theirs[name] for name in kept}
        assert mine["file"].rsplit("/", 1)[-1] == theirs["file"].rsplit("/", 1)[-1]
        assert bool(mine["error"]) == bool(theirs["error"])
        if mine["error"]:
            assert mine["error"].startswith(mine["file"])
            assert mine["error"].split(": ", 1)[1] == theirs["error"].split(": ", 1)[1]


def contents(images):
    return {path.name: path.read_bytes() for path in sorted(images.iterdir())}


def test_tar_shards(images, judge, local, tmp_path):
    held = contents(images)
    names = sorted(held)
    (tmp_path / "tars").mkdir()
    write_tar(tmp_path / "tars" / "a.tar", {name: held[name] for name in names[:25]})
    write_tar(tmp_path / "tars" / "b.tar", {name: held[name] for name in names[25:]})
    rows = staged([tmp_path / "tars"], tmp_path / "out", judge)
    check_same(rows, local)
    assert rows[0]["file"] == str(tmp_path / "tars" / "a.tar" / "000.png")


@pytest.mark.parametrize("nested", [False, True])
def test_parquet_of_bytes_over_several_row_groups(images, judge, local, tmp_path, nested):
    held = contents(images)
    cells = list(held.values())
    column = [{"bytes": one, "path": None} for one in cells] if nested else cells
    table = pa.table({"file": list(held), "image": column})
    pq.write_table(table, tmp_path / "x.parquet", row_group_size=7)
    check_same(staged([tmp_path / "x.parquet"], tmp_path / "out", judge, 32), local)


def test_a_table_of_addresses_may_name_what_is_not_there(images, judge, local, tmp_path):
    lines = ["file,date", *(f"images/{name},2024-05-01" for name in contents(images))]
    table = images.parent / "list.csv"
    table.write_text("\n".join([*lines, "images/none.png,2024-05-01"]))
    rows = staged([table], tmp_path / "out", judge)
    check_same(rows[:-1], local)
    assert "no such file" in rows[-1]["error"]
    assert rows[-1]["hash"] is None
    assert {row["date"].isoformat() for row in rows} == {"2024-05-01T00:00:00+00:00"}


@pytest.fixture(scope="module")
def bucket(images):
    """The images in a bucket of a server of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    server = subprocess.Popen(command, **quiet)
    secrets = {
        "AWS_ENDPOINT_URL": address,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in secrets.items():
            patch.setenv(name, value)
        try:
            _wait(address)
            system, _ = Place("s3://archive").opened()
            system.mkdir("archive")
            for name, content in contents(images).items():
                Place(f"s3://archive/images/{name}").write(content)
            yield "s3://archive"
        finally:
            server.kill()
            server.wait()


def _wait(address):
    until = time.monotonic() + 120
    while True:
        try:
            urllib.request.urlopen(address, timeout=5).close()
            return
        except OSError:
            assert time.monotonic() < until
            time.sleep(0.2)


def test_a_bucket_is_read_and_written(bucket, judge, local):
    rows = staged([f"{bucket}/images/"], f"{bucket}/out", judge, 32)
    check_same(rows, local)
    assert rows[0]["file"] == f"{bucket}/images/000.png"
    assert (place_of(bucket) / "out" / "scores").names() == [
        "shard-000000.parquet",
        "shard-000001.parquet",
    ]
    with pytest.raises(InputError, match="no such file or folder"):
        staged([f"{bucket}/none"], f"{bucket}/out2", judge)


def test_odd_names_in_a_bucket_are_names_and_an_empty_object_is_a_row(
    bucket, images, judge, local, tmp_path
):
    held = contents(images)
    odd = ["a::b.png", "plain#5", "w?a*t [1] 100%.png", "ü/日本 é.png", "back\\slash.png"]
    for name, content in zip(odd, list(held.values())[4:], strict=False):
        Place(f"{bucket}/odd/{name}").write(content)
    Place(f"{bucket}/odd/empty.png").write(b"")
    rows = {row["file"]: row for row in staged([f"{bucket}/odd"], tmp_path / "out", judge)}
    assert rows.keys() == {f"{bucket}/odd/{name}" for name in [*odd, "empty.png"]}
    for name, other in zip(odd, local[4:], strict=False):
        assert rows[f"{bucket}/odd/{name}"]["hash"] == other["hash"]
        assert rows[f"{bucket}/odd/{name}"]["error"] is None
    assert "empty file (0 bytes)" in rows[f"{bucket}/odd/empty.png"]["error"]


def test_what_a_bucket_cannot_give_or_take_is_told(bucket):
    Place(f"{bucket}/twice").opened()[0].pipe_file("archive/twice//lost.png", b"x")
    passed = Passed(Counter())
    assert list(entries([f"{bucket}/twice"], passed)) == []
    assert passed.kinds == {"folder without a name (//)": 1}
    with pytest.raises(SDMADError, match=r"s3://nobucket/out/run\.json: cannot be written \(The"):
        Place("s3://nobucket/out/run.json").write(b"x")


def test_tar_shards_in_a_bucket(bucket, images, judge, local, tmp_path):
    path = write_tar(tmp_path / "all.tar", contents(images))
    Place(f"{bucket}/tars/all.tar").write(path.read_bytes())
    check_same(staged([f"{bucket}/tars"], tmp_path / "out", judge), local)


def test_a_place_that_does_not_answer_ends_the_run_after_some_tries(monkeypatch):
    monkeypatch.setattr(places, "PAUSE", 0.0)
    tries = []

    def fails():
        tries.append(1)
        raise SDMADError("s3://b/a: cannot be reached")

    with pytest.raises(SDMADError, match="cannot be reached"):
        patiently(fails)
    assert len(tries) == places.TRIES
    assert patiently(lambda: b"x") == b"x"


def test_what_was_fetched_leaves_nothing_behind(bucket, judge, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    import tempfile

    monkeypatch.setattr(tempfile, "tempdir", None)
    rows = staged([f"{bucket}/images/"], tmp_path / "out", judge)
    assert np.isfinite([row["abnormality"] for row in rows if row["error"] is None]).all()
    assert os.listdir(tmp_path / "tmp") == []  # noqa: PTH208
