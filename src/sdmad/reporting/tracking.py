"""Logging a fit to MLflow: settings, figures and the model's folder; nothing of any patient.

Where to is MLflow's own business (``MLFLOW_TRACKING_URI``, ``MLFLOW_EXPERIMENT_NAME``).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path

from sdmad._version import __version__
from sdmad.detector.sign_detector import SignDetector
from sdmad.errors import SDMADError
from sdmad.export.runtime import require

EXPERIMENT = "sdmad"
"""Where no experiment is named."""


def check_tracker() -> None:
    """Refuse to begin where MLflow is not installed; it sends no statistics of its use.

    Raises:
        InputError: saying how to install it.
    """
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    require("mlflow", "mlflow")
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)


def track_fit(
    detector: SignDetector, model: Path, settings: Mapping[str, object], seconds: float
) -> str:
    """Log a fit.

    Args:
        detector: what was fitted.
        model: its folder, which is copied there.
        settings: of the draw, beside the detector's own.
        seconds: that it took.

    Returns:
        The run's id.

    Raises:
        SDMADError: if MLflow refuses.
    """
    check_tracker()
    import mlflow

    try:
        if "MLFLOW_EXPERIMENT_NAME" not in os.environ:
            mlflow.set_experiment(EXPERIMENT)
        with mlflow.start_run() as run:
            told = {
                "sdmad": __version__,
                "bank": detector.bank_.name,
                "backbone": detector.backbone_.name,
                **settings,
                **detector.config_.to_dict(),
            }
            mlflow.log_params(told)
            for number, epoch in enumerate(detector.log_, 1):
                mlflow.log_metrics(vars(epoch), step=number)
            figures = {
                "seconds": seconds,
                "support_images": len(detector.support_hashes_),
                "trained_parameters": detector.trained_parameters,
                "kept_signs": int(detector.kept_signs.sum()),
            }
            mlflow.log_metrics(figures)
            mlflow.log_artifacts(str(model), "model")
            return str(run.info.run_id)
    except Exception as error:  # MLflow's own, and those of its stores
        reason = " ".join(str(error).split())[:300]
        raise SDMADError(
            f"MLflow refuses ({reason}); the model itself is saved in {model}"
        ) from error
