"""Measure and write the page: ``make bench``, on a machine that does nothing else.

Every section runs in a process of its own and leaves a JSON file; what is there is not measured
again.
"""

from __future__ import annotations

import argparse
import importlib
import json
import subprocess
import sys
from pathlib import Path

from benchmarks.performance.common import Figures, machine
from benchmarks.performance.page import write_page
from sdmad.output import write_json

SECTIONS = (
    "commands",
    "steps",
    "fits",
    "scoring",
    "others",
    "exports",
    "price",
    "reading",
    "evaluation",
    "limits",
    "growth",
)


def main() -> None:
    """Measure what is missing, one section or all, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("out/bench"))
    parser.add_argument("--docs", type=Path, default=Path("docs/performance.md"))
    parser.add_argument("--section", choices=SECTIONS, help="measure this one in this process")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    if asked.section:
        about = machine()
        found = importlib.import_module(f"benchmarks.performance.{asked.section}").measure(
            asked.out
        )
        write_json(asked.out / f"{asked.section}.json", {"machine": about, "figures": found})
        return
    for section in SECTIONS:
        if not (asked.out / f"{section}.json").exists():
            print(f"== {section}", flush=True)
            command = [sys.executable, "-W", "ignore", "-m", "benchmarks.performance"]
            subprocess.run([*command, "--out", asked.out, "--section", section], check=True)
    summary = write_page(read(asked.out), asked.docs)
    print(summary.markdown())


def read(folder: Path) -> Figures:
    """Figures of all sections that are there; also written as one file, ``bench.json``."""
    found: Figures = {}
    for section in SECTIONS:
        path = folder / f"{section}.json"
        if path.exists():
            content = json.loads(path.read_text(encoding="utf-8"))
            found[section] = content["figures"]
            found.setdefault("machine", content["machine"])
    write_json(folder / "bench.json", found)
    return found


if __name__ == "__main__":
    main()
