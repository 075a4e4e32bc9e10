"""``docs/serve-load.md``: many readers at once, beside a static file and the bare tower.

Run ``make serve-load`` on a quiet machine. A model of the embedded backbone serves phantoms;
readers with accounts, all on this machine and on the same cores, ask for pages, for a static file,
and for predictions, each as soon as the answer before is there.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx
import numpy as np
import torch

from benchmarks.made_with import write_page
from benchmarks.performance.common import embedded_model
from sdmad import SDMAD
from sdmad.detector.batches import lanes_on
from sdmad.phantoms.cases import load_modality
from sdmad.phantoms.files import write_phantoms
from sdmad.serve.settings import ServeSettings
from sdmad.serve.storage import accounts
from sdmad.serve.storage.engine import Storage
from sdmad.table import Table

ALONE, BATCHES = 30, 12
PASSWORD = "not kept anywhere: the database goes with its folder"  # noqa: S105
MOST_PAGE, MOST_PASSES, LEAST_SHARE = 10.0, 60.0, 0.8
"""What issue and page hold the server to: a page in static files, a prediction in passes, share."""

HEAD = """# Many readers at once
Written by `make serve-load`; do not edit by hand. {readers} readers with accounts, each asking
again as soon as the answer is there, on the machine of the server and on the same {cores} cores: a
model of the embedded backbone, {images} OCT phantoms in the list.

"""


@dataclass(frozen=True)
class Load:
    """What many readers saw.

    Attributes:
        seconds: of each answer.
        wall: from the first question to the last answer.
        statuses: how many answers of each status.
    """

    seconds: tuple[float, ...]
    wall: float
    statuses: Counter[int]

    @property
    def p95(self) -> float:
        """Seconds within which 95 of 100 answers came."""
        return float(np.quantile(self.seconds, 0.95))

    @property
    def rate(self) -> float:
        """Answers a second."""
        return len(self.seconds) / self.wall

    @property
    def errors(self) -> int:
        """Answers that were none."""
        return sum(count for status, count in self.statuses.items() if status != 200)


Ask = Callable[[httpx.AsyncClient, int, int], Awaitable[httpx.Response]]
"""Of a reader's client, his number and that of his question."""


def material(folder: Path, images: int) -> SDMAD:
    """A model to serve and phantoms to list, on disk."""
    model = embedded_model(folder)
    write_phantoms(load_modality("oct"), folder / "listed", images, 2)
    return SDMAD.load(model)


