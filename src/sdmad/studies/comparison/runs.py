"""One system on one draw: fitted, timed, judged on images and pixels, and kept on disk."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from torch import Tensor, nn

from sdmad._version import __version__
from sdmad.backbones import Backbone
from sdmad.baselines.components.anomaly import OnePerCategory
from sdmad.baselines.registry import Build, System
from sdmad.data.fewshot import SupportSet, draw_support
from sdmad.detector.base import BATCH_SIZE, Detector, resize_map
from sdmad.detector.probe import LinearProbe
from sdmad.detector.scores import ImageScores
from sdmad.evaluation.labelled_scores import LabelledScores, labelled_scores
from sdmad.evaluation.pixel_intervals import PIXEL_METRICS, PatientPixels, patient_capacity
from sdmad.evaluation.pixels import PixelScores
from sdmad.output import json_text, write_arrays
from sdmad.progress import track
from sdmad.studies.comparison.material import Material

VALIDATION, OF_EACH = 60, 10
"""Images of the pool, outside the support set, on which a Dice threshold is chosen; of them at
least so many normal and so many abnormal ones, as far as there are."""

PACKAGE = Path(__file__).parents[2]
PARTS = ("labels", "scores", "decisions", "abnormality", "normal")
PIXEL_PARTS = ("normal", "abnormal", "called")


@dataclass(frozen=True)
class Cost:
    """What a system costs.

    Attributes:
        fit_seconds: of the whole fit.
        image_seconds: of scoring one image, reading left out; maps left out.
        parameters: trained numbers.
        peak_mib: memory above what the process had before, at its highest; MiB.
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
        pixels: AUROC, AUPRO and Dice of its maps, by :data:`PIXEL_METRICS`; empty without maps.
        cost: time and memory.
        converged: its loss, epoch by epoch; empty where nothing was trained.
        image_level_only: whether its category scores repeat its abnormality.
        settings: its hyper-parameters, as text.
        patient_pixels: the pixels behind those figures, by patient; None without maps.
        notes: what the fit warned of, such as a collapse.
    """

    scored: LabelledScores
    pixels: dict[str, float]
    cost: Cost
    converged: tuple[float, ...]
    image_level_only: bool
    settings: str
    patient_pixels: PatientPixels | None = None
    notes: tuple[str, ...] = ()


class PeakMemory:
    """Watches how far the process's resident memory rises.

    Attributes:
        mib: the highest rise so far, MiB.
    """

    def __init__(self) -> None:
        self.mib = 0.0
        self._start = _resident()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> PeakMemory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._look()

    def _watch(self) -> None:
        while not self._over.wait(0.02):
            self._look()

    def _look(self) -> None:
        self.mib = max(self.mib, _resident() - self._start)


def _resident() -> float:
    """Resident memory of this process in MiB; the peak so far where the system tells no more."""
    status = Path("/proc/self/statm")
    if status.exists():
        pages = int(status.read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def run_system(
    system: System,
    material: Material,
    backbone: Backbone,
    shots: int,
    seed: int,
    folder: Path,
    general_only: bool = False,
    make: Callable[[Build], Detector] | None = None,
) -> Outcome:
    """Fit and judge a system on one draw, unless that was done already with its settings.

    Args:
        system: what to run.
        material: on what.
        backbone: the frozen model.
        shots: images a category.
        seed: of the draw and of the training.
        folder: where outcomes are kept.
        general_only: systems for one kind of anomaly answer only whether an image is abnormal.
        make: gives the detector to fit; the system builds one when not given.

    Raises:
        SDMADError: if an image cannot be read, or the system lacks what it needs.
    """
    done = stored_outcome(system, backbone, shots, seed, folder)
    if done is not None:
        return done
    support = draw_support(material.table, shots, seed)
    build = Build(material.bank, backbone, seed, lambda: material.auxiliary)
    with PeakMemory() as memory, warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        detector = (make or system.build)(build)
        if general_only and isinstance(detector, OnePerCategory):
            detector.forget_categories()
        start = time.perf_counter()
        _fit(detector, material, support)
        fitted = time.perf_counter()
        rows = np.flatnonzero(support.evaluation(material.table))
        scores, spent = _score(detector, material, rows, f"{system.title}, draw {seed}")
    cost = Cost(fitted - start, spent / len(rows), trained_parameters(detector), memory.mib)
    pixels, by_patient = (
        _judge_maps(detector, material, support, rows) if system.maps else ({}, None)
    )
    outcome = Outcome(
        _judged(material, rows, scores),
        pixels,
        cost,
        tuple(_losses(detector)),
        general_only and isinstance(detector, OnePerCategory),
        repr(system.settings_on(backbone)),
        by_patient,
        tuple(dict.fromkeys(str(one.message) for one in said if _ours(one))),
    )
    _write(_path(system, shots, seed, folder), outcome)
    return outcome


def _ours(warning: warnings.WarningMessage) -> bool:
    """Whether this package warned, not a library."""
    return issubclass(warning.category, UserWarning) and PACKAGE in Path(warning.filename).parents


def outcome_folder(out: Path, material: Material, backbone: Backbone, general_only: bool) -> Path:
    """Where outcomes are kept that depend on the same data, bank and backbone, and on nothing else.

    Args:
        out: of the comparison.
        material: on what.
        backbone: the frozen model.
        general_only: whether systems for one kind of anomaly answer only whether there is any.
    """
    depends = {
        "sdmad": __version__,
        "backbone": backbone.weights_hash,
        "preprocessing": backbone.preprocessing.to_dict(),
        "bank": material.bank.to_yaml(),
        "table": material.table.digest(),
        "auxiliary": material.images,
        "general_only": general_only,
    }
    digest = hashlib.sha256(json.dumps(depends, sort_keys=True).encode()).hexdigest()[:12]
    return out / "outcomes" / f"{material.data.name}{'-general' if general_only else ''}-{digest}"


def stored_outcome(
    system: System, backbone: Backbone, shots: int, seed: int, folder: Path
) -> Outcome | None:
    """What :func:`run_system` kept; None where nothing is, or with settings or parts of before.

    Args:
        system: which.
        backbone: the frozen model.
        shots: images a category.
        seed: of the draw.
        folder: where outcomes are kept.
    """
    path = _path(system, shots, seed, folder)
    if not path.exists():
        return None
    done = _read(path)
    whole = done.patient_pixels is not None or not done.pixels
    return done if whole and done.settings == repr(system.settings_on(backbone)) else None


def _path(system: System, shots: int, seed: int, folder: Path) -> Path:
    return folder / f"{system.name}-{shots}shot-{seed}.npz"


def _fit(detector: Detector, material: Material, support: SupportSet) -> None:
    drawn = material.table.subset(support.indices)
    masks = [material.data.mask(row) for row in support.indices]
    detector.fit(drawn.files, drawn.labels, masks=masks)


def _score(
    detector: Detector, material: Material, rows: np.ndarray, title: str
) -> tuple[ImageScores, float]:
    """Scores of the judged images, and the seconds without reading."""
    parts, spent = [], 0.0
    for batch in track([rows[i : i + BATCH_SIZE] for i in range(0, len(rows), BATCH_SIZE)], title):
        pixels = detector.preprocessing([material.table.files[i] for i in batch])
        start = time.perf_counter()
        parts.append(detector.score_pixels(pixels))
        spent += time.perf_counter() - start
    return ImageScores.join(parts), spent


def _judged(material: Material, rows: np.ndarray, scores: ImageScores) -> LabelledScores:
    rest = material.table.subset(rows.tolist())
    patients = tuple(_judged_patients(material, rows).values())
    return labelled_scores(
        rest.labels, scores.scores, scores.decisions, scores.abnormality, rest.normal, patients
    )


def _judged_patients(material: Material, rows: np.ndarray) -> dict[int, str]:
    """The patient of each row, or its file where the table has no patients."""
    table = material.table
    names = table.patients or tuple(str(file) for file in table.files)
    return {row: str(names[row]) for row in rows.tolist()}


def _judge_maps(
    detector: Detector, material: Material, support: SupportSet, rows: np.ndarray
) -> tuple[dict[str, float], PatientPixels | None]:
    """Pixel AUROC and AUPRO on the judged images; Dice at a threshold chosen on the pool.

    Returns:
        The figures, and the pixels of each patient; nothing of either without maps or masks.
    """
    if not detector.has_maps or not material.data.has_masks:
        return {}, None
    chosen = PixelScores()
    for _, mask, values in _maps(detector, material, validation_rows(material, support, rows)):
        chosen.add(values, mask)
    threshold = chosen.best_dice()[0] if chosen.images and min(chosen.pixels) > 0 else None
    found, people = PixelScores(threshold), _judged_patients(material, rows)
    capacity = patient_capacity(len(set(people.values())))
    parts: dict[str, PixelScores] = {}
    for row, mask, values in _maps(detector, material, rows.tolist()):
        found.add(values, mask)
        parts.setdefault(people[row], PixelScores(threshold, capacity)).add(values, mask)
    if found.images == 0 or min(found.pixels) == 0:
        return {}, None
    dice = float("nan") if threshold is None else found.dice_at(threshold)
    figures = zip(PIXEL_METRICS, (found.auroc(), found.aupro(), dice), strict=True)
    return dict(figures), PatientPixels.of(parts)


def validation_rows(material: Material, support: SupportSet, judged: np.ndarray) -> list[int]:
    """Images on which a Dice threshold is chosen: in the pool, of patients not drawn nor judged.

    The first of the table, however it is ordered some of either kind; see :data:`VALIDATION`.

    Args:
        material: on what.
        support: the drawn images.
        judged: rows of the judged images.
    """
    table = material.table
    keys, (pool, _, _) = table.patient_keys(), table.pools()
    taken = {keys[i] for i in (*support.indices, *judged.tolist())}
    free = [i for i in np.flatnonzero(pool).tolist() if keys[i] not in taken]
    abnormal = (table.labels == 1).any(axis=1)
    kinds = ([i for i in free if abnormal[i] == kind] for kind in (True, False))
    kept = [i for kind in kinds for i in kind[:OF_EACH]]
    rest = [i for i in free if i not in kept]
    return sorted(kept + rest[: VALIDATION - len(kept)])


def _maps(
    detector: Detector, material: Material, rows: list[int]
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Row, mask, and map at the mask's size, of each image that has a mask."""
    for start in range(0, len(rows), BATCH_SIZE):
        batch = rows[start : start + BATCH_SIZE]
        masks = [material.data.mask(row) for row in batch]
        pixels = detector.preprocessing([material.table.files[row] for row in batch])
        maps = detector.map_pixels(pixels)
        for row, mask, small in zip(batch, masks, maps, strict=True):
            if mask is not None:
                yield row, mask, resize_map(small, mask.shape)


