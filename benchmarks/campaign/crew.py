"""Workers that run cases: a process each, so that a crash or a hang is one case and no more."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import IO

from benchmarks.campaign.frame import (
    FAULTS,
    HANG,
    TRACEBACK,
    Case,
    prepare,
    run_case,
    setting,
)
from benchmarks.campaign.patience import LOOK, Patience

PROGRAM = f"from {__name__} import serve; serve()"


def run_all(kind: str, count: int, folder: Path, workers: int) -> None:
    """Run the cases of a kind that are not in its file yet, and add them to it, a line each."""
    path = folder / f"{kind}.jsonl"
    done = {case.seed for case in read_cases(path)}
    left = iter([seed for seed in range(count) if seed not in done])
    if not left.__length_hint__():
        return
    material = prepare(kind, folder / "material")
    lock = threading.Lock()
    with path.open("a", encoding="utf-8") as file:
        crew = [
            threading.Thread(
                target=_work, args=(kind, material, folder / f"place{n}", left, lock, file)
            )
            for n in range(workers)
        ]
        for one in crew:
            one.start()
        for one in crew:
            one.join()


def read_cases(path: Path) -> list[Case]:
    """The cases in a kind's file."""
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").splitlines()
    return [Case(**json.loads(line)) for line in lines if line.endswith("}")]


def _work(
    kind: str, material: Path, place: Path, left: Iterator[int], lock: threading.Lock, file: IO[str]
) -> None:
    worker = Worker(kind, material, place)
    try:
        while True:
            with lock:
                seed = next(left, None)
            if seed is None:
                return
            case = worker.run(seed)
            with lock:
                file.write(json.dumps(asdict(case)) + "\n")
                file.flush()
                if case.faults:
                    found = ", ".join(fault for fault in FAULTS if fault in case.faults)
                    print(f"{kind} {seed}: {found}", flush=True)
    finally:
        worker.end()


class Worker:
    """A process that runs one case after the other; a new one after a crash or a hang."""

    def __init__(self, kind: str, material: Path, place: Path) -> None:
        self.kind, self.material, self.place = kind, material, place
        self.process: subprocess.Popen[str] | None = None

    def run(self, seed: int) -> Case:
        """Run one case, wherever it leads."""
        process = self.process = self.process or self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(f"{seed}\n")
            process.stdin.flush()
        except BrokenPipeError:
            self.end()
            return self.run(seed)
        begin, patience = time.monotonic(), Patience(process.pid, setting(self.kind, "SECONDS"))
        while not select.select([process.stdout], [], [], LOOK)[0]:
            if lost := patience.lost():
                self.end()
                return Case(self.kind, seed, "fault", {HANG: lost}, time.monotonic() - begin)
        line = process.stdout.readline()
        if line:
            return Case(**json.loads(line))
        status = process.wait()
        self.end()
        return Case(self.kind, seed, "fault", {TRACEBACK: f"the process ended with {status}"}, 0.0)

    def end(self) -> None:
        """End the process."""
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None

    def _start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", PROGRAM, self.kind, str(self.material), str(self.place)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )


def serve() -> None:
    """Answer seeds on the standard input with cases, until it ends."""
    kind, material, place = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what libraries print
    for line in sys.stdin:
        case = run_case(kind, int(line), material, place)
        answers.write(json.dumps(asdict(case)) + "\n")
        answers.flush()
