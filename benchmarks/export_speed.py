"""How fast is an exported model, and what do bfloat16 and int8 cost in AUROC?

Run ``make export-speed``; it takes about 20 minutes and 8 GB. A ViT-L/14 at 240 px with random
weights, 14 categories of ten signs, batches of four images on two cores. Each system runs in a
process of its own: one run to warm up, then the median of five. The bare tower is the image tower
alone, from ready pixel values to embeddings; a detector or an export adds adapters and scoring, an
export also windowing, resizing and standardising. The loss in AUROC is measured on phantoms, with
the nano backbone fitted on each modality.
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
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import pad

from benchmarks.memory import bank
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
SUPPORT, TEST = 48, 400
SYSTEMS = (
    "bare torch f32",
    "bare torch bf16",
    "detector torch f32",
    "detector torch bf16",
    *(f"bare openvino {p}" for p in PRECISIONS),
    *(f"export openvino {p}" for p in PRECISIONS),
)


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
    """Write the checkpoint and a detector on it that was fitted without an epoch."""
    write_random_checkpoint(work / "clip")
    backbone = load_backbone(work / "clip", PAPER_SIZE)
    words = bank()
    detector = SDMAD(words, backbone, SDMADConfig(epochs=0))
    images = list(squares(len(words.names) + 1, PAPER_SIZE))
    labels = np.eye(len(images), len(words.names))
    detector.fit(images, labels).save(work / "model", force=True)


def convert(work: Path, system: str) -> None:
    """Write the graph of an OpenVINO system; a process of its own frees what this takes."""
    kind, _, precision = system.split()
    folder = work / system.replace(" ", "-")
    folder.mkdir(exist_ok=True)
    detector = SDMAD.load(work / "model", work / "clip")
    images = squares(CALIBRATION, PAPER_SIZE).astype(np.float32).transpose(0, 3, 1, 2)
    if kind == "export":
        exports.save(exports.build(detector, precision, list(images)), folder)
        return
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    model = exports.converted(Bare(detector, dtype), (3, PAPER_SIZE, PAPER_SIZE), "squares")
    if precision == "int8":
        model = exports.quantised(model, list(images))
    model.outputs[0].get_tensor().set_names({"features"})
    exports.save(model, folder)


def runner(work: Path, system: str) -> Callable[[], Any]:
    """What one timed run of a system does."""
    kind, runtime, precision = system.split()
    batch = squares(BATCH, PAPER_SIZE)
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
    detector = SDMAD.load(work / "model", work / "clip", precision=name)
    pixels = detector.backbone.preprocessing.standardise(list(batch))
    if kind == "detector":
        return lambda: detector.score_pixels(pixels).scores
    tower, values = detector.backbone.image, pixels.to(detector.backbone.dtype)
    return torch.no_grad()(lambda: tower(values).float().numpy())


def measure(work: Path, system: str) -> dict[str, float]:
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
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.export_speed"]
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


def phantom_auroc(modality: str) -> dict[str, float]:
    """Mean AUROC of the nano over a modality's categories, by precision of its export."""
    words = SignBank.load(modality)
    support = list(draw_cases(load_modality(modality), SUPPORT, 11))
    test = list(draw_cases(load_modality(modality), TEST, 12))

    def truth(cases: Sequence[Any]) -> NDArray[np.float64]:
        return np.array([[float(n in case.categories) for n in words.names] for case in cases])

    detector = SDMAD(words).fit([case.image for case in support], truth(support))
    planes = [np.stack([case.image] * 3).astype(np.float32) for case in support]
    found = {}
    for precision in PRECISIONS:
        run = compiled(exports.build(detector, precision, planes))
        model = ExportedModel(describe(detector, "openvino", precision), run)
        scores = model.score([case.image for case in test]).scores
        found[precision] = mean_auroc(truth(test), scores)
    return found


def table(times: dict[str, dict[str, float]]) -> str:
    """Times and ratios as Markdown."""
    base = times["bare torch f32"]
    lines = [
        "| system | ms an image | times the bare PyTorch float32 tower | over its own bare tower |",
        "| --- | --- | --- | --- |",
    ]
    for system, found in times.items():
        kind, runtime, precision = system.split()
        bare = times[f"bare {runtime} {precision}"]
        over = ""
        if kind != "bare":
            wall, cpu = (found[unit] / bare[unit] - 1 for unit in ("ms", "cpu_ms"))
            over = f"{wall:+.1%} (processor time {cpu:+.1%})"
        lines.append(f"| {system} | {found['ms']:.0f} | {base['ms'] / found['ms']:.2f} | {over} |")
    return "\n".join(lines)


def main() -> None:
    """Measure everything, print two tables and write JSON."""
    parser = argparse.ArgumentParser(description="Speed and loss of exported models.")
    parser.add_argument("--work", type=Path, default=Path("out/export-speed"))
    parser.add_argument("--step", choices=("all", "prepare", "convert", "measure"), default="all")
    parser.add_argument("--system", default="")
    asked = parser.parse_args()
    work: Path = asked.work
    torch.set_num_threads(CORES)
    if asked.step == "all":
        run_all(work)
        return
    if asked.step == "prepare":
        prepare(work)
    elif asked.step == "convert":
        convert(work, asked.system)
    found = measure(work, asked.system) if asked.step == "measure" else {}
    print(json.dumps(found))


def run_all(work: Path) -> None:
    """Each step of each system in a process of its own."""
    work.mkdir(parents=True, exist_ok=True)
    in_a_process(work, "prepare", "")
    for system in SYSTEMS:
        if "openvino" in system:
            in_a_process(work, "convert", system)
    times = {system: in_a_process(work, "measure", system) for system in SYSTEMS}
    cosines = {precision: cosine(work, precision) for precision in PRECISIONS[1:]}
    losses = {modality: phantom_auroc(modality) for modality in MODALITIES}
    print(table(times))
    print("\ncosine with float32: " + ", ".join(f"{p} {c:.5f}" for p, c in cosines.items()))
    print("\n| phantoms, nano | " + " | ".join(PRECISIONS) + " |\n|" + " --- |" * 4)
    for modality, row in losses.items():
        print(f"| {modality} | " + " | ".join(f"{row[p]:.4f}" for p in PRECISIONS) + " |")
    content = {"times": times, "cosines": cosines, "auroc": losses}
    (work / "export-speed.json").write_text(json.dumps(content, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
