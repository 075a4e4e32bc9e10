"""Runs that are killed at a random moment, and the next run to the same place."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from random import Random

from benchmarks.campaign.frame import LOST, TRACEBACK, FoundError
from benchmarks.campaign.material import write_model
from benchmarks.campaign.patience import processor_time
from benchmarks.campaign.runs import (
    COMMANDS,
    ENDED,
    RESUMABLE,
    arguments,
    check_no_parts,
    check_whole,
    files_of,
    finish,
    start,
    timed,
)

COUNT = 200
SECONDS = 900.0
EARLY = 0.05
"""Seconds of processor time in which an interpreter, not this package, is interrupted."""


def prepare(folder: Path) -> None:
    """Make what the commands read, and run each to its end: how long it takes, what it writes."""
    write_model(folder)
    whole = {}
    for command in COMMANDS:
        out = folder / "whole" / command
        seconds, files = timed(command, folder, out)
        whole[command] = {"seconds": seconds, "files": files}
    (folder / "whole.json").write_text(json.dumps(whole), encoding="utf-8")


def attack(random: Random, material: Path, place: Path) -> str:
    """Kill one run; look at what is left; after SIGKILL run it again to its end."""
    whole = json.loads((material / "whole.json").read_text(encoding="utf-8"))
    command = random.choice(list(COMMANDS))
    expected, usual = whole[command]["files"], whole[command]["seconds"]
    number = random.choice(list(ENDED))
    out = place / "out"
    old = "years of work" if command not in RESUMABLE and random.random() < 0.5 else None
    given = arguments(command, material, out)
    if old is not None:
        out.mkdir()
        (out / "old.txt").write_text(old, encoding="utf-8")
        given.append("--force")
    process = start(given)
    _begun(process)
    time.sleep(random.random() * usual)
    if process.poll() is None:
        os.kill(process.pid, number)
    done = finish(process)
    if done.status not in (0, ENDED[number]):
        raise FoundError(
            TRACEBACK, f"{command}: status {done.status} after {number}: {done.said[-500:]}"
        )
    if command not in RESUMABLE:
        check_whole(out, expected, old)
    if number != signal.SIGKILL:
        check_no_parts(place)
        return f"{command}, {number.name}"
    _again(command, given, expected, place)
    return f"{command}, {number.name}, again"


def _begun(process: subprocess.Popen[str]) -> None:
    """Wait until a run has worked for a moment, however busy the machine is."""
    while process.poll() is None and processor_time(process.pid) < EARLY:
        time.sleep(EARLY / 10)


def _again(command: str, given: list[str], expected: list[str], place: Path) -> None:
    """What a killed run left is gone after the next one, which is whole."""
    more = [] if command in RESUMABLE or "--force" in given else ["--force"]
    done = finish(start([*given, *more]))
    if done.status != 0:
        raise FoundError(LOST, f"{command} again: status {done.status}: {done.said[-500:]}")
    check_no_parts(place)
    if files_of(place / "out") != expected:
        raise FoundError(LOST, f"{command} again: {files_of(place / 'out')[:20]}")
