"""What a command takes, with all that it starts: time, processor time, memory, what others took."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

SAMPLES = 0.5
"""Seconds between two looks at the processes."""

WEIGHED = 4
"""Their memory, which takes the system a while to say, is asked for at every so manieth look."""

TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Run:
    """What a command took.

    Attributes:
        seconds: by the clock.
        cpu: seconds of the processor, of all its processes.
        memory: MiB at most, of all its processes, shared pages counted once.
        others: share of the cores that other work had meanwhile.
    """

    seconds: float
    cpu: float
    memory: float
    others: float


class Family:
    """A process and all that come of it.

    Args:
        root: its id.
    """

    def __init__(self, root: int) -> None:
        self.root = root
        self.used: dict[tuple[int, int], float] = {}
        self.cores = os.cpu_count() or 1
        self.start, self.busy = time.monotonic(), _busy()
        self.most, self.before, self.looks = 0.0, 0.0, 0
        self.look()
        self.before = sum(self.used.values())

    def look(self) -> set[int]:
        """Note what the processes have used by now.

        Returns:
            Those that are there.
        """
        told = _processes()
        ours = {pid for pid, start in self.used if pid in told and told[pid][1] == start}
        wave = ours | {self.root} & told.keys()
        ours = set(wave)
        while wave:
            wave = {pid for pid, (parent, *_) in told.items() if parent in wave} - ours
            ours |= wave
        for pid in ours:
            _, start, seconds = told[pid]
            self.used[pid, start] = seconds
        if self.looks % WEIGHED == 0:
            self.most = max(self.most, sum(map(_memory, ours)))
        self.looks += 1
        return ours

    def run(self) -> Run:
        """What they took since the beginning."""
        seconds = time.monotonic() - self.start
        cpu = sum(self.used.values()) - self.before
        others = (_busy() - self.busy - cpu) / (seconds * self.cores)
        return Run(seconds, cpu, self.most, max(0.0, others))


def command(*arguments: object) -> list[str]:
    """A command of sdmad, as it is started."""
    entry = "from sdmad.cli.start import run; run()"
    return [sys.executable, "-c", entry, *map(str, arguments)]


def run(*arguments: object, **environment: str) -> Run:
    """Run a command of sdmad to its end.

    Raises:
        SystemExit: if it fails.
    """
    with subprocess.Popen(
        command(*arguments),
        env={**os.environ, **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    ) as process:
        family = Family(process.pid)
        while process.poll() is None:
            family.look()
            time.sleep(SAMPLES)
        assert process.stderr is not None
        if process.returncode:
            raise SystemExit(process.stderr.read().decode())
    return family.run()


def _processes() -> dict[int, tuple[int, int, float]]:
    """Of each process its parent, when it started (ticks), and its seconds of the processor."""
    found = {}
    for name in filter(str.isdecimal, os.listdir("/proc")):  # noqa: PTH208  # quickest
        try:
            said = Path("/proc", name, "stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        used = (int(said[11]) + int(said[12])) / TICKS
        found[int(name)] = (int(said[1]), int(said[19]), used)
    return found


def _memory(process: int) -> float:
    """MiB of a process, shared pages by their share; 0 of one that has ended."""
    try:
        text = Path(f"/proc/{process}/smaps_rollup").read_text()
    except OSError:
        return 0.0
    sizes = [int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")]
    return sum(sizes) / 1024


def _busy() -> float:
    """Seconds that all cores were busy since the machine started."""
    line = Path("/proc/stat").read_text().splitlines()[0]
    user, nice, system, _, _, irq, soft, steal = map(int, line.split()[1:9])
    return (user + nice + system + irq + soft + steal) / TICKS
