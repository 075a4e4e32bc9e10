"""How fast is an exported model beside its bare tower and beside PyTorch?

A ViT-L/14 with random weights, 14 categories of ten signs, batches of four images. Each system
lives in a process of its own; all are loaded and warm, and each in turn runs once while the others
wait, for a machine's speed changes from one minute to the next. The bare tower is the image tower
alone, from ready pixel values to embeddings; an export adds adapters and scoring, windowing,
resizing and standardising.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import pad

from benchmarks.performance.common import CPU, Figures, made_up_bank
from benchmarks.random_clip import PAPER_SIZE, write_random_checkpoint
from sdmad import SDMAD, SDMADConfig, load_backbone
from sdmad.backbones.transformer import ImageTransformer
from sdmad.detector.precision import has_bfloat16
from sdmad.export import openvino as exports
from sdmad.export.graph import places
from sdmad.export.machine import weight_bits
from sdmad.export.runtime import compiled
from sdmad.phantoms.cases import draw_cases, load_modality

CORES, BATCH, ROUNDS, CALIBRATION = 2, 4, 9, 16
NAMES = {"f32": "float32", "bf16": "bfloat16", "int8": "int8"}
PRECISIONS = tuple(NAMES)
FEWER = (196, 168)  # pixels of ViT-L/14: 14 x 14 and 12 x 12 patches for 17 x 17
SYSTEMS = (
    "bare torch f32",
    *(["bare torch bf16"] if has_bfloat16(CPU) else []),
    *(f"bare openvino {p}" for p in PRECISIONS),
    *(f"export openvino {p}" for p in PRECISIONS),
    *(f"export openvino int8 {size}" for size in FEWER),
)


def parts_of(system: str) -> tuple[str, str, str, int]:
    """Kind, runtime, precision and image size of a system."""
    kind, runtime, precision, *size = system.split()
    return kind, runtime, precision, int(size[0]) if size else PAPER_SIZE


class Bare(nn.Module):
    """The image tower without adapters, every block whole: squares to embeddings."""

    def __init__(self, detector: SDMAD, dtype: torch.dtype) -> None:
        super().__init__()
        preprocessing = detector.backbone_.preprocessing
        self.tower = detector.backbone_.image
        assert isinstance(self.tower, ImageTransformer)
        self.places = nn.Buffer(places(self.tower, preprocessing.size).to(dtype))
        self.tower.to(dtype)
        self.dtype = dtype
        self.mean = nn.Buffer(torch.tensor(preprocessing.mean).reshape(1, 3, 1, 1))
        self.std = nn.Buffer(torch.tensor(preprocessing.std).reshape(1, 3, 1, 1))

    def forward(self, squares: Tensor) -> Tensor:
        """Brightness ``(n, 3, S, S)`` from 0 to 255 to embeddings ``(n, D)``."""
        pixels = ((squares / 255 - self.mean) / self.std).to(self.dtype)
        patches = self.tower.patch(pixels).flatten(2).transpose(1, 2)
        hidden = self.tower.norm_before(pad(patches, (0, 0, 1, 0)) + self.places)
        for index in range(1, self.tower.depth + 1):
            hidden = self.tower.block(index, hidden, None)
        return self.tower.pool(hidden, None)


def squares(count: int, size: int) -> NDArray[np.uint8]:
    """Phantoms as squares, ``(n, size, size, 3)``."""
    cases = draw_cases(load_modality("chest"), count, 5, size=size)
    return np.stack([np.repeat(case.image[..., None], 3, axis=2) for case in cases])


def prepare(work: Path, sizes: tuple[int, ...] = (PAPER_SIZE, *FEWER)) -> None:
    """Write the checkpoint, and at each size a detector on it that was fitted without an epoch."""
    write_random_checkpoint(work / "clip")
    words = made_up_bank()
    for size in sizes:
        detector = SDMAD(words, load_backbone(work / "clip", size), SDMADConfig(epochs=0))
        images = list(squares(len(words.names) + 1, size))
        labels = np.eye(len(images), len(words.names))
        detector.fit(images, labels).save(work / f"model-{size}", force=True)


def convert(work: Path, system: str) -> None:
    """Write the graph of an OpenVINO system; a process of its own frees what this takes."""
    kind, _, precision, size = parts_of(system)
    folder = work / system.replace(" ", "-")
    folder.mkdir(exist_ok=True)
    detector = SDMAD.load(work / f"model-{size}", work / "clip")
    images = squares(CALIBRATION, size).astype(np.float32).transpose(0, 3, 1, 2)
    if kind == "export":
        bits = weight_bits(NAMES[precision], "here")
        exports.save(exports.build(detector, NAMES[precision], list(images), bits), folder)
        return
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    model = exports.converted(Bare(detector, dtype), (3, size, size), "squares")
    if precision == "int8":
        model = exports.quantised(model, list(images), weight_bits(precision, "here"))
    model.outputs[0].get_tensor().set_names({"features"})
    exports.save(model, folder)


def runner(work: Path, system: str) -> Callable[[], Any]:
    """What one timed run of a system does."""
    kind, runtime, precision, size = parts_of(system)
    batch = squares(BATCH, PAPER_SIZE)  # an export is given the same pictures at every size
    planes = batch.astype(np.float32).transpose(0, 3, 1, 2).copy()
    if runtime == "openvino":
        import openvino

        path = work / system.replace(" ", "-") / "model.xml"
        run = compiled(openvino.Core().read_model(path))
        if kind == "bare":
            return lambda: run({"squares": planes})["features"]
        shades = {"black": np.zeros(BATCH, np.float32), "white": np.full(BATCH, 255, np.float32)}
        return lambda: run({"pixels": batch.astype(np.uint16), **shades})["scores"]
    detector = SDMAD.load(work / f"model-{size}", work / "clip", precision=NAMES[precision])
    pixels = detector.backbone_.preprocessing.standardise(list(batch))
    if kind == "detector":
        return lambda: detector.score_pixels(pixels).scores
    tower, values = detector.backbone_.image, pixels.to(detector.backbone_.dtype)
    return torch.no_grad()(lambda: tower(values).float().numpy())


def serve(work: Path, system: str) -> None:
    """Load a system, then run it once for every line of the standard input."""
    run = runner(work, system)
    np.save(work / f"{system.replace(' ', '-')}.npy", np.asarray(run()))
    gc.collect()
    print("ready", flush=True)
    for _ in sys.stdin:
        wall, busy = time.perf_counter(), time.process_time()
        run()
        spent = {"ms": time.perf_counter() - wall, "cpu_ms": time.process_time() - busy}
        print(json.dumps({unit: 1000 * s / BATCH for unit, s in spent.items()}), flush=True)


def start(work: Path, step: str, system: str) -> subprocess.Popen[str]:
    """One step of one system in a process of its own, on as many threads as there are cores."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(CORES), "OMP_WAIT_POLICY": "PASSIVE"}
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.performance.exports"]
    return subprocess.Popen(
        [*command, "--work", work, "--step", step, "--system", system],
        env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def finish(process: subprocess.Popen[str]) -> None:
    """Wait for a process.

    Raises:
        RuntimeError: if it failed.
    """
    process.communicate()
    if process.returncode:
        raise RuntimeError(f"{process.args} failed")


def ask(process: subprocess.Popen[str]) -> dict[str, float]:
    """Let a serving process run once."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("run\n")
    process.stdin.flush()
    found: dict[str, float] = json.loads(process.stdout.readline())
    return found


def cosine(work: Path, precision: str) -> float:
    """Smallest cosine of a bare OpenVINO tower's embeddings with those in float32."""
    one = np.load(work / f"bare-openvino-{precision}.npy")
    other = np.load(work / "bare-openvino-f32.npy")
    return float((one * other).sum(axis=1).min())


def measure(work: Path) -> Figures:
    """Milliseconds an image of every round, and how near the embeddings are to float32's."""
    work = work / "exports"
    work.mkdir(parents=True, exist_ok=True)
    if not (work / "clip").exists():
        finish(start(work, "prepare", ""))
    for system in SYSTEMS:
        if "openvino" in system and not (work / system.replace(" ", "-") / "model.xml").exists():
            finish(start(work, "convert", system))
            print("converted", system, flush=True)
    processes = {}
    for system in SYSTEMS:
        processes[system] = process = start(work, "serve", system)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n", system
    times: dict[str, list[dict[str, float]]] = {system: [] for system in SYSTEMS}
    for _ in range(ROUNDS):
        for system, process in processes.items():
            times[system].append(ask(process))
    for process in processes.values():
        finish(process)
    for system, rounds in times.items():
        print(system, statistics.median(one["ms"] for one in rounds), flush=True)
    return {"times": times, "cosines": {p: cosine(work, p) for p in PRECISIONS[1:]}}


def main() -> None:
    """One step of one system, in this process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--step", choices=("prepare", "convert", "serve"), required=True)
    parser.add_argument("--system", default="")
    asked = parser.parse_args()
    torch.set_num_threads(CORES)
    if asked.step == "prepare":
        prepare(asked.work)
    else:
        {"convert": convert, "serve": serve}[asked.step](asked.work, asked.system)


if __name__ == "__main__":
    main()
