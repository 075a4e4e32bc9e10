"""How fast the package is: ``docs/speed.md``, figures of one machine, ratios within one run.

Run ``make speed`` on a machine that does nothing else: about half an hour on two cores.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks.random_clip import write_random_checkpoint
from benchmarks.reference import Reference
from sdmad import SDMAD, SDMADConfig, load_backbone
from sdmad.backbones import NANO_FOLDER, Backbone
from sdmad.data.decoding import decode_all
from sdmad.data.fewshot import draw_support
from sdmad.data.table import read_label_table
from sdmad.evaluation.metrics import mean_auroc
from sdmad.evaluation.tables import Table
from sdmad.output import write_text
from sdmad.phantoms.cases import MODALITIES, load_modality
from sdmad.phantoms.dataset import write_phantoms
from sdmad.precision import has_bfloat16, in_precision
from sdmad.signs import SignBank
from sdmad.training import SignTexts, SupportImages, build_adapters, train_adapters

SIZE, CATEGORIES, SIGNS, IMAGES, BATCH, RUNS = 240, 14, 10, 15, 8, 5
CPU = torch.device("cpu")


def made_up_bank() -> SignBank:
    """Fourteen categories of ten signs."""
    signs = {
        f"Category {c}": tuple(
            f"a finding of kind {c} seen in place {s} of the chest" for s in range(SIGNS)
        )
        for c in range(CATEGORIES)
    }
    return SignBank("made up", "chest X-ray", ("a normal chest X-ray",), signs)


def seconds(run: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def operations(sentences: int, tokens: int) -> tuple[float, float]:
    """Multiplications of a step by count, in units of 10^12: reference and ours.

    A block of width W has 12 W^2 weights; a product is counted once forward and once for the
    gradient of its input. Weights are frozen, so they need no gradient of their own.
    """
    image_tokens = BATCH * ((SIZE // 14) ** 2 + 1)
    block = 12 * 1024**2 * image_tokens
    text = 12 * 768**2 * 12 * sentences * tokens
    reference = (24 + 18) * block + text
    return reference / 1e12, (18 + 18) * block / 1e12


def fit_rows(folder: Path) -> list[tuple[str, ...]]:
    """A training step of ViT-L/14: the reference, ours in float32 and in bfloat16."""
    torch.manual_seed(0)
    backbone = load_backbone(folder, SIZE)
    bank, pixels = made_up_bank(), torch.randn(IMAGES, 3, SIZE, SIZE)
    labels = torch.eye(IMAGES, CATEGORIES)
    plain = Reference(str(folder), (6, 8, 18, 24), list(bank.categories.values()), bank.normal)
    sentences, tokens = plain.tokens.shape
    steps = {"reference": lambda: plain.fit(pixels[:BATCH], labels[:BATCH], 1)}
    names = {"ours, float32": torch.float32}
    if has_bfloat16(CPU):
        names["ours, bfloat16"] = torch.bfloat16
    losses = {}
    for name, dtype in names.items():
        steps[name] = step(in_precision(backbone, dtype), bank, pixels, labels)
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(RUNS):
        for name, run in steps.items():
            start = time.perf_counter()
            losses.setdefault(name, run())
            times[name].append(time.perf_counter() - start)
            print(f"fit step, {name}: {times[name][-1]:.2f} s", flush=True)
    base = statistics.median(times["reference"])
    wanted, ours = operations(sentences, tokens)
    rows = [
        (name, f"{statistics.median(t):.2f}", f"{min(t):.2f}-{max(t):.2f}",
         f"{base / statistics.median(t):.2f}", f"{np.ravel(losses[name])[0]:.5f}")
        for name, t in times.items()
    ]  # fmt: skip
    rows.append(("by count of operations", "", "", f"{wanted / ours:.2f}", ""))
    return rows


def step(
    backbone: Backbone, bank: SignBank, pixels: torch.Tensor, labels: torch.Tensor
) -> Callable[[], float]:
    """One optimiser step on a batch; what never changes is computed beforehand."""
    config = SDMADConfig.paper(epochs=1)
    image, text = build_adapters(backbone, config, 0)
    texts = SignTexts(bank, backbone, text)
    images = SupportImages(pixels[:BATCH], backbone, image)
    category = torch.tensor(bank.category_index)
    with torch.no_grad():
        texts()

    def run() -> float:
        return train_adapters(images, texts, labels[:BATCH], category, config, 0)[0].loss

    return run


def predict_rows(folder: Path) -> list[tuple[str, ...]]:
    """Scoring of ViT-L/14 against its bare image tower, batch 4."""
    backbone = load_backbone(folder, SIZE)
    bank, pixels = made_up_bank(), torch.randn(4, 3, SIZE, SIZE)
    arrays = [np.random.default_rng(i).integers(0, 256, (SIZE, SIZE), np.uint8) for i in range(15)]
    fitted = SDMAD(bank, backbone, SDMADConfig(epochs=0))
    fitted.fit(arrays, np.eye(15, CATEGORIES))
    kinds = {"float32": torch.float32}
    if has_bfloat16(CPU):
        kinds["bfloat16"] = torch.bfloat16
    runs: dict[str, Callable[[], object]] = {}
    with tempfile.TemporaryDirectory() as model:
        fitted.save(model, force=True)
        for name, dtype in kinds.items():
            bare = in_precision(backbone, dtype)
            loaded = SDMAD.load(model, backbone, precision=name)
            runs[f"bare tower, {name}"] = lambda bare=bare: bare.encode_image(pixels)
            runs[f"sdmad, {name}"] = lambda loaded=loaded: loaded.score_pixels(pixels)
        for run in runs.values():
            run()
        times: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(2 * RUNS):
            for name, run in runs.items():
                times[name].append(seconds(run) / len(pixels))
    base = statistics.median(times["bare tower, float32"])
    rows = []
    for name, t in times.items():
        kind = name.rpartition(", ")[2]
        bare_time = statistics.median(times[f"bare tower, {kind}"])
        over = 100 * (statistics.median(t) / bare_time - 1)
        rows.append(
            (name, f"{1000 * statistics.median(t):.0f}", f"{1000 * min(t):.0f}-{1000 * max(t):.0f}",
             f"{base / statistics.median(t):.2f}", "" if "bare" in name else f"{over:+.1f} %")
        )  # fmt: skip
    return rows


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


def decode_rows(folder: Path) -> list[tuple[str, ...]]:
    """How long a ViT-L/14, as quick as it can be here, waits for 1,000 files."""
    fast = torch.bfloat16 if has_bfloat16(CPU) else torch.float32
    backbone = in_precision(load_backbone(folder, SIZE), fast)
    pixels = torch.randn(8, 3, SIZE, SIZE)
    backbone.encode_image(pixels)
    rows = []
    for kind in ("png", "dcm"):
        with tempfile.TemporaryDirectory() as pictures:
            paths = write_pictures(Path(pictures), 1000, kind)
            here = seconds(lambda paths=paths: list(decode_all(backbone.preprocessing, paths, 0)))
            squares = decode_all(backbone.preprocessing, paths, 1)
            waited = worked = 0.0
            for _ in range(125):
                start = time.perf_counter()
                batch = [next(squares) for _ in range(8)]
                read = time.perf_counter()
                backbone.encode_image(backbone.preprocessing.standardise(batch))
                waited += read - start
                worked += time.perf_counter() - read
            share = 100 * waited / (waited + worked)
            rows.append((kind, f"{here:.1f}", f"{waited:.2f}", f"{worked:.0f}", f"{share:.2f} %"))
            print("decoding", rows[-1], flush=True)
    return rows


def memory_rows(model: Path) -> list[tuple[str, ...]]:
    """Peak memory of ``sdmad predict`` with the nano on 500 and on 10,000 files."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        paths = write_pictures(Path(folder), 1, "png")
        for count in (500, 10_000):
            many = Path(folder) / f"many{count}"
            many.mkdir()
            for i in range(count):
                (many / f"{i:05d}.png").hardlink_to(paths[0])
            script = (
                "import resource, sys; from sdmad.cli import main\n"
                "sys.argv = ['sdmad', *sys.argv[1:]]\n"
                "try:\n    main.run()\nexcept SystemExit:\n    pass\n"
                "print('peak', resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)"
            )
            arguments = ("predict", model, many, "--out", Path(folder) / f"{count}.csv")
            start = time.perf_counter()
            done = subprocess.run(
                [sys.executable, "-c", script, *map(str, arguments)],
                capture_output=True, text=True, check=True,
            )  # fmt: skip
            spent = time.perf_counter() - start
            peak = int(done.stderr.split()[-1]) / 1024
            rows.append((f"{count:,}", f"{peak:.0f}", f"{1000 * spent / count:.1f}"))
            print("memory", rows[-1], flush=True)
    return rows