def trained_parameters(detector: Detector) -> int:
    """How many numbers a detector has learnt: leaves of autograd that ask for a gradient."""
    seen: dict[int, int] = {}
    _collect(detector, seen, {id(detector.backbone)})
    return sum(seen.values())


def _collect(thing: object, seen: dict[int, int], visited: set[int]) -> None:
    if id(thing) in visited:
        return
    visited.add(id(thing))
    if isinstance(thing, nn.Module):
        for parameter in thing.parameters():
            _collect(parameter, seen, visited)
    elif isinstance(thing, Tensor):
        if thing.requires_grad and thing.is_leaf:
            seen[id(thing)] = thing.numel()
    elif isinstance(thing, LinearProbe):
        seen[id(thing)] = thing.weights.numel() + thing.bias.numel()
    elif isinstance(thing, list | tuple):
        for item in thing:
            _collect(item, seen, visited)
    elif isinstance(thing, dict):
        for item in thing.values():
            _collect(item, seen, visited)
    elif type(thing).__module__.startswith("sdmad.") and hasattr(thing, "__dict__"):
        for item in vars(thing).values():
            _collect(item, seen, visited)


def _losses(detector: Detector) -> list[float]:
    trained = detector.general if isinstance(detector, OnePerCategory) else detector
    log = getattr(trained, "log_", None) or []
    return [float(getattr(epoch, "loss", epoch)) for epoch in log]


