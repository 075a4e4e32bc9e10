"""What the sections share: the work that is timed, and how it is timed."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from sdmad import SDMAD
from sdmad.data.fewshot import draw_support
from sdmad.data.table import read_label_table
from sdmad.detector.precision import has_bfloat16
from sdmad.phantoms.cases import load_modality
from sdmad.phantoms.files import write_phantoms
from sdmad.signs import SignBank

SIZE, CATEGORIES, SIGNS, BATCH, RUNS = 240, 14, 10, 8, 5
CPU = torch.device("cpu")
Figures = dict[str, Any]


def made_up_bank(categories: int = CATEGORIES, signs: int = SIGNS) -> SignBank:
    """Categories of as many signs each, as many as the paper's chest set has."""
    named = {
        f"Category {c}": tuple(
            f"a finding of kind {c} seen in place {s} of the chest" for s in range(signs)
        )
        for c in range(categories)
    }
    return SignBank("made up", "chest X-ray", ("a normal chest X-ray",), named)


def precisions() -> dict[str, torch.dtype]:
    """float32, and bfloat16 where the processor has it."""
    kinds = {"float32": torch.float32}
    if has_bfloat16(CPU):
        kinds["bfloat16"] = torch.bfloat16
    return kinds


def seconds(run: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def spread(times: list[float]) -> Figures:
    """Median, smallest and largest of some times, and how many there are."""
    return {
        "median": statistics.median(times),
        "low": min(times),
        "high": max(times),
        "runs": len(times),
    }


def by_turns(
    runs: Mapping[str, Callable[[], object]], rounds: int = RUNS, warm: bool = True
) -> dict[str, Figures]:
    """Times of several things, measured by turns so that a slow minute hits all of them.

    Args:
        runs: what to time.
        rounds: how often each.
        warm: whether each runs once before.
    """
    if warm:
        for run in runs.values():
            run()
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            times[name].append(seconds(run))
    found = {name: spread(measured) for name, measured in times.items()}
    for name, figures in found.items():
        print(f"{name}: {figures['median']:.4f} s", flush=True)
    return found


def write_pictures(folder: Path, count: int, kind: str) -> list[Path]:
    """Distinct pictures of 512 px as PNG or DICOM files."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

    rng, paths = np.random.default_rng(0), []
    base = rng.normal(100, 20, (512, 512))
    for i in range(count):
        values = np.clip(np.roll(base, i, axis=1), 0, 255).astype(np.uint8)
        paths.append(folder / f"{i:05d}.{kind}")
        if kind == "png":
            Image.fromarray(values).save(paths[-1], compress_level=1)
            continue
        meta = FileMetaDataset()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
        meta.MediaStorageSOPInstanceUID = generate_uid()
        dataset = Dataset()
        dataset.file_meta, dataset.Rows, dataset.Columns = meta, 512, 512
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
        dataset.PixelRepresentation = 0
        dataset.PixelData = (values.astype(np.uint16) * 16).tobytes()
        dataset.save_as(paths[-1], enforce_file_format=True)
    return paths


def embedded_model(folder: Path) -> Path:
    """The embedded backbone fitted on a few OCT phantoms, saved in ``folder``."""
    bank = SignBank.load("oct")
    labels = write_phantoms(load_modality("oct"), folder / "phantoms", 60, 5000)
    table = read_label_table(labels, bank.names)
    drawn = table.subset(draw_support(table, 1, 0).indices)
    SDMAD(bank, "lite").fit(drawn.files, drawn.labels).save(folder / "model")
    return folder / "model"


def machine() -> Figures:
    """What the figures belong to."""
    return {
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "bfloat16": has_bfloat16(CPU),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "load": os.getloadavg()[0],
    }
