"""Is reading no slower than at another commit? 1,000 PNG and 1,000 DICOM files, by turns.

    python -m benchmarks.reading_speed --before OTHER/src [--kind png] [--way "pictures in turn"]

Two ways: as `predict` reads, squares decoded ahead, and full pictures one after the other. Each
turn is a process of its own, first of the other commit, then of this one. Told are seconds by the
clock and of processor time, its own and its decoders', start included; the least of all turns
counts, for other work on the machine only ever adds.
"""

from __future__ import annotations

import argparse
import itertools
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

FILES, TURNS = 1000, 5
KINDS, WAYS = ("png", "dcm"), ("squares ahead", "pictures in turn")


def read(folder: Path, way: str) -> None:
    """Read all files of a folder one way."""
    from sdmad.data.decoding import decode_all
    from sdmad.data.images import read_image
    from sdmad.data.preprocessing import Preprocessing

    paths = sorted(folder.iterdir())
    if way == WAYS[0]:
        how = Preprocessing(size=224, mean=(0.5,) * 3, std=(0.5,) * 3)
        assert sum(1 for _ in decode_all(how, paths)) == len(paths)
        return
    for path in paths:
        read_image(path)


def timed(source: Path, folder: Path, way: str) -> tuple[float, float]:
    """Seconds by the clock and of processor time of a process that reads with a source."""
    here = Path(__file__).parents[1]
    path = os.pathsep.join([str(source), str(here)])
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "benchmarks.reading_speed", "--read", str(folder), "--way", way],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        check=True,
    )
    seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    used = (after.ru_utime - before.ru_utime) + (after.ru_stime - before.ru_stime)
    return seconds, used


def main() -> None:
    """Measure both, print the least seconds of each and how they compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--before", type=Path, help="src/ of the other commit")
    parser.add_argument("--turns", type=int, default=TURNS)
    parser.add_argument("--read", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--kind", choices=KINDS, help="of the files; both when not given")
    parser.add_argument("--way", choices=WAYS, help="how they are read; both when not given")
    given = parser.parse_args()
    if given.read:
        read(given.read, given.way)
        return
    from benchmarks.performance.common import write_pictures

    sources = (given.before.resolve(), Path(__file__).parents[1] / "src")
    with tempfile.TemporaryDirectory() as name:
        kinds = (given.kind,) if given.kind else KINDS
        ways = (given.way,) if given.way else WAYS
        for kind in kinds:
            (Path(name) / kind).mkdir()
            write_pictures(Path(name) / kind, FILES, kind)
        for kind, way in itertools.product(kinds, ways):
            turns = [
                [timed(source, Path(name) / kind, way) for source in sources]
                for _ in range(given.turns)
            ]
            for what, measure in enumerate(("clock", "processor")):
                old, new = (min(turn[side][what] for turn in turns) for side in (0, 1))
                change = f"{new / old - 1:+.1%}"
                print(f"{kind}, {way}, {measure}: {old:.2f} s before, {new:.2f} s now, {change}")


if __name__ == "__main__":
    main()
