"""What fails around a run: the disk, the permissions, other writers, helpers, descriptors."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

from benchmarks.campaign.frame import LOST, TRACEBACK, FoundError
from benchmarks.campaign.material import write_model
from benchmarks.campaign.runs import (
    arguments,
    check_no_parts,
    check_whole,
    files_of,
    finish,
    start,
    timed,
)

COUNT = 60
SECONDS = 900.0
WRITERS = ("phantom", "fit", "evaluate", "predict", "export")
CLEAN = (0, 2, 3)
"""Statuses of a run that says what it could not do."""

REFUSED = "ended as it started"
"""What is said where every decoder is killed before it has started: there is nothing to read in."""

MANY = 80
"""Images from which on decoding goes on in other processes."""


def prepare(folder: Path) -> None:
    """Make what the commands read, what each writes, and many images for the decoders."""
    write_model(folder)
    for command in WRITERS:
        timed(command, folder, folder / "whole" / command)
    images = sorted((folder / "data" / "images").iterdir())
    (folder / "many").mkdir()
    for number in range(MANY):
        shutil.copy(images[number % len(images)], folder / "many" / f"{number}.png")


def attack(random: Random, material: Path, place: Path) -> str:
    """Let one thing fail while one command runs."""
    name = random.choice(list(_KINDS))
    command = random.choice(WRITERS)
    return f"{command}, {name}: {_KINDS[name](random, command, material, place)}"


def _expected(command: str, material: Path) -> list[str]:
    return files_of(material / "whole" / command)


def _clean(status: int, said: str) -> str:
    if status not in CLEAN:
        raise FoundError(TRACEBACK, f"status {status}: {said[-500:]}")
    return f"status {status}"


def _full_disk(random: Random, command: str, material: Path, place: Path) -> str:
    """No file may grow beyond a few kilobytes."""
    most = random.choice((0, 100, 1000, 10_000, 100_000))

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))

    process = start(arguments(command, material, place / "out"), preexec_fn=limit)
    done = finish(process)
    check_no_parts(place)
    check_whole(place / "out", _expected(command, material), None)
    return _clean(done.status, done.said)


def _few_descriptors(random: Random, command: str, material: Path, place: Path) -> str:
    most = random.choice((8, 16, 24, 32, 48, 64))

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))

    done = finish(start(arguments(command, material, place / "out"), preexec_fn=limit))
    check_no_parts(place)
    check_whole(place / "out", _expected(command, material), None)
    return _clean(done.status, done.said)


def _nowhere(random: Random, command: str, material: Path, place: Path) -> str:
    """The output lies where nothing can be written."""
    (place / "file").write_text("mine", encoding="utf-8")
    where = random.choice((Path("/proc/out"), Path("/sys/out"), place / "file" / "out"))
    done = finish(start(arguments(command, material, where)))
    if (place / "file").read_text(encoding="utf-8") != "mine":
        raise FoundError(LOST, "a file in the way was replaced")
    if done.status == 0:
        raise FoundError(LOST, f"{where}: said to be written")
    return _clean(done.status, done.said)


def _removed(random: Random, command: str, material: Path, place: Path) -> str:
    """Somebody removes the folder around the output, and what is half-written in it."""
    around = place / "around"
    around.mkdir()
    process = start(arguments(command, material, around / "out"))
    while process.poll() is None and not any(around.iterdir()):
        time.sleep(0.01)
    time.sleep(random.random())
    shutil.rmtree(around, ignore_errors=True)
    done = finish(process)
    if around.exists():
        check_no_parts(around)
    return _clean(done.status, done.said)


def _two_writers(random: Random, command: str, material: Path, place: Path) -> str:
    """Two runs write to one place; the second is not to disturb the first."""
    given = arguments(command, material, place / "out")
    first = start(given)
    time.sleep(random.random() * 5)
    second = start(given)
    statuses = [finish(process) for process in (first, second)]
    for done in statuses:
        _clean(done.status, done.said)
    if all(done.status != 0 for done in statuses):
        raise FoundError(LOST, "neither was written")
    check_no_parts(place)
    check_whole(place / "out", _expected(command, material), None)
    return f"statuses {sorted(done.status for done in statuses)}"


def _killed_decoder(random: Random, command: str, material: Path, place: Path) -> str:
    """A helper process is killed again and again while many images are read."""
    del command
    out = place / "scores.csv"
    given = ["predict", str(material / "model"), str(material / "many"), "--out", str(out)]
    process = start(given)
    kills = random.choice((1, 3, 10))
    while process.poll() is None and kills:
        time.sleep(random.random())
        for child in _children(process.pid):
            os.kill(child, signal.SIGKILL)
            kills -= 1
            break
    done = finish(process)
    check_no_parts(place)
    if not out.is_file() and REFUSED not in done.said:
        raise FoundError(LOST, f"no scores, status {done.status}: {done.said[-500:]}")
    return _clean(done.status, done.said)


def _children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    try:
        return [int(word) for task in tasks for word in task.read_text("ascii").split()]
    except OSError:  # it has ended
        return []


_KINDS: dict[str, Callable[[Random, str, Path, Path], str]] = {
    "full disk": _full_disk,
    "few descriptors": _few_descriptors,
    "no place to write": _nowhere,
    "output removed": _removed,
    "two writers": _two_writers,
    "killed decoder": _killed_decoder,
}
