"""One draw of the support set, and several systems fitted and scored on it together."""

from __future__ import annotations

import hashlib
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, is_dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from sdmad.backbones import Backbone
from sdmad.baselines.components.anomaly import OnePerCategory
from sdmad.baselines.registry import Build, System, load_system
from sdmad.choices import DrawOrder
from sdmad.data.fewshot import SupportSet, draw_support
from sdmad.data.images import ImageSource
from sdmad.data.preprocessing import Preprocessing
from sdmad.detector.base import BATCH_SIZE, Detector
from sdmad.detector.config import AS_BEFORE
from sdmad.detector.scores import ImageScores
from sdmad.evaluation.labelled_scores import LabelledScores, labelled_scores, people_told
from sdmad.output import json_text
from sdmad.progress import track
from sdmad.studies.material import Material

PACKAGE = Path(__file__).parents[1]

ORDERS: dict[DrawOrder, str] = {
    "round-robin": "one image of each patient first, wherever patients cost nothing or are plenty",
    "patient-by-patient": "one patient after the other, as sdmad 0.1 drew",
}
"""How shots are drawn, in words."""

PAPER_SYSTEMS = (
    *("clip-names", "clip-signs", "clip-signs-selected", "linear-probe"),
    *("sd-mad-unselected", "sd-mad-printed", "sd-mad"),
)
"""SD-MAD and the bare CLIPs of the paper, with a linear probe, which it leaves out."""


@dataclass(frozen=True)
class Variant:
    """A system of the registry, perhaps with settings of its own.

    Attributes:
        system: which.
        settings: hyper-parameters instead of the system's; None keeps these.
        title: what it is called instead of the system's name; two variants of one study have two.
    """

    system: System
    settings: Any = None
    title: str = ""

    @property
    def key(self) -> str:
        """Its title, or the registry's name."""
        return self.title or self.system.name

    @property
    def stem(self) -> str:
        """For file names: the registry's name, and a hash of the settings where it has its own."""
        if self.settings is None:
            return self.system.name
        digest = hashlib.sha256(json_text(plain_settings(self.settings)).encode()).hexdigest()
        return f"{self.system.name}-{digest[:8]}"

    def settings_on(self, backbone: Backbone) -> Any:
        """Its hyper-parameters on a backbone; None of a system without."""
        return self.system.settings_on(backbone) if self.settings is None else self.settings


def variants_of(names: Sequence[str]) -> list[Variant]:
    """Systems of the registry as they are; InputError if there is none of a name."""
    return [Variant(load_system(name)) for name in names]


def plain_settings(settings: Any) -> Any:
    """Hyper-parameters as plain values.

    One that joined later is left out where it changes nothing: what was found before is as true.
    """
    if not is_dataclass(settings) or isinstance(settings, type):
        return None
    plain = asdict(settings)
    has = fields(settings)
    later = {one.name: one.metadata[AS_BEFORE] for one in has if AS_BEFORE in one.metadata}
    return {name: v for name, v in plain.items() if name not in later or v != later[name]}


