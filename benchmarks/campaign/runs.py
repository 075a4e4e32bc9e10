"""The command line in a process of its own, and whether what it wrote is whole."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.campaign.frame import HANG, LEFT, LOST, NAME, SECRET, TRACEBACK, FoundError
from benchmarks.campaign.material import BANK
from benchmarks.campaign.patience import LOOK, Patience

PROGRAM = "from sdmad.cli.start import run; run()"
ENDED = {signal.SIGKILL: -signal.SIGKILL, signal.SIGTERM: 143, signal.SIGINT: 130}
SECONDS, CLOCK = 300.0, 1500.0
"""What a run may take: of processor time, and on the clock. A case has two at most."""

COMMANDS: dict[str, tuple[str, ...]] = {
    "phantom": ("phantom", "brain", "--count", "24", "--size", "96", "--out", "{out}"),
    "fit": ("fit", "{data}", "--signs", BANK, "--shots", "1", "--out", "{out}"),
    "evaluate": (
        *("evaluate", "{model}", "{data}", "--out", "{out}"),
        *("--resamples", "20", "--baselines", "none"),
    ),
    "predict": ("predict", "{model}", "{images}", "--out", "{out}.csv", "--maps", "{out}"),
    "export": (
        *("export", "{model}", "--format", "onnx", "--calibration", "{images}"),
        *("--out", "{out}"),
    ),
    "compare": (
        *("compare", "--labels", "{data}", "--signs", BANK, "--systems", "linear-probe"),
        *("--shots", "1", "--seeds", "1", "--out", "{out}"),
    ),
    "reproduce": (*("reproduce", "signs", "--data", "phantom", "--seeds", "1", "--out", "{out}"),),
}
"""The commands that write, with places for what they read and write."""

RESUMABLE = ("compare", "reproduce")
"""Those that add to a folder what is missing in it."""


@dataclass(frozen=True)
class Done:
    """What a run left: its status, what it said, and its output's files."""

    status: int
    said: str


def arguments(command: str, material: Path, out: Path) -> list[str]:
    """A command's arguments with the places filled in."""
    data = material / "data"
    places = {"data": data / "labels.csv", "images": data / "images", "model": material / "model"}
    return [part.format(out=out, **places) for part in COMMANDS[command]]


def start(given: list[str], **more: Any) -> subprocess.Popen[str]:
    """Start the command line in a process group of its own."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", PROGRAM, *given],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=environment,
        start_new_session=True,
        **more,
    )


def finish(process: subprocess.Popen[str]) -> Done:
    """Wait for a run to end, and hold what it said to what never may happen.

    Raises:
        FoundError: if it does not end, shows a traceback, or says a patient's name.
    """
    said = _said(process, Patience(process.pid, SECONDS, CLOCK))
    if "Traceback" in said or "a fault of sdmad" in said:
        raise FoundError(TRACEBACK, said[-2000:])
    if SECRET in said:
        raise FoundError(NAME, said[-2000:])
    return Done(process.returncode, said)


def _said(process: subprocess.Popen[str], patience: Patience) -> str:
    """What a run says until it ends; it is ended if it hangs."""
    while True:
        try:
            return process.communicate(timeout=LOOK)[0]
        except subprocess.TimeoutExpired:
            if lost := patience.lost():
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()
                raise FoundError(HANG, lost) from None


def timed(command: str, material: Path, out: Path) -> tuple[float, list[str]]:
    """Run a command to its end: seconds that it took, and the files that it wrote.

    Raises:
        RuntimeError: if it fails.
    """
    begin = time.monotonic()
    done = finish(start(arguments(command, material, out)))
    if done.status != 0:
        raise RuntimeError(f"{command}: status {done.status}: {done.said[-2000:]}")
    return time.monotonic() - begin, files_of(out)


def files_of(folder: Path) -> list[str]:
    """Every file below a folder; those that a command names after their content stand as one."""
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    return sorted(names)


def check_whole(out: Path, expected: list[str], old: str | None) -> None:
    """Refuse a folder that is neither absent, nor the old one, nor a whole new one.

    Args:
        out: the folder.
        expected: the files of a whole one.
        old: content of the file ``old.txt`` of what was there before; None where nothing was.

    Raises:
        FoundError: if something is half-written, or what was there is lost.
    """
    if not out.is_dir():
        if old is not None:
            raise FoundError(LOST, f"{out.name} was there before")
        return
    found = files_of(out)
    if found == ["old.txt"] and (out / "old.txt").read_text(encoding="utf-8") == old:
        return
    if found != expected:
        missing = sorted(set(expected) ^ set(found))
        raise FoundError(LEFT, f"{out.name} differs from a whole one in {missing[:5]}")
    for path in out.rglob("*.json"):
        json.loads(path.read_text(encoding="utf-8"))


def check_no_parts(place: Path) -> None:
    """Refuse what is half-written.

    Raises:
        FoundError: naming it.
    """
    if left := [path.name for path in place.rglob(".*.part")]:
        raise FoundError(LEFT, ", ".join(left))
