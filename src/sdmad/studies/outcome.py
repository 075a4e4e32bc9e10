"""What one system did on one draw, and the file that keeps it with all that it depends on."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sdmad.evaluation.labelled_scores import LabelledScores
from sdmad.evaluation.pixel_intervals import PatientPixels
from sdmad.output import json_text, write_arrays

PARTS = ("labels", "scores", "decisions", "abnormality", "normal")
PIXEL_PARTS = ("normal", "abnormal", "called")
UNREADABLE = (
    *(OSError, EOFError, zipfile.BadZipFile, zlib.error),
    *(ValueError, KeyError, TypeError, AttributeError),
)

Arrays = Mapping[str, NDArray[Any]]
Fingerprint = Mapping[str, Any]
"""Plain values by what they are of; the keys are told to people."""


@dataclass(frozen=True)
class Cost:
    """What a system costs.

    Attributes:
        fit_seconds: of the whole fit.
        image_seconds: of scoring one image, reading left out; maps left out.
        parameters: trained numbers.
        peak_mib: memory above what the process had before, at its highest; MiB. Of systems that
            run together, that of all of them.
    """

    fit_seconds: float
    image_seconds: float
    parameters: int
    peak_mib: float


@dataclass(frozen=True)
class Outcome:
    """What one system did on one draw.

    Attributes:
        scored: its scores beside the truth.
        cost: time and memory.
        losses: its loss, epoch by epoch; empty where nothing was trained.
        image_level_only: whether its category scores repeat its abnormality.
        notes: what it warned of, such as a collapse.
        pixels: AUROC, AUPRO and Dice of its maps, by
            :data:`~sdmad.evaluation.pixel_intervals.PIXEL_METRICS`; empty without maps.
        patient_pixels: the pixels behind those figures, by patient; None without maps.
        kept_signs: signs that selection kept, boolean ``(S,)``; None without selection.
    """

    scored: LabelledScores
    cost: Cost
    losses: tuple[float, ...]
    image_level_only: bool
    notes: tuple[str, ...]
    pixels: dict[str, float]
    patient_pixels: PatientPixels | None
    kept_signs: NDArray[np.bool_] | None

    def write(self, path: Path, fingerprint: Fingerprint) -> None:
        """Keep it in a file, whole or not at all.

        Raises:
            SDMADError: if the file cannot be written.
        """
        arrays = {part: getattr(self.scored, part) for part in PARTS}
        arrays["patients"] = np.array(self.scored.patients, dtype=np.str_)
        if self.patient_pixels is not None:
            pixels = self.patient_pixels
            arrays |= {f"pixels_{part}": getattr(pixels, part) for part in PIXEL_PARTS}
            arrays["pixels_patients"] = np.array(pixels.patients, dtype=np.str_)
        if self.kept_signs is not None:
            arrays["kept_signs"] = self.kept_signs
        about = {
            "cost": asdict(self.cost),
            "losses": self.losses,
            "image_level_only": self.image_level_only,
            "notes": self.notes,
            "pixels": self.pixels,
        }
        write_kept(path, arrays, about, fingerprint)

    @classmethod
    def of(cls, arrays: Arrays, about: Mapping[str, Any]) -> Outcome:
        """From what :meth:`write` kept.

        Raises:
            KeyError: if something is missing.
        """
        patients = tuple(arrays["patients"].tolist())
        by_patient = None
        if "pixels_patients" in arrays:
            ids = tuple(arrays["pixels_patients"].tolist())
            by_patient = PatientPixels(ids, *(arrays[f"pixels_{part}"] for part in PIXEL_PARTS))
        return cls(
            LabelledScores(**{part: arrays[part] for part in PARTS}, patients=patients),
            Cost(**about["cost"]),
            tuple(about["losses"]),
            about["image_level_only"],
            tuple(about["notes"]),
            {k: float("nan") if v is None else float(v) for k, v in about["pixels"].items()},
            by_patient,
            arrays.get("kept_signs"),
        )


def write_kept(
    path: Path, arrays: Arrays, about: Mapping[str, Any], fingerprint: Fingerprint
) -> None:
    """Keep arrays and plain values, with all that they depend on, in one file.

    Raises:
        SDMADError: if it cannot be written.
    """
    text = json_text({**about, "fingerprint": fingerprint}, None)
    write_arrays(path, {**arrays, "about": np.array(text)})


def read_kept(
    path: Path, fingerprint: Fingerprint, say: Callable[[str], None]
) -> tuple[Arrays, dict[str, Any]] | None:
    """Read what :func:`write_kept` kept, if all that it depends on is as it was.

    Args:
        path: the file; there need not be one.
        fingerprint: what it would depend on now.
        say: told why a file that is there is not taken up.

    Returns:
        Arrays and plain values; None where they must be computed.
    """
    if not path.exists():
        return None
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        about = json.loads(str(arrays.pop("about")))
        before = about.pop("fingerprint")
        now = json.loads(json_text(fingerprint))
        changed = [key for key in now if before.get(key) != now[key]]
    except UNREADABLE as error:
        say(f"{path}: cannot be read ({error}); computed again")
        return None
    if changed:
        say(f"{path}: stored with another {' and another '.join(changed)}; computed again")
        return None
    return arrays, about
