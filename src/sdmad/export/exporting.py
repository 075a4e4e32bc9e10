"""Making an export: build the graph, write it, read it back, compare it with the model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sdmad._version import __version__
from sdmad.choices import ExportTarget
from sdmad.detector.manifest import file_hash
from sdmad.detector.sign_detector import SignDetector
from sdmad.errors import InputError
from sdmad.export import verify
from sdmad.export.calibration import GivenImages, choose, squares
from sdmad.export.files import BANK, CONFIG, GRAPHS, MANIFEST, PRECISIONS, Description
from sdmad.export.machine import check_target, weight_bits
from sdmad.export.runtime import ExportedModel, graph_inputs, open_graph, require
from sdmad.output import output_directory, write_json, write_text

NEEDS = {"openvino": ("openvino",), "onnx": ("onnx", "onnxscript", "onnxruntime")}
REFUSED = {
    ("onnx", "bfloat16"): (
        "ONNX Runtime's CPU has no bfloat16 kernels; take float32, or --format openvino"
    ),
    ("onnx", "int8"): (
        "ONNX Runtime's static quantisation has no SmoothQuant for the outliers of a vision "
        "transformer, and with its dynamic one an image's scores would depend on the others of "
        "its batch; take float32, or --format openvino"
    ),
}


@dataclass(frozen=True)
class Exported:
    """What was written: what the check found, and what a person should know."""

    check: verify.Check
    notes: tuple[str, ...]


NARROW = (
    "this processor adds products of 8-bit numbers in 16 bits: int8's weights keep to 7 bits and "
    "attention's products to float32, as with --target any"
)


def check_request(
    runtime: str, precision: str, calibration: Path | None, target: str = "here"
) -> None:
    """Refuse what cannot be exported before anything is loaded.

    Raises:
        InputError: if the runtime has no such precision, the target is another, int8 has no images
            to calibrate on, or a package is not installed.
    """
    check_target(target)
    if runtime not in GRAPHS or precision not in PRECISIONS:
        raise InputError(
            f"format must be {' or '.join(GRAPHS)} and precision one of {', '.join(PRECISIONS)}, "
            f"got {runtime!r} and {precision!r}"
        )
    reason = REFUSED.get((runtime, precision))
    if reason is not None:
        raise InputError(f"no {precision} for {runtime}: {reason}")
    if precision == "int8" and calibration is None:
        raise InputError(
            "int8 is calibrated on the support images, and a model holds their hashes only: give "
            "them with --calibration FOLDER or --calibration LABELS.csv"
        )
    require(runtime, *NEEDS[runtime], *(("nncf",) if precision == "int8" else ()))


def export_model(
    detector: SignDetector,
    folder: Path,
    runtime: str,
    precision: str = "float32",
    calibration: Path | None = None,
    force: bool = False,
    target: ExportTarget = "here",
    say: Callable[[str], None] = lambda _: None,
) -> Exported:
    """Write a detector as a graph that is checked against it.

    Args:
        detector: fitted, in float32.
        folder: where to; nothing is left there if the check fails.
        runtime: ``openvino`` or ``onnx``.
        precision: ``float32``; with OpenVINO also ``bfloat16`` or ``int8``.
        calibration: a folder of images or a label table: int8 is calibrated on the support images
            among them, every precision is checked on them.
        force: replace what the folder holds.
        target: whose processor will run it: ``here``, this machine's or one with the same 8-bit
            arithmetic; ``any``, whatever it has. Of int8 alone the two differ.
        say: told what is being done.

    Raises:
        ImageError: if an image cannot be read.
        InputError: as :func:`check_request`; or if the detector is not fitted.
        ModelError: if the graph differs from the detector by more than the tolerance.
    """
    check_request(runtime, precision, calibration, target)
    detector.check_fitted()
    given = choose(calibration, detector) if calibration is not None else None
    files = () if given is None else given.files
    description = describe(detector, runtime, precision, target)
    with output_directory(folder, force) as work:
        calibrated = f", calibrated on {len(files)} images" if precision == "int8" else ""
        say(f"making the graph: {runtime}, {precision}{calibrated}")
        _write_graph(detector, description, files, work)
        write_text(work / BANK, detector.bank_.to_yaml())
        write_json(work / CONFIG, description.to_dict())
        say("reading it back and comparing it with the model")
        run = open_graph(runtime, work / GRAPHS[runtime][0])
        resize = resizing(runtime, description.preprocessing.size)
        found = verify.check(detector, ExportedModel(description, run), resize, files)
        _write_manifest(detector, work, description, target, found, given)
    narrow = target == "here" and description.weight_bits == 7
    return Exported(found, (*((given.note,) if given else ()), *((NARROW,) if narrow else ())))


def resizing(runtime: str, size: int) -> verify.Resize:
    """What a runtime's graphs do before the tower.

    Args:
        runtime: ``openvino`` or ``onnx``.
        size: side of the graph's square in pixels.
    """
    run = import_module(f"sdmad.export.{runtime}").resizing(size)

    def resize(pixels: verify.Raw, black: float, white: float) -> NDArray[np.float32]:
        squares: NDArray[np.float32] = run(graph_inputs(pixels, black, white))["squares"]
        return squares

    return resize


def describe(
    detector: SignDetector, runtime: str, precision: str, target: ExportTarget = "here"
) -> Description:
    """What an export of a detector says of itself."""
    limits = detector.head_.limits()
    return Description(
        runtime,
        precision,
        detector.backbone_.preprocessing,
        detector.bank_,
        tuple(detector.head_.keep.tolist()),
        detector.config_.decision,
        weight_bits(precision, target),
        detector.head_.calibration,
        detector.head_.held_out,
        None if limits is None else tuple(limits.tolist()),
    )


def _write_graph(
    detector: SignDetector, description: Description, files: tuple[Path, ...], work: Path
) -> None:
    if description.runtime == "onnx":
        from sdmad.export import onnx

        onnx.save(onnx.build(detector), work)
        return
    from sdmad.export import openvino

    precision, bits = description.precision, description.weight_bits
    images = squares(files, detector.backbone_.preprocessing) if precision == "int8" else ()
    openvino.save(openvino.build(detector, precision, images, bits), work)


def _write_manifest(
    detector: SignDetector,
    work: Path,
    description: Description,
    target: ExportTarget,
    found: verify.Check,
    given: GivenImages | None,
) -> None:
    names = (*GRAPHS[description.runtime], BANK, CONFIG)
    write_json(
        work / MANIFEST,
        {
            "sdmad": __version__,
            "files": {name: file_hash(work / name) for name in names},
            "backbone": detector.backbone_.name,
            "base_weights_sha256": detector.backbone_.weights_hash,
            "target": target,
            "calibrated_on_support_images": bool(given and given.support)
            if description.precision == "int8"
            else None,
            "check": found.to_dict(),
        },
    )
