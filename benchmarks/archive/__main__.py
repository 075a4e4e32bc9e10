"""Archives measured: rates by workers, memory by images, time to resume, scores judged.

    python -m benchmarks.archive --out out/archive --docs docs/archives.md

Each part of a section is measured in processes of its own and leaves a JSON file; what is there
is not measured again, and the page names what is not. ``--small`` only shows that everything runs.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from benchmarks.archive.page import page
from benchmarks.archive.sections import SECTIONS, SMALL, Sizes
from benchmarks.made_with import write_page
from benchmarks.performance.common import machine
from sdmad.output import write_json


def main() -> None:
    """Measure what is missing, one section or all, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--docs", type=Path)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--section", choices=[*SECTIONS, "none"], help="this one alone, or none")
    given = parser.parse_args()
    sizes = SMALL if given.small else Sizes()
    for name, section in SECTIONS.items():
        if given.section not in (None, name):
            continue
        for part in section.parts(sizes):
            kept = given.out / name / f"{part}.json"
            if not kept.exists():
                kept.parent.mkdir(parents=True, exist_ok=True)
                print(f"{name}, {part}", flush=True)
                write_json(kept, section.measure(given.out.resolve(), sizes, part))
    found = read(given.out, sizes)
    print(json.dumps(found, indent=1))
    if given.docs is not None:
        write_page(given.docs, page(found, sizes))


def read(folder: Path, sizes: Sizes) -> dict[str, Any]:
    """What was measured, by section and part; nothing of what was not."""
    found: dict[str, Any] = {"machine": machine()}
    for name, section in SECTIONS.items():
        files = {part: folder / name / f"{part}.json" for part in section.parts(sizes)}
        found[name] = {
            part: json.loads(file.read_text("utf-8"))
            for part, file in files.items()
            if file.exists()
        }
    return found


if __name__ == "__main__":
    main()
