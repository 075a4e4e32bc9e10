"""How fast is an exported model, and what do bfloat16, int8 and fewer pixels cost in AUROC?

A ViT-L/14 with random weights, 14 categories of ten signs, batches of four images. Each system runs
in a process of its own: one run to warm up, then the median of five. The bare tower is the image
tower alone, from ready pixel values to embeddings; a detector or an export adds adapters and
scoring, an export also windowing, resizing and standardising. The loss in AUROC is measured on
phantoms, with the nano backbone fitted on each modality at each size.
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

from benchmarks.performance.common import Figures, made_up_bank
from benchmarks.random_clip import PAPER_SIZE, write_random_checkpoint
from sdmad import SDMAD, SDMADConfig, SignBank, load_backbone
from sdmad.backbones.transformer import ImageTransformer
from sdmad.evaluation.metrics import mean_auroc
from sdmad.export import openvino as exports
from sdmad.export.exporting import describe
from sdmad.export.graph import places
from sdmad.export.runtime import ExportedModel, compiled
from sdmad.phantoms.cases import draw_cases, load_modality

CORES, BATCH, RUNS, CALIBRATION = 2, 4, 5, 16
PRECISIONS = ("f32", "bf16", "int8")
MODALITIES = ("brain", "chest", "oct")
SUPPORT, TEST, TESTS = 48, 400, 3
FEWER = (196, 168)  # pixels of ViT-L/14: 14 x 14 and 12 x 12 patches for 17 x 17
NANO_SIZES = (128, 112, 96)  # 8 x 8, 7 x 7 and 6 x 6 patches
SYSTEMS = (
    "bare torch f32",
    "bare torch bf16",
    "detector torch f32",
    "detector torch bf16",
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
        preprocessing = detector.backbone.preprocessing
        self.tower = detector.backbone.image
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


def prepare(work: Path) -> None:
    """Write the checkpoint, and at each size a detector on it that was fitted without an epoch."""
    write_random_checkpoint(work / "clip")
    words = made_up_bank()
    for size in (PAPER_SIZE, *FEWER):
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
        exports.save(exports.build(detector, precision, list(images)), folder)
        return
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    model = exports.converted(Bare(detector, dtype), (3, size, size), "squares")
    if precision == "int8":
        model = exports.quantised(model, list(images))
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
    name = {"f32": "float32", "bf16": "bfloat16"}[precision]
    detector = SDMAD.load(work / f"model-{size}", work / "clip", precision=name)
    pixels = detector.backbone.preprocessing.standardise(list(batch))
    if kind == "detector":
        return lambda: detector.score_pixels(pixels).scores
    tower, values = detector.backbone.image, pixels.to(detector.backbone.dtype)
    return torch.no_grad()(lambda: tower(values).float().numpy())


def measure_system(work: Path, system: str) -> dict[str, float]:
    """Median wall and processor time of an image, in milliseconds; writes the last output."""
    run = runner(work, system)
    output = run()
    gc.collect()
    walls, cpus = [], []
    for _ in range(RUNS):
        wall, cpu = time.perf_counter(), time.process_time()
        output = run()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    np.save(work / f"{system.replace(' ', '-')}.npy", np.asarray(output))
    scale = 1e3 / BATCH
    return {"ms": statistics.median(walls) * scale, "cpu_ms": statistics.median(cpus) * scale}


def in_a_process(work: Path, step: str, system: str) -> dict[str, float]:
    """Run one step in a process of its own, on two threads."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(CORES)}
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.performance.exports"]
    done = subprocess.run(
        [*command, "--work", work, "--step", step, "--system", system],
        env=environment, stdout=subprocess.PIPE, check=True, text=True,
    )  # fmt: skip
    lines = done.stdout.splitlines()
    result: dict[str, float] = json.loads(lines[-1])
    return result


def cosine(work: Path, precision: str) -> float:
    """Smallest cosine of a bare OpenVINO tower's embeddings with those in float32."""
    one = np.load(work / f"bare-openvino-{precision}.npy")
    other = np.load(work / "bare-openvino-f32.npy")
    return float((one * other).sum(axis=1).min())


def phantom_auroc(modality: str) -> dict[str, list[float]]:
    """Mean AUROC of the nano's exports on test phantoms, by size and precision, a value a draw."""
    words, kind = SignBank.load(modality), load_modality(modality)
    found: dict[str, list[float]] = {}
    for draw in range(TESTS):
        support = list(draw_cases(kind, SUPPORT, 11 + 10 * draw))
        test = list(draw_cases(kind, TEST, 12 + 10 * draw))
        truth = [
            np.array([[float(n in case.categories) for n in words.names] for case in cases])
            for cases in (support, test)
        ]
        for size in NANO_SIZES:
            backbone = load_backbone("nano", size)
            detector = SDMAD(words, backbone, seed=draw)
            detector.fit([case.image for case in support], truth[0])
            planes = [
                np.stack([backbone.preprocessing.square(case.image)] * 3).astype(np.float32)
                for case in support
            ]
            for precision in PRECISIONS:
                run = compiled(exports.build(detector, precision, planes))
                model = ExportedModel(describe(detector, "openvino", precision), run)
                scores = model.score([case.image for case in test]).scores
                name = f"{size} px, {precision}"
                found.setdefault(name, []).append(100 * mean_auroc(truth[1], scores))
    print("exports", modality, {k: float(np.mean(v)) for k, v in found.items()}, flush=True)
    return found


def measure(work: Path) -> Figures:
    """Each step of each system in a process of its own, then the price on phantoms."""
    work = work / "exports"
    work.mkdir(parents=True, exist_ok=True)
    in_a_process(work, "prepare", "")
    for system in SYSTEMS:
        if "openvino" in system:
            in_a_process(work, "convert", system)
            print("converted", system, flush=True)
    times = {}
    for system in SYSTEMS:
        times[system] = in_a_process(work, "measure", system)
        print(system, times[system], flush=True)
    return {
        "times": times,
        "cosines": {precision: cosine(work, precision) for precision in PRECISIONS[1:]},
        "auroc": {modality: phantom_auroc(modality) for modality in MODALITIES},
    }


def main() -> None:
    """One step of one system, in this process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--step", choices=("prepare", "convert", "measure"), required=True)
    parser.add_argument("--system", default="")
    asked = parser.parse_args()
    torch.set_num_threads(CORES)
    if asked.step == "prepare":
        prepare(asked.work)
    elif asked.step == "convert":
        convert(asked.work, asked.system)
    found = measure_system(asked.work, asked.system) if asked.step == "measure" else {}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
