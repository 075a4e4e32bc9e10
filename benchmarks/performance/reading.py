"""How long a tower waits for the files that other processes read."""

from __future__ import annotations

import tempfile
import time
from contextlib import closing
from pathlib import Path

import torch

from benchmarks.performance.common import (
    BATCH,
    CPU,
    SIZE,
    Figures,
    precisions,
    seconds,
    write_pictures,
)
from benchmarks.random_clip import write_random_checkpoint
from sdmad import load_backbone
from sdmad.data.decoding import decode_all
from sdmad.detector.precision import choose_precision, placed

FILES = 1000


def measure(work: Path) -> Figures:
    """Seconds of waiting and of work for 1,000 files of each kind, at the quickest precision."""
    del work
    found = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "clip").mkdir()
        write_random_checkpoint(folder / "clip")
        backbone = load_backbone(folder / "clip", SIZE)
        backbone = placed(backbone, CPU, choose_precision("auto", CPU))
        backbone.encode_image(torch.randn(BATCH, 3, SIZE, SIZE))
        for kind in ("png", "dcm"):
            (folder / kind).mkdir()
            paths = write_pictures(folder / kind, FILES, kind)
            own = backbone.preprocessing
            alone = seconds(lambda own=own, paths=paths: list(decode_all(own, paths, 0)))
            waited = worked = 0.0
            with closing(decode_all(own, paths)) as squares:
                for _ in range(FILES // BATCH):
                    start = time.perf_counter()
                    batch = [next(squares) for _ in range(BATCH)]
                    read = time.perf_counter()
                    backbone.encode_image(own.standardise(batch))
                    waited += read - start
                    worked += time.perf_counter() - read
            found[kind] = {"alone": alone, "waited": waited, "worked": worked}
            print("reading", kind, found[kind], flush=True)
    return {"files": found, "precision": list(precisions())[-1]}
