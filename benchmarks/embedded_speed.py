"""How near to its bare tower the embedded backbone predicts, and what one image costs.

Run ``python -m benchmarks.embedded_speed`` on a machine that does nothing else: ratios within one
run, medians of five.

- Towers: the adapted image tower on squares in memory, in PyTorch and as OpenVINO's float32 graph,
  two threads; the trunk alone; the share of the rate at which large matrices are multiplied.
- ``sdmad predict`` of many PNG files of 512 px, start-up included, against the bare tower's rate.
- One image from the shell, processor time against that of ``python -c "import torch"``.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import openvino
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.performance.common import by_turns, embedded_model, machine, write_pictures
from benchmarks.performance.limits import PRODUCT_OPERATIONS, products
from sdmad.detector.sign_detector import SignDetector
from sdmad.export.exporting import export_model
from sdmad.export.graph import adapted_image
from sdmad.export.openvino import converted

BATCH, DISTINCT, ROUNDS = 32, 50, 5


def towers(detector: SignDetector) -> dict[str, float]:
    """Milliseconds an image of the bare tower in both runtimes, and of the trunk alone."""
    size = detector.preprocessing.size
    squares = np.random.default_rng(0).integers(0, 256, (BATCH, 3, size, size)).astype(np.float32)
    pixels = detector.preprocessing.standardise(list(squares.transpose(0, 2, 3, 1)))
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": os.cpu_count()}
    graph = converted(adapted_image(detector), (3, size, size), "squares")
    request = openvino.Core().compile_model(graph, "CPU", settings).create_infer_request()
    trunk = getattr(detector.backbone_.image, "trunk")  # noqa: B009
    runs: dict[str, Callable[[], object]] = {
        "torch": lambda: detector.image_features(pixels),
        "openvino": lambda: request.infer(squares),
        "torch trunk": torch.inference_mode()(lambda: trunk(pixels)),
        "products": products(torch.float32),
    }
    seconds = {name: t["median"] for name, t in by_turns(runs).items()}
    rate = PRODUCT_OPERATIONS / seconds.pop("products")
    print(f"matrix products alone: {rate / 1e9:.0f} x 10^9 operations a second", flush=True)
    with FlopCounterMode(display=False) as counted:
        detector.image_features(pixels[:1])
    operations = counted.get_total_flops()
    print(f"the tower on an image: {operations / 1e9:.2f} x 10^9 operations", flush=True)
    for name in ("torch", "openvino"):
        share = operations * BATCH / seconds[name] / rate
        print(f"{name}: {100 * share:.0f} % of the limit", flush=True)
    return {name: 1000 * took / BATCH for name, took in seconds.items()}


def processor_time(command: list[str]) -> float:
    """Seconds of processor time of one command and what it starts."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def one_image(model: Path, export: Path, image: Path, folder: Path) -> dict[str, float]:
    """Processor time of one prediction in units of an import of torch, by turns."""
    program = str(Path(sys.executable).with_name("sdmad"))
    ask = ["--out", str(folder / "one.csv"), "--force"]
    commands = {
        "import torch": [sys.executable, "-c", "import torch"],
        "model": [program, "predict", str(model), str(image), *ask],
        "export": [program, "predict", str(export), str(image), *ask],
    }
    times: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(ROUNDS):
        for name, command in commands.items():
            times[name].append(processor_time(command))
    units = times["import torch"]
    found = {"import torch, s": median(units)}
    for name in ("model", "export"):
        ratios = [mine / unit for mine, unit in zip(times[name], units, strict=True)]
        found[f"{name}, in imports"] = median(ratios)
    return found


def many_images(model: Path, files: Path, count: int, bare: float, folder: Path) -> float:
    """Rate of ``sdmad predict`` over the bare tower's, start-up included.

    Args:
        model: a model directory or an export.
        files: a folder of images.
        count: how many.
        bare: milliseconds an image of the bare tower.
        folder: for the scores.
    """
    program = str(Path(sys.executable).with_name("sdmad"))
    start = time.perf_counter()
    out = str(folder / "many.csv")
    subprocess.run(
        [program, "predict", str(model), str(files), "--out", out, "--force"],
        check=True,
        capture_output=True,
    )
    spent = time.perf_counter() - start
    print(f"{model.name}: {count / spent:.1f} images a second", flush=True)
    return count * bare / 1000 / spent


def main() -> None:
    """Measure all of it and print it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=10_000)
    count = parser.parse_args().files
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model, export, files = embedded_model(folder), folder / "export", folder / "files"
        detector = SignDetector.load(model)
        export_model(detector, export, "openvino")
        (folder / "pictures").mkdir()
        files.mkdir()
        pictures = write_pictures(folder / "pictures", DISTINCT, "png")
        for i in range(count):
            (files / f"{i:05d}.png").hardlink_to(pictures[i % DISTINCT])
        bare = towers(detector)
        found = {
            "machine": machine(),
            "ms an image": bare,
            "torch over openvino": bare["torch"] / bare["openvino"],
            "share of the bare tower, model": many_images(
                model, files, count, bare["torch"], folder
            ),
            "share of the bare tower, export": many_images(
                export, files, count, bare["openvino"], folder
            ),
            "one image": one_image(model, export, pictures[0], folder),
        }
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
