"""Load a model and, perhaps, change how it decides."""

from __future__ import annotations

from pathlib import Path

from sdmad.choices import Precision
from sdmad.data.listing import list_images
from sdmad.detector.config import SDMADConfig, parse_decision
from sdmad.detector.sign_detector import SignDetector
from sdmad.errors import InputError


def load_with_decision(
    model: Path,
    decision: str | None = None,
    normals: Path | None = None,
    backbone: str | None = None,
    device: str = "auto",
    precision: Precision = "float32",
) -> SignDetector:
    """Load a detector and, perhaps, change how it decides.

    Args:
        model: a directory that ``sdmad fit`` wrote.
        decision: a decision rule; the model's own when None.
        normals: folder of normal images for the ``fpr`` rule.
        backbone: where the base weights are on this machine.
        device: auto, cpu or cuda.
        precision: of the towers: float32, bfloat16 or auto.

    Raises:
        SDMADError: if the model cannot be loaded or the rule lacks its normal images.
    """
    detector = SignDetector.load(model, backbone, device, precision)
    if decision is not None:
        detector = detector.with_inference(decision=decision)
    if normals is not None:
        check_normals(detector.config_, normals)
        detector.fit_thresholds(list_images([normals]))
    elif detector.thresholds_ is None:
        check_normals(detector.config_, None)
    return detector


def check_normals(config: SDMADConfig, normals: Path | None) -> None:
    """Refuse a rule that needs normal images without them, and these without such a rule.

    Raises:
        InputError: saying which option is missing.
    """
    is_rate = parse_decision(config.decision)[0] == "fpr"
    if is_rate and normals is None:
        raise InputError(
            f"--decision {config.decision} takes its thresholds from normal images: give "
            "--normals FOLDER, with images that will not be judged"
        )
    if normals is not None and not is_rate:
        raise InputError("--normals goes with --decision fpr:RATE")
