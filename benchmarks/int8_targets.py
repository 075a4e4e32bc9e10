"""What fewer bits lose and gain: bfloat16, and int8 with weights of 8 bits and of 7.

Run ``python -m benchmarks.int8_targets``; with ``OV_CPU_MAX_ISA=AVX2 ONEDNN_MAX_CPU_ISA=AVX2
ATEN_CPU_CAPABILITY=avx2`` before it, as on a processor without VNNI (one of them alone is not
enough; its first line says which of the two it saw). lite is fitted on 48 phantoms and judges 100
more; its graphs are compared with the model itself. *Exact* spells every quantisation out in
float32, where no sum is cut off: what a processor with VNNI computes. The time of these graphs
follows, and that of a bare ViT-L/14 with random weights, batch 4.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import openvino.opset13 as ops
import torch
from numpy.typing import NDArray

from benchmarks.performance.common import by_turns
from benchmarks.performance.exports import BATCH, CALIBRATION, Bare, prepare, squares
from benchmarks.random_clip import PAPER_SIZE
from sdmad import SDMAD, SignBank, load_backbone
from sdmad.evaluation.metrics import mean_auroc
from sdmad.export import openvino as exports
from sdmad.export.exporting import describe
from sdmad.export.machine import exact_int8
from sdmad.export.runtime import ExportedModel, compiled, graph_inputs
from sdmad.export.verify import Difference
from sdmad.phantoms.cases import STUDIED, draw_cases, load_modality
from sdmad.table import Table

SUPPORT, TEST, ROUNDS, IMAGES = 48, 100, 15, 8
Row = dict[str, str]
CAPTION = (
    f"lite on {SUPPORT} phantoms, judged on {TEST} others. In each cell the mean and the largest "
    "difference of a cosine, the largest of a score, changed decisions, and AUROC."
)
PRECISION = {"f32": None, "int8, 8 bits": 8, "int8, 7 bits": 7}


def exact(model: ov.Model) -> ov.Model:
    """A copy in float32 that rounds as an int8 graph does and cuts no sum off."""
    model = model.clone()
    for node in model.get_ordered_ops():
        source = node.input_value(0) if node.get_input_size() else None
        if node.get_type_name() == "FakeQuantize":
            node.output(0).replace(_rounded(node).output(0))
        elif node.get_type_name() == "Convert" and source.get_element_type() == ov.Type.i8:
            values = source.get_node().data.astype(np.float32)
            node.output(0).replace(ops.constant(values).output(0))
    return model


def _rounded(node: Any) -> Any:
    """A quantisation in single operations."""
    values, low, high, shown_low, shown_high = node.input_values()
    steps = ops.constant(np.array(node.get_attributes()["levels"] - 1, np.float32))
    inside = ops.minimum(ops.maximum(values, low), high)
    share = ops.divide(ops.subtract(inside, low), ops.subtract(high, low))
    whole = ops.round(ops.multiply(share, steps), "half_to_even")
    span = ops.subtract(shown_high, shown_low)
    return ops.add(ops.multiply(ops.divide(whole, steps), span), shown_low)


def losses(name: str) -> tuple[dict[str, ov.Model], Row]:
    """How far the graphs of one modality are from the model: those that run as they are, a row."""
    words, kind = SignBank.load(name), load_modality(name)
    support, test = (list(draw_cases(kind, n, s)) for n, s in ((SUPPORT, 11), (TEST, 12)))
    labels, truth = (_labels(cases, words.names) for cases in (support, test))
    backbone = load_backbone("lite")
    detector = SDMAD(words, backbone).fit([case.image for case in support], labels)
    images = [case.image for case in test]
    planes = [
        np.stack([backbone.preprocessing.square(case.image)] * 3).astype(np.float32)
        for case in support
    ]
    model = detector.score_images(images)
    about = describe(detector, "openvino", "int8")
    row = {"": f"{name} (model: {100 * mean_auroc(truth, model.scores):.2f})"}
    graphs = {kind: exports.build(detector, kind) for kind in ("float32", "bfloat16")}
    for bits in (8, 7):
        graphs[f"int8, {bits} bits"] = exports.build(detector, "int8", planes, bits)
    spelt_out = {f"{kind}, exact": exact(graph) for kind, graph in graphs.items() if "int8" in kind}
    for kind, graph in (graphs | spelt_out).items():
        found = ExportedModel(about, compiled(graph)).score_images(images)
        cosines = np.abs(found.similarity - model.similarity)
        apart = Difference.between(model, found)
        row[kind] = (
            f"{cosines.mean():.4f}, {apart.cosine:.3f}, {apart.score:.2f}, "
            f"{apart.changed} of {apart.decisions}, {100 * mean_auroc(truth, found.scores):.2f}"
        )
        print(f"{name}, {kind}: {row[kind]}; {apart.unlike} unfamiliar", flush=True)
    return graphs, row


def _labels(cases: list[Any], names: tuple[str, ...]) -> NDArray[np.float64]:
    return np.array([[float(name in case.categories) for name in names] for case in cases])


def lite_speed(graphs: dict[str, ov.Model]) -> None:
    """Print what a batch takes lite's graphs, by turns: how much of float32's time and work."""
    pixels = np.random.default_rng(0).integers(0, 256, (IMAGES, 240, 240, 1), np.uint8)
    inputs = graph_inputs(pixels, 0, 255)
    runs = {kind: compiled(graph) for kind, graph in graphs.items()}
    spent: dict[str, list[NDArray[np.float64]]] = {kind: [] for kind in runs}
    for _ in range(ROUNDS):
        for kind, run in runs.items():
            start = np.array([time.perf_counter(), time.process_time()])
            run(inputs)
            spent[kind].append(np.array([time.perf_counter(), time.process_time()]) - start)
    for kind, took in spent.items():
        each = 1000 * np.median(took, axis=0) / IMAGES
        wall, work = np.median(np.divide(spent["float32"], took), axis=0)
        print(
            f"lite, {kind}: {each[0]:.1f} ms an image, {each[1]:.1f} ms of the processor; "
            f"{wall:.2f} times as quick as float32, by the processor's time {work:.2f}",
            flush=True,
        )


def large_speed(work: Path) -> None:
    """Print a ViT-L/14's seconds of a batch by turns, and what 8 and 7 bits take of float32's."""
    prepare(work, (PAPER_SIZE,))
    detector = SDMAD.load(work / f"model-{PAPER_SIZE}", work / "clip")
    images = squares(CALIBRATION, PAPER_SIZE).astype(np.float32).transpose(0, 3, 1, 2)
    bare = Bare(detector, torch.float32)
    runs = {}
    for name, bits in PRECISION.items():
        model = exports.converted(bare, (3, PAPER_SIZE, PAPER_SIZE), "squares")
        ready = compiled(exports.quantised(model, list(images), bits) if bits else model)
        runs[name] = lambda ready=ready: ready({"squares": images[:BATCH]})
    medians = {name: one["median"] for name, one in by_turns(runs).items()}
    print({name: f"{medians['f32'] / took:.2f} times f32" for name, took in medians.items()})


def main() -> None:
    """Losses of every modality, then the speed."""
    print("8-bit products here:", "exact" if exact_int8() else "cut off at 16 bits")
    rows = []
    for name in STUDIED:
        graphs, row = losses(name)
        rows.append(row)
    cells = tuple(tuple(row.values()) for row in rows)
    print(Table("lite in fewer bits", tuple(rows[0]), cells, CAPTION).markdown(), flush=True)
    lite_speed(graphs)
    with tempfile.TemporaryDirectory() as folder:
        large_speed(Path(folder))


if __name__ == "__main__":
    main()
