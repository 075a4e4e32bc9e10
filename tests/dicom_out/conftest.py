"""Fixtures for results in DICOM."""

from collections.abc import Callable

import pytest

from sdmad.dicom_out.identity import ModelIdentity
from sdmad.dicom_out.results import Results, results_for
from sdmad.reporting.predictions import Predictions
from tests.dicom_out.phantoms import seeing


@pytest.fixture(scope="session")
def identity(fitted, model_folder) -> ModelIdentity:
    """Of the fitted detector."""
    return ModelIdentity.of(fitted, model_folder)


@pytest.fixture(scope="session")
def judge(fitted):
    """A detector that finds Ring and Dots, where an image is bright."""
    return seeing(fitted, "Ring", "Dots")


@pytest.fixture
def make(judge, identity) -> Callable[..., Results]:
    """The results of a file, from that detector or another."""

    def make(path, judge=judge, probabilities=None, answers=None) -> Results:
        rows = Predictions(judge, [path], judge.score_images([path]), set(), probabilities, answers)
        return results_for(judge, rows[0], identity)

    return make
