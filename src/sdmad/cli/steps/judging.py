"""A model or an export, loaded as a command asks for it, and the rows that it gives of images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sdmad.choices import Precision
from sdmad.detector.calibration import Likelihood, parse_prevalence
from sdmad.detector.held_out import Answers
from sdmad.detector.scores import ImageScores
from sdmad.errors import InputError
from sdmad.export.files import is_export
from sdmad.export.runtime import ExportedModel
from sdmad.reporting.predictions import Predictions

if TYPE_CHECKING:
    from sdmad.detector.sign_detector import SignDetector
    from sdmad.dicom_out.identity import ModelIdentity


@dataclass(frozen=True)
class Asked:
    """How a command asks a model to judge.

    Attributes:
        model: a directory of ``sdmad fit`` or ``sdmad export``.
        decision: a decision rule; the model's own when None.
        normals: folder of normal images for the ``fpr`` rule.
        backbone: where the base weights are on this machine.
        device: auto, cpu or cuda.
        precision: of the towers.
        prevalence: in words; None for no probabilities.
        error_rate: None for no answers.
    """

    model: Path
    decision: str | None
    normals: Path | None
    backbone: str | None
    device: str
    precision: Precision
    prevalence: str | None
    error_rate: float | None


@dataclass(frozen=True)
class Judging:
    """A loaded model, and what is asked of it beside scores and decisions.

    Attributes:
        asked: how.
        detector: the model or the export.
        likely: makes probabilities of scores; None where no prevalence was stated.
        answer: makes answers of scores; None where no error rate was stated.
    """

    asked: Asked
    detector: SignDetector | ExportedModel
    likely: Likelihood | None
    answer: Answers | None

    def rows(self, files: Sequence[Path], scored: ImageScores, skipped: set[int]) -> Predictions:
        """What is said of images that were scored; those at skipped positions have no row."""
        likely = None if self.likely is None else self.likely(scored)
        answers = None if self.answer is None else self.answer(scored)
        return Predictions(self.detector, files, scored, skipped, likely, answers)

    def identity(self) -> ModelIdentity:
        """Which model this is, and how it decides, for results in DICOM."""
        from sdmad.dicom_out.identity import ModelIdentity

        asked = self.asked
        return ModelIdentity.of(
            self.detector,
            asked.model,
            prevalence=None if asked.prevalence is None else parse_prevalence(asked.prevalence),
            error_rate=asked.error_rate,
            precision=asked.precision,
        )


def load_judging(asked: Asked) -> Judging:
    """Load a model or an export.

    Raises:
        SDMADError: if it cannot be loaded, or not be asked so.
    """
    stated = None if asked.prevalence is None else parse_prevalence(asked.prevalence)
    detector: SignDetector | ExportedModel
    if is_export(asked.model):
        _check_fixed(asked)
        detector = ExportedModel.load(asked.model)
    else:
        from sdmad.cli.steps.loading import load_with_decision

        how = (asked.decision, asked.normals, asked.backbone, asked.device, asked.precision)
        detector = load_with_decision(asked.model, *how, stated)
    likely = None if stated is None else detector.at_prevalence(stated)
    answer = None if asked.error_rate is None else detector.answering(asked.error_rate)
    return Judging(asked, detector, likely, answer)


def _check_fixed(asked: Asked) -> None:
    """Refuse options that an export has settled."""
    settled = {
        "--decision": asked.decision is not None,
        "--normals": asked.normals is not None,
        "--backbone": asked.backbone is not None,
        "--device": asked.device not in ("auto", "cpu"),
        "--precision": asked.precision != "float32",
    }
    for option, given in settled.items():
        if given:
            raise InputError(
                f"{option} was settled when the model was exported; export it again, or give the "
                "directory that sdmad fit wrote"
            )
