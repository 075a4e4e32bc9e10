"""Archives measured: rates by workers, memory by images, time to resume, scores judged.

    python -m benchmarks.archive --out out/archive --docs docs/archives.md

Commands run in processes of their own. A rate is what more images cost beyond fewer, so that
starting (of Python, torch and Ray) is told apart. Memory is the largest sum of proportional set
sizes of the command and all that it starts. Results are kept, so that an interrupted run goes on;
``--small`` only shows that everything runs.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.made_with import write_page
from benchmarks.performance.common import embedded_model, machine, write_pictures
from sdmad.archive.places import Place, place_of
from sdmad.archive.reading import look
from sdmad.archive.rows import Columns
from sdmad.archive.shards import write_shard
from sdmad.archive.sources import Entry
from sdmad.data.preprocessing import Preprocessing
from sdmad.output import write_json
from sdmad.table import Table

PAGE = Path(__file__).with_name("archive_page.md")
NIH, TEN_MILLION = 112_120, 10_000_000
CATEGORIES = tuple(f"Category {k}" for k in range(14))


@dataclass(frozen=True)
class Sizes:
    """How much is measured.

    Attributes:
        pictures: files that are drawn.
        few: images of the smaller run of a rate.
        many: images of the larger.
        memory: images of the runs whose memory is compared.
        judged: rows that are evaluated.
    """

    pictures: int = 1000
    few: int = 1000
    many: int = 5000
    memory: tuple[int, int] = (10_000, 200_000)
    judged: tuple[int, int] = (NIH, TEN_MILLION)


SMALL = Sizes(64, 64, 256, (64, 256), (2_000, 250_000))


@dataclass(frozen=True)
class Run:
    """What a command took: seconds by the clock, and MiB at most."""

    seconds: float
    memory: float


def run(*arguments: object, **environment: str) -> Run:
    """Run a command of sdmad to its end."""
    command = [sys.executable, "-c", "from sdmad.cli.start import run; run()"]
    start, most = time.monotonic(), 0.0
    with subprocess.Popen(
        [*command, *map(str, arguments)],
        env={**os.environ, **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    ) as process:
        while process.poll() is None:
            most = max(most, tree_memory(process.pid))
            time.sleep(0.5)
        seconds = time.monotonic() - start
        assert process.stderr is not None
        if process.returncode:
            raise SystemExit(process.stderr.read().decode())
    return Run(seconds, most)


def tree_memory(root: int) -> float:
    """MiB of a process and all below it, shared pages counted once."""
    parents: dict[int, int] = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(status.parent.name)] = int(status.read_text().rsplit(")", 1)[1].split()[1])
        except OSError:
            continue
    found, wave = {root}, {root}
    while wave:
        wave = {child for child, parent in parents.items() if parent in wave} - found
        found |= wave
    total = 0
    for process in found:
        try:
            text = Path(f"/proc/{process}/smaps_rollup").read_text()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))
    return total / 1024


def table_of(folder: Path, pictures: list[Path], count: int) -> Path:
    """A table that names pictures again and again, so many in all."""
    path = folder / f"{count}.csv"
    names = (str(pictures[i % len(pictures)]) for i in range(count))
    path.write_text("\n".join(["file", *names]) + "\n", encoding="utf-8")
    return path


def rates(work: Path, sizes: Sizes) -> dict[str, Any]:
    """Images a second of the plain engine, and of Ray with one and two towers."""
    model, pictures = material(work, sizes)
    ways = {"plain": [], "ray, 1 tower": ["1"], "ray, 2 towers": ["2"]}
    found = {}
    for name, towers in ways.items():
        runs = []
        for count in (sizes.few, sizes.many):
            out = work / "scored" / f"{name.replace(' ', '')}-{count}"
            if towers:
                given = [table_of(work, pictures, count), "--engine", "ray"]
                given += ["--workers", *towers]
            else:
                given = [linked(work, pictures, count)]
            out.parent.mkdir(exist_ok=True)
            runs.append(run("predict", model, *given, "--out", out, "--force"))
        few, many = runs
        rate = (sizes.many - sizes.few) / (many.seconds - few.seconds)
        start = few.seconds - sizes.few / rate
        found[name] = {"rate": rate, "start": start, "memory": many.memory}
    return found


def linked(work: Path, pictures: list[Path], count: int) -> Path:
    """A folder of so many files, which are links to the pictures."""
    folder = work / f"linked-{count}"
    folder.mkdir(exist_ok=True)
    for i in range(count):
        link = folder / f"{i:07d}.png"
        if not link.exists():
            link.symlink_to(pictures[i % len(pictures)])
    return folder


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


def decoding(work: Path, sizes: Sizes) -> dict[str, Any]:
    """Images a second that one decoder reads and squares."""
    _, pictures = material(work, sizes)
    preprocessing = Preprocessing.from_dict(
        json.loads((work / "fitted" / "model" / "preprocessing.json").read_text("utf-8"))
    )
    rows = [Entry(str(path), str(path)) for path in pictures]
    list(look(rows[:8], "square", **preprocessing.how))  # starts the decoder
    start = time.monotonic()
    list(look(rows, "square", **preprocessing.how))
    return {"rate": len(rows) / (time.monotonic() - start)}


def memory(work: Path, sizes: Sizes) -> dict[str, Any]:
    """Memory of a small and a large archive, and the time of the same command once more."""
    model, pictures = material(work, sizes)
    found: dict[str, Any] = {}
    for count in sizes.memory:
        out = work / "scored" / f"memory-{count}"
        command = ["predict", model, table_of(work, pictures, count), "--engine", "ray"]
        first = run(*command, "--out", out, "--force")
        again = run(*command, "--out", out)
        found[str(count)] = {**vars(first), "again": again.seconds}
    return found


def bucket(work: Path, sizes: Sizes) -> dict[str, Any]:
    """Images a second from and to a server of S3 on this machine, in Python itself."""
    model, pictures = material(work, sizes)
    with server() as environment:
        system, _ = Place("s3://archive").opened()
        system.mkdir("archive")
        for path in pictures:
            Place(f"s3://archive/images/{path.name}").write(path.read_bytes())
        given = ["s3://archive/images", "--engine", "ray", "--out", "s3://archive/scores"]
        found = run("predict", model, *given, **environment)
    return {**vars(found), "images": len(pictures)}


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
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, stdout=quiet, stderr=quiet) as process:
        try:
            for _ in range(600):
                with socket.socket() as trial:
                    if trial.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.2)
            yield told
        finally:
            process.kill()


def judging(work: Path, sizes: Sizes) -> dict[str, Any]:
    """Evaluating made-up scores of many images in 14 categories."""
    model, _ = material(work, sizes)
    found = {}
    for count in sizes.judged:
        folder = work / f"judged-{count}"
        if not (folder / "labels.parquet").exists():
            made_up_scores(folder, count)
        out = work / f"results-{count}"
        given = [folder / "labels.parquet", "--scores", folder, "--out", out, "--force"]
        found[str(count)] = vars(run("evaluate", model, *given))
    return found


def made_up_scores(folder: Path, count: int, part: int = 100_000) -> None:
    """Scores and labels of so many images, three a patient."""
    rng = np.random.default_rng(0)
    schema = Columns(CATEGORIES).schema()
    folder.mkdir(parents=True)
    kinds = [("file", pa.string()), ("patient", pa.string())]
    kinds += [(name, pa.float64()) for name in CATEGORIES]
    with pq.ParquetWriter(folder / "labels.parquet", pa.schema(kinds)) as writer:
        for shard, start in enumerate(range(0, count, part)):
            size = min(part, count - start)
            labels = (rng.random((size, 14)) < 0.05).astype(np.float64)
            scores = labels + rng.normal(size=labels.shape)
            names = [f"/archive/{start + i:08d}.png" for i in range(size)]
            patients = [f"P{(start + i) // 3}" for i in range(size)]
            by_name = {name: labels[:, k] for k, name in enumerate(CATEGORIES)}
            told = {"file": names, "patient": patients, **by_name}
            writer.write_table(pa.table(told, schema=pa.schema(kinds)))
            rows = score_rows(schema, shard, names, scores)
            write_shard(place_of(folder), "made up", shard, rows)


def score_rows(schema: pa.Schema, shard: int, names: list[str], scores: Any) -> pa.Table:
    """Rows as an archive has them."""
    size = len(names)
    values: dict[str, Any] = {
        "shard": [shard] * size,
        "row": list(range(size)),
        "file": names,
        "hash": ["0" * 64] * size,
        "date": [None] * size,
        "abnormality": scores.max(axis=1),
        "unfamiliar": [False] * size,
        "error": [None] * size,
        "model": ["none"] * size,
        "version": ["none"] * size,
    }
    for k, name in enumerate(CATEGORIES):
        values |= {
            f"score:{name}": scores[:, k],
            f"threshold:{name}": np.full(size, 1.0),
            f"found:{name}": scores[:, k] > 1,
            f"sign:{name}": ["a sign"] * size,
        }
    columns = [
        pa.array(values[f.name], f.type.value_type).dictionary_encode()
        if pa.types.is_dictionary(f.type)
        else pa.array(values[f.name], f.type)
        for f in schema
    ]
    return pa.table(columns, schema=schema)


SECTIONS: dict[str, Callable[[Path, Sizes], dict[str, Any]]] = {
    "rates": rates,
    "decoding": decoding,
    "memory": memory,
    "bucket": bucket,
    "judging": judging,
}


def measured(found: dict[str, Any]) -> str:
    """The part of the page that holds figures."""
    about = found["machine"]
    plain = found["rates"]["plain"]["rate"]
    rows = tuple(
        (name, f"{one['rate']:.1f}", f"{one['rate'] / plain:.2f}", f"{one['start']:.0f}",
         f"{one['memory']:,.0f}")
        for name, one in found["rates"].items()
    )  # fmt: skip
    header = ("Engine", "Images a second", "Of plain", "Seconds to start", "MiB")
    caption = f"{about['cores']} cores; lite, 512 px PNG. MiB: of all processes, at most."
    parts = [Table("Rates", header, rows, caption).markdown()]
    rows = tuple(
        (f"{int(count):,}", f"{one['seconds']:.0f}", f"{one['memory']:,.0f}", f"{one['again']:.0f}")
        for count, one in found["memory"].items()
    )
    header = ("Images", "Seconds", "MiB", "Seconds of the same command again")
    parts.append(Table("Memory and resuming", header, rows).markdown())
    rows = tuple(
        (f"{int(count):,}", f"{one['seconds']:.0f}", f"{one['memory']:,.0f}")
        for count, one in found["judging"].items()
    )
    header = ("Rows of 14 categories", "Seconds", "MiB")
    parts.append(Table("`sdmad evaluate --scores`", header, rows).markdown())
    s3 = found["bucket"]
    parts.append(
        f"From and to a server of S3 on the same cores, {s3['images']:,} images took "
        f"{s3['seconds']:.0f} s, start included.\n"
    )
    parts.append(cluster(found))
    return "\n".join(parts)


def cluster(found: dict[str, Any]) -> str:
    """What clusters would take, by these rates."""
    cores = found["machine"]["cores"]
    rate = max(one["rate"] for name, one in found["rates"].items() if name != "plain") / cores
    decoded = found["decoding"]["rate"]
    rows = []
    for nodes, each in ((1, 16), (4, 16), (16, 32)):
        for images in (NIH, TEN_MILLION):
            scored = images / (rate * nodes * each)
            read = images / (decoded * nodes * each)
            rows.append((f"{nodes} of {each} cores", f"{images:,}", told(scored), told(read)))
    header = ("Nodes", "Images", "On cores alone", "At least, whatever the GPUs")
    caption = (
        f"By {rate:.1f} images a second and core, tower and decoder together, and {decoded:.0f} "
        "that one decoder reads: with GPUs that are quick enough decoders are what is waited for. "
        "Reckoned, not run."
    )
    return Table("What a cluster would take", header, tuple(rows), caption).markdown()


def told(seconds: float) -> str:
    """A time in words.

    >>> told(90), told(7200)
    ('2 min', '2.0 h')
    """
    return f"{seconds / 3600:.1f} h" if seconds > 5400 else f"{seconds / 60:.0f} min"


def main() -> None:
    """Measure what is missing and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--docs", type=Path)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--section", choices=SECTIONS)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    sizes = SMALL if given.small else Sizes()
    found: dict[str, Any] = {"machine": machine()}
    for name, measure in SECTIONS.items():
        kept = given.out / f"{name}.json"
        if not kept.exists() and given.section in (None, name):
            write_json(kept, measure(given.out.resolve(), sizes))
        if kept.exists():
            found[name] = json.loads(kept.read_text("utf-8"))
            print(name, json.dumps(found[name], indent=1))
    if given.docs is not None and all(name in found for name in SECTIONS):
        write_page(given.docs, PAGE.read_text("utf-8").replace("{measured}", measured(found)))


if __name__ == "__main__":
    main()