def bare(detector: SDMAD, files: Sequence[Path]) -> tuple[float, float]:
    """Seconds of a lone image's pass, and images a second in batches on all cores."""
    squares = [detector.preprocessing.square(file) for file in files[: detector.batch]]
    detector.score_squares(squares[:1])
    times = []
    for place in range(ALONE):
        start = time.perf_counter()
        detector.score_squares([squares[place % len(squares)]])
        times.append(time.perf_counter() - start)
    threads = torch.get_num_threads()
    lanes = lanes_on(threads)
    begin = partial(torch.set_num_threads, max(1, threads // lanes))
    with ThreadPoolExecutor(lanes, initializer=begin) as pool:
        list(pool.map(detector.score_squares, [squares] * lanes))
        start = time.perf_counter()
        list(pool.map(detector.score_squares, [squares] * BATCHES))
        took = time.perf_counter() - start
    torch.set_num_threads(threads)
    return statistics.median(times), BATCHES * len(squares) / took


def tokens(settings: ServeSettings, readers: int) -> list[str]:
    """An account and a program's token for each reader."""
    storage = Storage(settings.database_url)
    with storage.writing() as session:
        for number in range(readers):
            accounts.add(session, f"reader{number}", PASSWORD, "reader")
        found = [accounts.new_token(session, f"reader{number}") for number in range(readers)]
    storage.close()
    return found


@contextmanager
def served(settings: ServeSettings) -> Iterator[str]:
    """A running server's address."""
    program = "from sdmad.cli.start import run; run()"
    words = ("serve", settings.models[0], "--images", settings.images, "--port", 0)
    command = [sys.executable, "-c", program, *map(str, words)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().split("?")[0].rstrip("/\n")
        finally:
            process.terminate()
            process.wait()


async def load(url: str, shown: Sequence[str], ask: Ask, each: int) -> Load:
    """Have all readers ask at once, each one question after the other."""
    seconds: list[float] = []
    statuses: Counter[int] = Counter()

    async def reader(number: int, token: str) -> None:
        head = {"Authorization": f"Bearer {token}"}
        async with httpx.AsyncClient(base_url=url, headers=head, timeout=300) as client:
            for question in range(each):
                start = time.perf_counter()
                answer = await ask(client, number, question)
                seconds.append(time.perf_counter() - start)
                statuses[answer.status_code] += 1

    start = time.perf_counter()
    await asyncio.gather(*(reader(number, token) for number, token in enumerate(shown)))
    return Load(tuple(seconds), time.perf_counter() - start, statuses)


def scored(url: str, token: str) -> int:
    """Wait until the list is scored; how many images it has."""
    head = {"Authorization": f"Bearer {token}"}
    while True:
        said = httpx.get(f"{url}/api/v1/health", headers=head, timeout=60).json()["scoring"]
        if said["done"] == said["total"]:
            return int(said["total"])
        time.sleep(0.5)


def asks(url: str, token: str, files: Sequence[Path], total: int) -> dict[str, Ask]:
    """What readers ask for: a static file, a page, what a page fetches, a prediction."""
    head = {"Authorization": f"Bearer {token}"}
    page = httpx.get(f"{url}/", headers=head, timeout=60)
    found = re.search(r"/static/[^\"']+\.css", page.text)
    if page.status_code != 200 or found is None:
        raise SystemExit(f"the worklist's page is not there ({page.status_code})")
    contents = [file.read_bytes() for file in files]

    async def static(client: httpx.AsyncClient, _: int, __: int) -> httpx.Response:
        return await client.get(found[0])

    async def viewer(client: httpx.AsyncClient, number: int, question: int) -> httpx.Response:
        return await client.get("/" if question % 2 else f"/image/{1 + number % total}")

    async def listed(client: httpx.AsyncClient, number: int, question: int) -> httpx.Response:
        pages = max(1, total // 50)
        return await client.get(f"/api/v1/images?page={1 + (number + question) % pages}")

    async def predict(client: httpx.AsyncClient, number: int, question: int) -> httpx.Response:
        content = contents[(number + 7 * question) % len(contents)]
        return await client.post("/api/v1/predict", files={"files": ("image.png", content)})

    kinds: dict[str, Ask] = {"a static file": static, "a page": viewer}
    return {**kinds, "a page of the list": listed, "a prediction": predict}


def table(loads: dict[str, Load], alone: float, rate: float) -> Table:
    """Every figure beside what it is held to."""
    file, prediction = loads["a static file"], loads["a prediction"]
    rows: list[tuple[str, ...]] = []
    for name, one in loads.items():
        held: tuple[str, str] = ("", "")
        if name.startswith("a page"):
            held = (f"{one.p95 / file.p95:.1f} static files", f"at most {MOST_PAGE:g}")
        if name == "a prediction":
            held = (f"{one.p95 / alone:.1f} bare passes", f"at most {MOST_PASSES:g}")
        counts = str(len(one.seconds)), str(one.errors)
        rows.append((name, *counts, f"{1000 * one.p95:.0f}", *held))
    share = 100 * prediction.rate / rate
    told = (f"{share:.0f}% of the bare tower's", f"at least {100 * LEAST_SHARE:g}%")
    rows.append(("predictions a second", f"{prediction.rate:.1f}", "", "", *told))
    head = ("Asked for", "Answers", "Errors", "p95, ms", "Is", "Held to")
    caption = (
        f"A bare pass: one ready image alone through the tower, median {1000 * alone:.1f} ms. The "
        f"bare tower: batches of ready images on all cores, {rate:.1f} images a second."
    )
    return Table("Load", head, tuple(rows), caption)


def measure(readers: int, images: int, each: int) -> str:
    """The page's text."""
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        detector = material(folder, images)
        settings = ServeSettings((folder / "model",), images=folder / "listed" / "images")
        files = sorted(settings.images.glob("*.png")) if settings.images else []
        alone, rate = bare(detector, files)
        shown = tokens(settings, readers)
        with served(settings) as url:
            total = scored(url, shown[0])
            loads = {
                name: asyncio.run(load(url, shown, ask, each))
                for name, ask in asks(url, shown[0], files, total).items()
            }
        again = bare(detector, files)
    alone, rate = (alone + again[0]) / 2, (rate + again[1]) / 2
    head = HEAD.format(readers=readers, cores=os.cpu_count(), images=images)
    return head + table(loads, alone, rate).markdown()


def main() -> None:
    """Measure, and write the page or print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--readers", type=int, default=50)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--each", type=int, default=20, help="questions of each reader and kind")
    parser.add_argument("--docs", type=Path, help="the page; printed where left out")
    given = parser.parse_args()
    text = measure(given.readers, given.images, given.each)
    if given.docs is None:
        print(text)
    else:
        write_page(given.docs, text)


if __name__ == "__main__":
    main()
