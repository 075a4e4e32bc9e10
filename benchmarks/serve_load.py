"""``docs/serve-load.md``: many readers at once, beside a static file and the bare tower.

Run ``make serve-load`` on a quiet machine. A model of the embedded backbone serves phantoms;
readers with accounts, all on this machine and on the same cores, ask for pages, for a static file,
and for predictions, each as soon as the answer before is there.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import torch

from benchmarks.load_client import Ask, Load, load, request
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
BOUNDARY = "a line that no image holds"
FORM = f'multipart/form-data; boundary="{BOUNDARY}"'
PASSWORD = "not kept anywhere: the database goes with its folder"  # noqa: S105
MOST_PAGE, MOST_PASSES, LEAST_SHARE = 10.0, 60.0, 0.8
"""What issue and page hold the server to: a page in static files, a prediction in passes, share."""

HEAD = """# Many readers at once
Written by `make serve-load`; do not edit by hand. {readers} readers with accounts, each asking
again as soon as the answer is there, on the machine of the server and on the same {cores} cores: a
model of the embedded backbone, {images} OCT phantoms in the list. What asks costs little, by plain
sockets and requests that were made before: the browsers of real readers run elsewhere.

"""


@dataclass(frozen=True)
class Tower:
    """The bare tower.

    Attributes:
        alone: seconds of a lone image's pass.
        rate: images a second in batches on all cores.
        busy: seconds of processor time an image in batches.
    """

    alone: float
    rate: float
    busy: float


def material(folder: Path, images: int) -> SDMAD:
    """A model to serve and phantoms to list, on disk."""
    model = embedded_model(folder)
    write_phantoms(load_modality("oct"), folder / "listed", images, 2)
    return SDMAD.load(model)


def bare(detector: SDMAD, files: Sequence[Path]) -> Tower:
    """Measure the tower without a server."""
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
        start, busy = time.perf_counter(), time.process_time()
        list(pool.map(detector.score_squares, [squares] * BATCHES))
        took, used = time.perf_counter() - start, time.process_time() - busy
    torch.set_num_threads(threads)
    images = BATCHES * len(squares)
    return Tower(statistics.median(times), images / took, used / images)


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
def served(settings: ServeSettings) -> Iterator[tuple[str, int]]:
    """A running server's address, and the number of its process."""
    program = "from sdmad.cli.start import run; run()"
    words = ("serve", settings.models[0], "--images", settings.images, "--port", 0)
    command = [sys.executable, "-c", program, *map(str, words)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().split("?")[0].rstrip("/\n"), process.pid
        finally:
            process.terminate()
            process.wait()


def busy(process: int) -> float:
    """Seconds of processor time that a process and those that it started have taken."""
    place = Path(f"/proc/{process}")
    told = (place / "stat").read_text().rpartition(")")[2].split()
    own = sum(map(int, told[11:15])) / os.sysconf("SC_CLK_TCK")
    started = (place / f"task/{thread.name}/children" for thread in (place / "task").iterdir())
    return own + sum(busy(int(child)) for file in started for child in file.read_text().split())


def scored(url: str, token: str) -> int:
    """Wait until the list is scored; how many images it has."""
    head = {"Authorization": f"Bearer {token}"}
    while True:
        said = httpx.get(f"{url}/api/v1/health", headers=head, timeout=60).json()["scoring"]
        if said["done"] == said["total"]:
            return int(said["total"])
        time.sleep(0.5)


def asks(url: str, shown: Sequence[str], files: Sequence[Path], total: int) -> dict[str, Ask]:
    """What readers ask for: a static file, a page, what a page fetches, a prediction."""
    head = {"Authorization": f"Bearer {shown[0]}"}
    page = httpx.get(f"{url}/", headers=head, timeout=60)
    found = re.search(r"/static/[^\"']+\.css", page.text)
    if page.status_code != 200 or found is None:
        raise SystemExit(f"the worklist's page is not there ({page.status_code})")
    host = urlsplit(url).netloc
    forms = [_form(file.read_bytes()) for file in files]

    def get(number: int, path: str) -> bytes:
        return request("GET", path, host, shown[number])

    def static(number: int, _: int) -> bytes:
        return get(number, found[0])

    def viewer(number: int, question: int) -> bytes:
        return get(number, "/" if question % 2 else f"/image/{1 + number % total}")

    def listed(number: int, question: int) -> bytes:
        pages = max(1, total // 50)
        return get(number, f"/api/v1/images?page={1 + (number + question) % pages}")

    def predict(number: int, question: int) -> bytes:
        form = forms[(number + 7 * question) % len(forms)]
        return request("POST", "/api/v1/predict", host, shown[number], form, FORM)

    kinds: dict[str, Ask] = {"a static file": static, "a page": viewer}
    return {**kinds, "a page of the list": listed, "a prediction": predict}


def _form(content: bytes) -> bytes:
    name = b'Content-Disposition: form-data; name="files"; filename="image.png"'
    mark = BOUNDARY.encode()
    kind = b"Content-Type: image/png"
    return b"\r\n".join((b"--" + mark, name, kind, b"", content, b"--" + mark + b"--", b""))


def table(loads: dict[str, Load], tower: Tower, served: float) -> Table:
    """Every figure beside what it is held to.

    Args:
        loads: what readers saw, by what they asked for.
        tower: without a server.
        served: seconds of processor time that the server took for all predictions.
    """
    file, prediction = loads["a static file"], loads["a prediction"]
    rows: list[tuple[str, ...]] = []
    for name, one in loads.items():
        held: tuple[str, str] = ("", "")
        if name.startswith("a page"):
            held = (f"{one.p95 / file.p95:.1f} static files", f"at most {MOST_PAGE:g}")
        if name == "a prediction":
            held = (f"{one.p95 / tower.alone:.1f} bare passes", f"at most {MOST_PASSES:g}")
        counts = str(len(one.seconds)), str(one.errors)
        rows.append((name, *counts, f"{1000 * one.p95:.0f}", *held))
    share = 100 * prediction.rate / tower.rate
    told = (f"{share:.0f}% of the bare tower's", f"at least {100 * LEAST_SHARE:g}%")
    rows.append(("predictions a second", f"{prediction.rate:.1f}", "", "", *told))
    head = ("Asked for", "Answers", "Errors", "p95, ms", "Is", "Held to")
    count = len(prediction.seconds)
    caption = (
        f"A bare pass: one ready image alone through the tower, median {1000 * tower.alone:.1f} ms."
        f" The bare tower: batches of ready images on all cores, {tower.rate:.1f} images a second. "
        f"Processor time of a prediction: {1000 * served / count:.1f} ms of the server and its "
        f"decoders, {1000 * prediction.busy / count:.1f} ms of who asks; of an image of the bare "
        f"tower's batches {1000 * tower.busy:.1f} ms."
    )
    return Table("Load", head, tuple(rows), caption)


def measure(readers: int, images: int, each: int) -> str:
    """The page's text."""
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        detector = material(folder, images)
        settings = ServeSettings((folder / "model",), images=folder / "listed" / "images")
        files = sorted(settings.images.glob("*.png")) if settings.images else []
        before = bare(detector, files)
        shown = tokens(settings, readers)
        loads: dict[str, Load] = {}
        used: dict[str, float] = {}
        with served(settings) as (url, process):
            total = scored(url, shown[0])
            for name, ask in asks(url, shown, files, total).items():
                start = busy(process)
                loads[name] = load(url, readers, ask, each)
                used[name] = busy(process) - start
        again = bare(detector, files)
    tower = Tower(
        *(statistics.mean(pair) for pair in zip(astuple(before), astuple(again), strict=True))
    )
    head = HEAD.format(readers=readers, cores=os.cpu_count(), images=images)
    return head + table(loads, tower, used["a prediction"]).markdown()


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