def _write(path: Path, outcome: Outcome) -> None:
    about = {
        "pixels": outcome.pixels,
        "cost": asdict(outcome.cost),
        "converged": outcome.converged,
        "image_level_only": outcome.image_level_only,
        "settings": outcome.settings,
        "notes": outcome.notes,
    }
    arrays = {part: getattr(outcome.scored, part) for part in PARTS}
    arrays |= {
        "patients": np.array(outcome.scored.patients, dtype=np.str_),
        "about": np.array(json_text(about, None)),
    }
    if outcome.patient_pixels is not None:
        kept = outcome.patient_pixels
        arrays |= {f"pixels_{part}": getattr(kept, part) for part in PIXEL_PARTS}
        arrays["pixels_patients"] = np.array(kept.patients, dtype=np.str_)
    write_arrays(path, arrays)


def _read(path: Path) -> Outcome:
    with np.load(path, allow_pickle=False) as stored:
        parts = {part: stored[part] for part in PARTS}
        patients = tuple(stored["patients"].tolist())
        about = json.loads(str(stored["about"]))
        by_patient = None
        if "pixels_patients" in stored:
            ids = tuple(stored["pixels_patients"].tolist())
            by_patient = PatientPixels(ids, *(stored[f"pixels_{part}"] for part in PIXEL_PARTS))
    pixels = {k: float("nan") if v is None else float(v) for k, v in about["pixels"].items()}
    return Outcome(
        LabelledScores(**parts, patients=patients),
        pixels,
        Cost(**about["cost"]),
        tuple(about["converged"]),
        bool(about["image_level_only"]),
        str(about.get("settings", "")),
        by_patient,
        tuple(about.get("notes", ())),
    )
