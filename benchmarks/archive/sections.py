"""What is measured of archives, in sections whose parts are measured one by one.

Each part is a figure, or a few that belong together; what it needs it makes, once.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.archive.made_up import write_scores
from benchmarks.archive.watching import Family, Run, command, run
from benchmarks.performance.common import embedded_model, write_pictures
from sdmad.archive.places import Place
from sdmad.archive.reading import look
from sdmad.archive.sources import Entry
from sdmad.data.preprocessing import Preprocessing

NIH, TEN_MILLION = 112_120, 10_000_000
WAYS = {"plain": (), "ray, 1 tower": ("1",), "ray, 2 towers": ("2",)}
"""Engines whose rates are compared: the plain one, and Ray with so many towers."""


@dataclass(frozen=True)
class Sizes:
    """How much is measured.

    Attributes:
        pictures: files that are drawn; larger archives name them again and again.
        few: images of the smaller run of a rate.
        many: images of the larger.
        rounds: how often engines are compared, one after the other.
        memory: images of the runs whose memory is compared.
        resumed: images of the run that is killed.
        judged: rows that are evaluated.
    """

    pictures: int = 1000
    few: int = 1000
    many: int = 5000
    rounds: int = 3
    memory: tuple[int, ...] = (10_000, 50_000, 200_000)
    resumed: int = 4096
    judged: tuple[int, ...] = (NIH, TEN_MILLION)


SMALL = Sizes(64, 64, 256, 1, (64, 256), 3072, (2_000, 250_000))


@dataclass(frozen=True)
class Section:
    """Something that is measured, in parts.

    Attributes:
        parts: their names.
        measure: measures one of them, by its name.
    """

    parts: Callable[[Sizes], Sequence[str]]
    measure: Callable[[Path, Sizes, str], dict[str, Any]]


def material(work: Path, sizes: Sizes) -> tuple[Path, list[Path]]:
    """The model and the pictures."""
    model, folder = work / "fitted" / "model", work / "pictures"
    if not model.exists():
        model.parent.mkdir(parents=True, exist_ok=True)
        embedded_model(model.parent)
    if not folder.exists():
        folder.mkdir()
        write_pictures(folder, sizes.pictures, "png")
    return model, sorted(folder.iterdir())


def table_of(folder: Path, pictures: list[Path], count: int) -> Path:
    """A table that names pictures again and again, so many in all."""
    path = folder / f"{count}.csv"
    names = (str(pictures[i % len(pictures)]) for i in range(count))
    path.write_text("\n".join(["file", *names]) + "\n", encoding="utf-8")
    return path


def linked(work: Path, pictures: list[Path], count: int) -> Path:
    """A folder of so many files, which are links to the pictures."""
    folder = work / f"linked-{count}"
    folder.mkdir(exist_ok=True)
    for i in range(count):
        link = folder / f"{i:07d}.png"
        if not link.exists():
            link.symlink_to(pictures[i % len(pictures)])
    return folder


def rates(work: Path, sizes: Sizes, part: str) -> dict[str, Any]:
    """One round: few and many images by each engine."""
    del part
    model, pictures = material(work, sizes)
    (work / "scored").mkdir(exist_ok=True)
    found: dict[str, Any] = {"images": sizes.many - sizes.few}
    for name, towers in WAYS.items():
        runs = []
        for count in (sizes.few, sizes.many):
            out = work / "scored" / f"{name.replace(' ', '')}-{count}"
            if towers:
                given = [table_of(work, pictures, count), "--engine", "ray", "--workers", *towers]
            else:
                given = [linked(work, pictures, count)]
            runs.append(run("predict", model, *given, "--out", out, "--force"))
        found[name] = beyond(*runs)
    return found


def beyond(few: Run, many: Run) -> dict[str, float]:
    """What more images cost beyond fewer, so that starting is told apart."""
    return {
        "seconds": many.seconds - few.seconds,
        "cpu": many.cpu - few.cpu,
        "few": few.seconds,
        "memory": many.memory,
        "others": max(few.others, many.others),
    }


def decoding(work: Path, sizes: Sizes, part: str) -> dict[str, Any]:
    """What reading and squaring an image takes of the processor, the decoder's share included."""
    del part
    _, pictures = material(work, sizes)
    preprocessing = Preprocessing.from_dict(
        json.loads((work / "fitted" / "model" / "preprocessing.json").read_text("utf-8"))
    )
    rows = [Entry(str(path), str(path)) for path in pictures]
    family = Family(os.getpid())
    started = len(rows) // 2
    for number, _ in enumerate(look(rows, "square", **preprocessing.how), 1):
        if number == started:  # the decoder too
            family.look()
            before = family.run().cpu
        if number == len(rows):  # it ends with the loop
            family.look()
    return {"images": len(rows) - started, "cpu": family.run().cpu - before}