def startup_rows(model: Path) -> list[tuple[str, ...]]:
    """Wall time of whole commands."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        (image,) = write_pictures(Path(folder), 1, "png")
        commands = {
            "sdmad --help": ["--help"],
            "sdmad predict, one image, nano": [
                "predict", str(model), str(image), "--out", str(Path(folder) / "s.csv"), "--force",
            ],
            "sdmad demo": ["demo", "--out", str(Path(folder) / "demo"), "--force"],
        }  # fmt: skip
        for name, arguments in commands.items():
            program = [str(Path(sys.executable).with_name("sdmad")), *arguments]
            times = [
                seconds(lambda p=program: subprocess.run(p, capture_output=True, check=True))
                for _ in range(RUNS)
            ]
            rows.append(
                (name, f"{statistics.median(times):.2f}", f"{min(times):.2f}-{max(times):.2f}")
            )
            print("start-up", rows[-1], flush=True)
    return rows


def quality_rows() -> list[tuple[str, ...]]:
    """Whole fits of the nano on phantoms, in float32 and bfloat16: AUROC of each draw."""
    backbone, found = load_backbone("nano"), {}
    for modality in MODALITIES:
        with tempfile.TemporaryDirectory() as folder:
            bank = SignBank.load(modality)
            labels = write_phantoms(load_modality(modality), Path(folder) / "p", 240, 5000)
            table = read_label_table(labels, bank.names)
            for seed in range(3):
                support = draw_support(table, 4, seed)
                drawn = table.subset(support.indices)
                rest = table.subset(support.evaluation(table))
                for name in ("float32", "bfloat16"):
                    fitted = SDMAD(bank, backbone, seed=seed, precision=name)
                    fitted.fit(drawn.files, drawn.labels)
                    auroc = mean_auroc(rest.labels, fitted.decision_function(list(rest.files)))
                    found.setdefault((modality, name), []).append(100 * auroc)
    return [
        (m, f"{np.mean(found[m, 'float32']):.2f}", f"{np.mean(found[m, 'bfloat16']):.2f}",
         f"{np.mean(found[m, 'bfloat16']) - np.mean(found[m, 'float32']):+.2f}")
        for m in MODALITIES
    ]  # fmt: skip


def nano_model(folder: Path) -> Path:
    """A nano fitted on a few phantoms, saved."""
    bank = SignBank.load("oct")
    labels = write_phantoms(load_modality("oct"), folder / "phantoms", 60, 5000)
    table = read_label_table(labels, bank.names)
    drawn = table.subset(draw_support(table, 1, 0).indices)
    SDMAD(bank, "nano").fit(drawn.files, drawn.labels).save(folder / "model")
    return folder / "model"


def main() -> None:
    """Measure everything and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--docs", type=Path, default=Path("docs/speed.md"))
    options = parser.parse_args()
    print(f"load average before: {os.getloadavg()[0]:.2f}; nano in {NANO_FOLDER.name}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        model = nano_model(Path(folder))
        startup, memory = startup_rows(model), memory_rows(model)
    with tempfile.TemporaryDirectory() as folder:
        write_random_checkpoint(Path(folder))
        predict, decode = predict_rows(Path(folder)), decode_rows(Path(folder))
        fit = fit_rows(Path(folder))
    quality = quality_rows() if has_bfloat16(CPU) else []
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    head = (
        "# Speed\nWritten by `make speed`; do not edit by hand. One machine: "
        f"{platform.machine()}, {os.cpu_count()} cores, bfloat16 "
        f"{'native' if has_bfloat16(CPU) else 'not native'}, torch {torch.__version__}, "
        f"{torch.get_num_threads()} threads. Ratios are within this run; medians of {RUNS} or "
        f"more. ViT-L/14 has random weights. Peak memory of this benchmark: {peak:.0f} MiB.\n"
    )
    tables = [
        Table(
            "A training step, ViT-L/14 at 240 px, batch 8, 14 categories of ten signs",
            ("What", "Median, s", "Range", "Times the reference", "First loss"), tuple(fit),
            "The reference (benchmarks/reference.py) runs both whole towers at every step. By "
            "count, a float32 step can be this much quicker at most.",
        ),
        Table(
            "Scoring, ViT-L/14 at 240 px, batch 4",
            ("What", "Median, ms an image", "Range", "Times the bare float32 tower", "Over bare"),
            tuple(predict), "",
        ),
        Table(
            "Reading 1,000 files of 512 px beside a ViT-L/14 (bfloat16 where native), one worker",
            ("Files", "Reading alone, s", "Tower waited, s", "Tower worked, s", "Waited"),
            tuple(decode), "",
        ),
        Table("Peak memory of sdmad predict, nano", ("Images", "Peak, MiB", "ms an image"),
              tuple(memory), ""),
        Table("Whole commands", ("Command", "Median, s", "Range"), tuple(startup), ""),
        Table("Whole fits of the nano on phantoms, 4 shots, three draws: mean AUROC",
              ("Modality", "float32", "bfloat16", "Difference"), tuple(quality), ""),
    ]  # fmt: skip
    write_text(options.docs, "\n".join([head, *(table.markdown() for table in tables)]))


if __name__ == "__main__":
    main()
