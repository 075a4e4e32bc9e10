"""The bare tower of open_clip, in the environment of the extras."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import torch

from benchmarks.performance.common import RUNS, SIZE, Figures
from benchmarks.performance.scoring import IMAGES

PYTHON = Path(".venv-extras/bin/python")
SCRIPT = Path(__file__).with_name("open_clip_tower.py")


def measure(work: Path) -> Figures:
    """Seconds for four images; nothing where the extras are not installed."""
    del work
    if not PYTHON.exists():
        print("no .venv-extras (make test-extras): open_clip's tower is left out", flush=True)
        return {}
    command = [PYTHON, SCRIPT, *map(str, (SIZE, IMAGES, RUNS, torch.get_num_threads()))]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: Figures = json.loads(done.stdout.splitlines()[-1])
    return found
