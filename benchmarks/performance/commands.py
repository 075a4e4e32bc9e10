"""Whole commands: start-up, one image, the demonstration; memory of many images."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.performance.common import Figures, by_turns, embedded_model, write_pictures

# VmHWM and not ru_maxrss, which a process inherits from the one that started it.
PEAK = (
    "import sys; from sdmad.cli import main\n"
    "sys.argv = ['sdmad', *sys.argv[1:]]\n"
    "try:\n    main.run()\nexcept SystemExit:\n    pass\n"
    "lines = open('/proc/self/status', encoding='ascii').read().splitlines()\n"
    "print(next(line for line in lines if 'VmHWM' in line).split()[1], file=sys.stderr)"
)


def start_up(model: Path, folder: Path) -> dict[str, Figures]:
    """Wall time of whole commands."""
    (image,) = write_pictures(folder, 1, "png")
    commands = {
        "sdmad --help": ["--help"],
        "sdmad predict": ["predict", model, image, "--out", folder / "s.csv", "--force"],
        "sdmad demo": ["demo", "--out", folder / "demo", "--force"],
    }
    program = Path(sys.executable).with_name("sdmad")

    def runner(arguments: list[object]) -> object:
        command = [program, *map(str, arguments)]
        return lambda: subprocess.run(command, capture_output=True, check=True)

    return by_turns({name: runner(given) for name, given in commands.items()}, warm=False)


def many_images(model: Path, folder: Path) -> dict[str, Figures]:
    """Peak memory of ``sdmad predict`` with the embedded backbone on 500 and on 10,000 files."""
    found = {}
    (picture,) = write_pictures(folder, 1, "png")
    for count in (500, 10_000):
        many = folder / f"many{count}"
        many.mkdir()
        for i in range(count):
            (many / f"{i:05d}.png").hardlink_to(picture)
        start = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-c", PEAK, "predict", model, many, "--out", folder / f"{count}.csv"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        spent = time.perf_counter() - start
        found[str(count)] = {"mib": int(done.stderr.split()[-1]) / 1024, "seconds": spent}
        print("memory", count, found[str(count)], flush=True)
    return found


def measure(work: Path) -> Figures:
    """Both."""
    del work
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = embedded_model(folder)
        return {"start_up": start_up(model, folder), "many_images": many_images(model, folder)}
