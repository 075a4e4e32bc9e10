"""Run the campaign and write the page: ``make campaign``, an hour or so; resumable.

``python -m benchmarks.campaign --kind text --seed 17`` runs one case again.
"""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import asdict
from pathlib import Path

from benchmarks.campaign.crew import run_all
from benchmarks.campaign.frame import KINDS, module_of, prepare, run_case
from benchmarks.campaign.page import write_page


def main() -> None:
    """Run what is missing of one kind or of all, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("out/campaign"))
    parser.add_argument("--docs", type=Path, default=Path("docs/campaign.md"))
    parser.add_argument("--kind", choices=KINDS, action="append", help="these alone")
    parser.add_argument("--share", type=float, default=1.0, help="of each kind's cases")
    parser.add_argument("--seed", type=int, help="run this one case here, and show what happens")
    parser.add_argument("--workers", type=int, default=max(1, (os.cpu_count() or 2) - 1))
    asked = parser.parse_args()
    kinds = tuple(asked.kind or KINDS)
    if asked.seed is not None:
        for kind in kinds:
            material = prepare(kind, asked.out / "material")
            case = run_case(kind, asked.seed, material, asked.out / "place")
            print(json.dumps(asdict(case), indent=1))
        return
    for kind in kinds:
        count = max(1, round(module_of(kind).COUNT * asked.share))
        print(f"== {kind}: {count} cases, seeds 0 to {count - 1}", flush=True)
        run_all(kind, count, asked.out, asked.workers)
    print(write_page(asked.out, asked.docs).markdown())


if __name__ == "__main__":
    main()
