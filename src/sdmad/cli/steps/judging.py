"""A model or an export, loaded as a command asks for it, and the rows that it gives of images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sdmad.cli.steps.loading import ModelRequest
from sdmad.detector.calibration import Likelihood
from sdmad.detector.held_out import Answers
from sdmad.detector.scores import ImageScores
from sdmad.export.runtime import ExportedModel
from sdmad.reporting.predictions import Predictions

if TYPE_CHECKING:
    from sdmad.detector.sign_detector import SignDetector
    from sdmad.dicom_out.identity import ModelIdentity


@dataclass(frozen=True)
class Judging:
    """A loaded model, and what is asked of it beside scores and decisions.

    Attributes:
        request: which model, and how it is to decide.
        detector: the model or the export.
        likely: makes probabilities of scores; None where no prevalence was stated.
        answer: makes answers of scores; None where no error rate was stated.
    """

    request: ModelRequest
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

        request = self.request
        return ModelIdentity.of(
            self.detector,
            request.model,
            prevalence=request.prevalence,
            error_rate=request.error_rate,
            precision=request.precision,
        )


def load_judging(request: ModelRequest) -> Judging:
    """Load a model or an export.

    Raises:
        SDMADError: if it cannot be loaded, or not be asked so.
    """
    detector, stated, rate = request.open(), request.prevalence, request.error_rate
    likely = None if stated is None else detector.at_prevalence(stated)
    answer = None if rate is None else detector.answering(rate)
    return Judging(request, detector, likely, answer)