def memory(work: Path, sizes: Sizes, part: str) -> dict[str, Any]:
    """Memory of an archive of so many images, and the time of the same command once more."""
    model, pictures = material(work, sizes)
    out = work / "scored" / f"memory-{part}"
    given = ["predict", model, table_of(work, pictures, int(part)), "--engine", "ray"]
    first = run(*given, "--out", out, "--force")
    again = run(*given, "--out", out)
    return {**asdict(first), "again": again.seconds}


def resuming(work: Path, sizes: Sizes, part: str) -> dict[str, Any]:
    """A run to its end, one that is killed half-way, and the same command twice more."""
    del part
    model, pictures = material(work, sizes)
    out = work / "scored" / "resuming"
    table = table_of(work, pictures, sizes.resumed)
    given = ["predict", model, table, "--engine", "ray", "--out", out]
    whole = run(*given, "--force")
    shards = finished(out)
    killed_at(shards // 2, out, *given, "--force")
    kept = finished(out)
    rest, none = run(*given), run(*given)
    told = {"whole": whole, "rest": rest, "none": none}
    return {"shards": shards, "kept": kept, **{name: asdict(one) for name, one in told.items()}}


def finished(out: Path) -> int:
    """Shards that are there."""
    return len(list(out.glob("scores/*.parquet")))


def killed_at(shards: int, out: Path, *arguments: object) -> None:
    """Run a command that starts anew until so many shards are there; kill it and its processes."""
    before = (out / "run.json").stat().st_mtime_ns
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command(*arguments), stdout=quiet, stderr=quiet) as process:
        family = Family(process.pid)
        while _written(out / "run.json") in (0, before) or finished(out) < shards:
            if process.poll() is not None:
                raise SystemExit(f"it ended before it could be killed: {process.args}")
            family.look()
            time.sleep(0.1)
        for pid in family.look():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _written(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def bucket(work: Path, sizes: Sizes, part: str) -> dict[str, Any]:
    """From and to a server of S3 on this machine, which is written in Python."""
    del part
    model, pictures = material(work, sizes)
    with server() as environment:
        system, _ = Place("s3://archive").opened()
        system.mkdir("archive")
        for path in pictures:
            Place(f"s3://archive/images/{path.name}").write(path.read_bytes())
        given = ["s3://archive/images", "--engine", "ray", "--out", "s3://archive/scores"]
        there = run("predict", model, *given, **environment)
    out = work / "scored" / "beside-bucket"
    here = run(
        "predict", model, linked(work, pictures, len(pictures)), "--engine", "ray",
        "--out", out, "--force",
    )  # fmt: skip
    return {"images": len(pictures), "there": asdict(there), "here": asdict(here)}


@contextmanager
def server() -> Iterator[dict[str, str]]:
    """A server of S3 and what the environment must say of it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    told = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "none",
        "AWS_SECRET_ACCESS_KEY": "none",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    os.environ.update(told)
    moto = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    quiet = subprocess.DEVNULL
    with subprocess.Popen(moto, stdout=quiet, stderr=quiet) as process:
        try:
            for _ in range(600):
                with socket.socket() as trial:
                    if trial.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.2)
            yield told
        finally:
            process.kill()


def judging(work: Path, sizes: Sizes, part: str) -> dict[str, Any]:
    """Evaluating made-up scores of so many images in 14 categories."""
    model, _ = material(work, sizes)
    folder = work / f"judged-{part}"
    if not (folder / "labels.parquet").exists():
        write_scores(folder, int(part))
    given = [folder / "labels.parquet", "--scores", folder, "--out", work / f"results-{part}"]
    return asdict(run("evaluate", model, *given, "--force"))


def _once(_: Sizes) -> Sequence[str]:
    return ("once",)


SECTIONS = {
    "rates": Section(lambda sizes: [str(i + 1) for i in range(sizes.rounds)], rates),
    "decoding": Section(_once, decoding),
    "memory": Section(lambda sizes: [str(count) for count in sizes.memory], memory),
    "resuming": Section(_once, resuming),
    "bucket": Section(_once, bucket),
    "judging": Section(lambda sizes: [str(count) for count in sizes.judged], judging),
}
