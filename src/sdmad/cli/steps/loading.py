"""Load a model and, perhaps, change how it decides."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdmad.choices import Precision
from sdmad.data.listing import list_images
from sdmad.detector.calibration import OF_THE_TABLE, Prevalence
from sdmad.detector.config import SDMADConfig, parse_decision
from sdmad.errors import InputError

if TYPE_CHECKING:
    from sdmad.archive.stages import Judge
    from sdmad.detector.sign_detector import SignDetector
    from sdmad.export.runtime import ExportedModel


@dataclass(frozen=True)
class ModelRequest:
    """A model or an export, and how it is to decide.

    Attributes:
        model: a directory that ``sdmad fit`` or ``sdmad export`` wrote.
        decision: a decision rule; the model's own when None.
        normals: folder of normal images for the ``fpr`` rule.
        backbone: where the base weights are on this machine.
        device: auto, cpu or cuda.
        precision: of the towers: float32, bfloat16 or auto.
        prevalence: stated, for probabilities and the ``likely`` rule.
        error_rate: stated, for answers.
    """

    model: Path
    decision: str | None = None
    normals: Path | None = None
    backbone: str | None = None
    device: str = "auto"
    precision: Precision = "float32"
    prevalence: Prevalence | None = None
    error_rate: float | None = None

    def open(self) -> SignDetector | ExportedModel:
        """Load it.

        Raises:
            SDMADError: if it cannot be loaded, or an export is to decide otherwise than it does.
        """
        from sdmad.export.files import is_export

        if not is_export(self.model):
            given = (self.decision, self.normals, self.backbone, self.device, self.precision)
            return load_with_decision(self.model, *given, self.prevalence)
        from sdmad.export.runtime import ExportedModel

        self._check_fixed()
        return ExportedModel.load(self.model)

    def judge(self, maps: bool = False) -> Judge:
        """Load it for an archive; processes of a cluster call it by name.

        Args:
            maps: whether it gives maps too.
        """
        from sdmad.archive.stages import Judge

        return Judge.of(self.open(), self.prevalence, self.error_rate, maps)

    def settings(self) -> dict[str, Any]:
        """What its decisions depend on, as plain values."""
        return {
            "decision": self.decision,
            "normals": None if self.normals is None else str(self.normals),
            "precision": self.precision,
            "prevalence": self.prevalence,
            "error_rate": self.error_rate,
        }

    def _check_fixed(self) -> None:
        """Refuse options that an export has settled."""
        settled = {
            "--decision": self.decision is not None,
            "--normals": self.normals is not None,
            "--backbone": self.backbone is not None,
            "--device": self.device not in ("auto", "cpu"),
            "--precision": self.precision != "float32",
        }
        for option, asked in settled.items():
            if asked:
                raise InputError(
                    f"{option} was settled when the model was exported; export it again, or give "
                    "the directory that sdmad fit wrote"
                )


def load_with_decision(
    model: Path,
    decision: str | None = None,
    normals: Path | None = None,
    backbone: str | None = None,
    device: str = "auto",
    precision: Precision = "float32",
    prevalence: Prevalence | None = None,
) -> SignDetector:
    """Load a detector and, perhaps, change how it decides.

    Args:
        model: a directory that ``sdmad fit`` wrote.
        decision: a decision rule; the model's own when None.
        normals: folder of normal images for the ``fpr`` rule.
        backbone: where the base weights are on this machine.
        device: auto, cpu or cuda.
        precision: of the towers: float32, bfloat16 or auto.
        prevalence: stated, for the ``likely`` rule; that of a table is not known here yet.

    Raises:
        SDMADError: if the model cannot be loaded or the rule lacks its normal images or prevalence.
    """
    from sdmad.detector.sign_detector import SignDetector  # an export needs no torch

    detector = SignDetector.load(model, backbone, device, precision)
    if decision is not None:
        detector = detector.with_inference(decision=decision)
    if normals is not None:
        check_normals(detector.config_, normals)
        detector.fit_thresholds(list_images([normals]))
    elif detector.thresholds_ is None:
        check_normals(detector.config_, None)
    if parse_decision(detector.config_.decision)[0] == "likely":
        if prevalence is not None and prevalence != OF_THE_TABLE:
            detector.decide_at(prevalence)
        elif detector.thresholds_ is None and prevalence is None:
            raise InputError(f"--decision {detector.config_.decision} goes with --prevalence")
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