@dataclass(frozen=True)
class Draw:
    """A support set of some material; the rest of its evaluation side is judged.

    Attributes:
        material: data and bank.
        shots: images a category.
        seed: of the draw and of every training on it.
        order: in which patients give their images.
    """

    material: Material
    shots: int
    seed: int
    order: DrawOrder = "round-robin"

    @cached_property
    def support(self) -> SupportSet:
        """The drawn images; InputError if no category has one."""
        return draw_support(self.material.table, self.shots, self.seed, self.order)

    @cached_property
    def rows(self) -> NDArray[np.int64]:
        """The judged rows of the table, ascending; neither drawn images nor their patients."""
        return np.flatnonzero(self.support.evaluation(self.material.table))

    @property
    def people(self) -> str:
        """Whom the judged images are of, in words."""
        table = self.material.table
        ids = [table.patients[row] if table.patients else "" for row in self.rows]
        known, unknown = set(ids) - {""}, ids.count("")
        if known:
            return f"{len(ids)} images of {people_told(len(known), unknown)}"
        return (
            f"{people_told(0, unknown)}, resampled one by one: intervals are too narrow where "
            "patients have several"
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader should know of the support set, and of how many patients its shots are."""
        whose = self.support.patients_told(self.material.table)
        return (*self.support.notes, *([whose] if whose else []))

    @property
    def files(self) -> tuple[Path, ...]:
        """The judged images."""
        return tuple(self.material.table.files[row] for row in self.rows)

    def labelled(self, scores: ImageScores) -> LabelledScores:
        """What a system said of the judged images, beside the truth."""
        rest = self.material.table.subset(self.rows.tolist())
        return labelled_scores(
            rest.labels,
            scores.scores,
            scores.decisions,
            scores.abnormality,
            rest.normal,
            rest.patient_keys(),
        )


def draws_of(
    material: Material, shots: int, seeds: int, order: DrawOrder = "round-robin"
) -> list[Draw]:
    """The first draws of some material, seeds from 0."""
    return [Draw(material, shots, seed, order) for seed in range(seeds)]


@dataclass(frozen=True)
class Fitted:
    """A variant fitted on a draw.

    Attributes:
        variant: which.
        detector: fitted.
        seconds: that the fit took; what is encoded before it is left out.
        notes: what it warned of.
        image_level_only: whether it was asked only whether an image is abnormal.
    """

    variant: Variant
    detector: Detector
    seconds: float
    notes: tuple[str, ...]
    image_level_only: bool


def fit_variants(
    variants: Sequence[Variant], draw: Draw, backbone: Backbone, general_only: bool = False
) -> Iterator[Fitted]:
    """Fit systems on a draw, one after the other; those that can share a training do.

    Args:
        variants: which.
        draw: what to fit on.
        backbone: the frozen model.
        general_only: systems for one kind of anomaly answer only whether an image is abnormal.

    Raises:
        ImageError: if an image cannot be read.
        SDMADError: if a system lacks what it needs.
    """
    done: list[Fitted] = []
    for variant in variants:
        with own_warnings() as notes:
            detector, seconds = _trained_already(variant, backbone, done), 0.0
            if detector is None:
                detector, seconds = _fit(variant, draw, backbone, general_only)
        once = general_only and isinstance(detector, OnePerCategory)
        done.append(Fitted(variant, detector, seconds, tuple(notes), once))
        yield done[-1]


def _trained_already(
    variant: Variant, backbone: Backbone, done: Sequence[Fitted]
) -> Detector | None:
    settings = variant.settings_on(backbone)
    for other in done:
        if other.variant.system.recipe.make is variant.system.recipe.make:
            shared = other.detector.with_settings(settings)
            if shared is not None:
                return shared
    return None


def _fit(
    variant: Variant, draw: Draw, backbone: Backbone, general_only: bool
) -> tuple[Detector, float]:
    material, rows = draw.material, draw.support.indices
    build = Build(material.bank, backbone, draw.seed, lambda: material.auxiliary)
    detector = variant.system.build(build, variant.settings)
    if general_only and isinstance(detector, OnePerCategory):
        detector.forget_categories()
    start = time.perf_counter()
    drawn = material.table.subset(rows)
    masks, people = [material.mask(row) for row in rows], drawn.patients
    detector.fit(drawn.files, drawn.labels, normal=drawn.normal, patients=people, masks=masks)
    return detector, time.perf_counter() - start


@dataclass(frozen=True)
class Timed:
    """Scores, and the seconds that they took without reading."""

    scores: ImageScores
    seconds: float

    @classmethod
    def join(cls, parts: Sequence[Timed]) -> Timed:
        """Concatenate along the images."""
        scores = ImageScores.join([part.scores for part in parts])
        return cls(scores, sum(part.seconds for part in parts))


def score_together(
    detectors: Mapping[str, Detector],
    images: Sequence[ImageSource],
    backbone: Backbone,
    progress: str | None = None,
) -> dict[str, Timed]:
    """Score images with several systems; each is read once for all that prepare it alike.

    What comes before the backbone's first block is computed once too, and its time counts for each
    system.

    Args:
        detectors: fitted, by name.
        backbone: which they were fitted on.
        images: n paths, Pillow images or arrays, at least one.
        progress: what to call the work on a progress bar; none when not given.

    Raises:
        ImageError: if an image cannot be read.
    """
    parts: dict[str, list[Timed]] = {name: [] for name in detectors}
    for start in track(range(0, len(images), BATCH_SIZE), progress):
        batch = images[start : start + BATCH_SIZE]
        ways = dict.fromkeys(detector.preprocessing for detector in detectors.values())
        prepared = {preprocessing: preprocessing(batch) for preprocessing in ways}
        with _embedded_once(backbone, prepared) as shared:
            for name, detector in detectors.items():
                began = time.perf_counter()
                found = detector.score_pixels(prepared[detector.preprocessing])
                seconds = shared.get(detector.preprocessing, 0.0) + time.perf_counter() - began
                parts[name].append(Timed(found, seconds))
    return {name: Timed.join(found) for name, found in parts.items()}


@contextmanager
def _embedded_once(
    backbone: Backbone, prepared: dict[Preprocessing, Tensor]
) -> Iterator[dict[Preprocessing, float]]:
    """Embed the pixels that the backbone takes, which are moved to it; the seconds it took."""
    own = backbone.preprocessing
    if own not in prepared:
        yield {}
        return
    prepared[own] = backbone.pixels(prepared[own])
    start = time.perf_counter()
    with backbone.image.remembering(prepared[own]):
        yield {own: time.perf_counter() - start}


@contextmanager
def own_warnings() -> Iterator[list[str]]:
    """Collect what this package warns of, each once; what libraries warn of is dropped."""
    notes: list[str] = []
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        yield notes
    notes += dict.fromkeys(str(one.message) for one in said if _ours(one))


def _ours(warning: warnings.WarningMessage) -> bool:
    return issubclass(warning.category, UserWarning) and PACKAGE in Path(warning.filename).parents
