"""Making an export: build the graph, write it, read it back, compare it with the model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sdmad._version import __version__
from sdmad.detector.sign_detector import SignDetector
from sdmad.errors import InputError
from sdmad.export import verify
from sdmad.export.calibration import GivenImages, choose, squares
from sdmad.export.files import (
    BANK,
    CONFIG,
    GRAPHS,
    MANIFEST,
    PRECISIONS,
    Description,
    file_hash,
)
from sdmad.export.runtime import ExportedModel, open_graph, require
from sdmad.output import output_directory, write_json, write_text

NEEDS = {
    "openvino": ("openvino",),
    "onnx": ("onnx", "onnxscript", "onnxruntime"),
}
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


def check_request(runtime: str, precision: str, calibration: Path | None) -> None:
    """Refuse what cannot be exported before anything is loaded.

    Raises:
        InputError: if the runtime has no such precision, int8 has no images to calibrate on, or a
            package is not installed.
    """
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

    Raises:
        ImageError: if an image cannot be read.
        InputError: as :func:`check_request`; or if the detector is not fitted.
        ModelError: if the graph differs from the detector by more than the tolerance.
    """
    check_request(runtime, precision, calibration)
    detector.check_fitted()
    given = choose(calibration, detector) if calibration is not None else None
    files = () if given is None else given.files
    with output_directory(folder, force) as work:
        _write_graph(detector, runtime, precision, files, work)
        write_text(work / BANK, detector.bank_.to_yaml())
        description = describe(detector, runtime, precision)
        write_json(work / CONFIG, description.to_dict())
        run = open_graph(runtime, work / GRAPHS[runtime][0])
        found = verify.check(detector, ExportedModel(description, run), files)
        _write_manifest(detector, work, description, found, given)
    return Exported(found, () if given is None else (given.note,))


def describe(detector: SignDetector, runtime: str, precision: str) -> Description:
    """What an export of a detector says of itself."""
    return Description(
        runtime,
        precision,
        detector.backbone_.preprocessing,
        detector.bank_,
        tuple(detector.head_.keep.tolist()),
        detector.config_.decision,
    )


def _write_graph(
    detector: SignDetector, runtime: str, precision: str, files: tuple[Path, ...], work: Path
) -> None:
    if runtime == "onnx":
        from sdmad.export import onnx

        onnx.save(onnx.build(detector), work)
        return
    from sdmad.export import openvino

    images = squares(files, detector.backbone_.preprocessing) if precision == "int8" else ()
    openvino.save(openvino.build(detector, precision, images), work)


def _write_manifest(
    detector: SignDetector,
    work: Path,
    description: Description,
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
            "calibrated_on_support_images": bool(given and given.support)
            if description.precision == "int8"
            else None,
            "check": found.to_dict(),
        },
    )
