"""Judges of archives that go wrong, by name, so that processes of a cluster find them."""

import io
import os
import signal
import sys
import tarfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from sdmad.archive import watching
from sdmad.archive.engine import Resources
from sdmad.archive.listing import write_listing
from sdmad.archive.maps import write_maps
from sdmad.archive.places import place_of
from sdmad.archive.predicting import score_archive
from sdmad.archive.shards import Gathering, write_shard
from sdmad.archive.stages import Judge, Squares, judged
from sdmad.detector.sign_detector import SignDetector
from sdmad.errors import SDMADError
from tests.conftest import draw_pictures

GO_ON = "go-on"
"""Among the marks: towers that wait need wait no more."""

OPENED, HALFWAY = "opened", "halfway"
"""Among the marks, before a node's name: its tower is there; it has its second chunk in hand."""


def open_judge(model, maps=False):
    """A judge by a fitted model."""
    return Judge.of(SignDetector.load(model), maps=maps)


class Killed(Judge):
    """Its process is killed once, at a chunk."""

    def told(self, found):
        marker = Path(self.marker)
        if len(found) > 1 and not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().told(found)


def open_killed(model, marker):
    """A judge whose process is killed once."""
    judge = open_judge(model)
    object.__setattr__(judge, "__class__", Killed)
    object.__setattr__(judge, "marker", str(marker))
    return judge


class Slow(Judge):
    """Takes half a second a chunk."""

    def told(self, found):
        if len(found) > 1:
            time.sleep(0.5)
        return super().told(found)


def open_slow(model):
    """A slow judge."""
    judge = open_judge(model)
    object.__setattr__(judge, "__class__", Slow)
    return judge


class Filling(Judge):
    """Puts 24 MiB into the object store at each chunk, keeps them, and looks at the first again."""

    def told(self, found):
        import ray

        if len(found) > 1:
            self.kept.append(ray.put(np.random.default_rng(len(self.kept)).bytes(24 << 20)))
            assert ray.get(self.kept[0]) == np.random.default_rng(0).bytes(24 << 20)
        return super().told(found)


def open_filling(model):
    """A judge that fills the object store."""
    judge = open_judge(model)
    object.__setattr__(judge, "__class__", Filling)
    object.__setattr__(judge, "kept", [])
    return judge


class Waiting(Judge):
    """Marks its node at its second chunk, and waits there until the test lets all go on."""

    def told(self, found):
        if len(found) > 1:
            self.chunks.append(len(found))
        if len(self.chunks) == 2:
            wait_in_the_middle(Path(self.marks))
        return super().told(found)


def wait_in_the_middle(marks):
    """Mark this node, and wait."""
    mark(marks, HALFWAY)
    until = time.monotonic() + 120
    while not (marks / GO_ON).exists() and time.monotonic() < until:
        time.sleep(0.02)


def mark(marks, what):
    """Mark this node, unless this is the driver, which opens a judge before it is connected."""
    import ray

    if not ray.is_initialized():
        return
    (marks / f"{what}-{ray.get_runtime_context().get_node_id()}").touch()


def open_waiting(model, marks):
    """A judge that waits in the middle."""
    mark(Path(marks), OPENED)
    judge = open_judge(model)
    object.__setattr__(judge, "__class__", Waiting)
    object.__setattr__(judge, "marks", str(marks))
    object.__setattr__(judge, "chunks", [])
    return judge


def write_images(folder, count, bad=()):
    """Write pictures, some of which cannot be read."""
    folder.mkdir(parents=True)
    for i, picture in enumerate(draw_pictures(count)[0]):
        if i in bad:
            (folder / f"{i:03d}.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(i))
        else:
            Image.fromarray(picture).save(folder / f"{i:03d}.png")
    return folder


def run(folder, out, model, opened=None, shard_size=32, **resources):
    """Score a folder as an archive of small shards."""
    opened = opened or partial(open_judge, str(model))
    given = Resources(**resources)
    return score_archive([folder], place_of(out), opened, Path(model), {}, given, False, shard_size)


def staged(sources, out, judge, shard_size=64):
    """Run an archive through the stages one after the other in this process; its rows."""
    out = place_of(out)
    listing = write_listing(sources, out, shard_size)
    gathering, read, found = Gathering(listing), Squares(out, judge.preprocessing), []
    for shard in range(listing.shards):
        for chunk in read(pa.table({"shard": [shard]})):
            for number, whole in gathering.add(judged(judge, "m" * 64, chunk, 0)):
                plain = write_maps(out, number, whole)
                write_shard(out, "run", number, plain)
                found.append(plain)
    return pa.concat_tables(found).to_pylist()


def write_tar(path, members):
    """Write a tar file of some bytes by their names."""
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(content), 86400
            archive.addfile(info, io.BytesIO(content))
    return path


def read_rows(out):
    """All rows of an archive, by shard and row."""
    files = sorted(Path(out, "scores").glob("*.parquet"))
    tables = [pq.read_table(file) for file in files]
    rows = [row for table in tables for row in table.to_pylist()]
    return sorted(rows, key=lambda row: (row["shard"], row["row"]))


def check_equal(rows, detector, files, bad=()):
    """Rows say to the bit what the plain engine says, each file once."""
    assert [row["file"] for row in rows] == [str(file) for file in files]
    scored = detector.score_images(files, lambda *_: None)
    for i, row in enumerate(rows):
        found = [row[f"score:{name}"] for name in detector.categories]
        if i in bad:
            assert row["error"]
            assert found == [None] * len(found)
            continue
        assert row["error"] is None
        np.testing.assert_array_equal(found, scored.scores[i])
        assert row["abnormality"] == scored.abnormality[i]
        assert row["unfamiliar"] == scored.unfamiliar[i]
        decided = [row[f"found:{name}"] for name in detector.categories]
        assert decided == scored.decisions[i].tolist()


if __name__ == "__main__":  # a driver of its own
    images, results, fitted, *others = sys.argv[1:]
    opened, given = partial(open_slow, fitted), {}
    if others:
        marks, gpus = others
        opened, given = partial(open_waiting, fitted, marks), {"gpus": float(gpus)}
        watching.PATIENCE = 3.0
    try:
        run(images, results, fitted, opened, **given)
    except SDMADError as error:
        sys.exit(str(error))
