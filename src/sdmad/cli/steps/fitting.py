"""Fit on a label table."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sdmad.choices import EMBEDDED, DrawOrder, Precision, Preset
from sdmad.cli.steps.loading import check_normals
from sdmad.data.fewshot import SupportSet, draw_support, read_support, write_support
from sdmad.data.listing import list_images
from sdmad.data.table import LabelTable, read_label_table
from sdmad.data.windows import parse_window
from sdmad.detector.config import SDMADConfig
from sdmad.signs import SignBank

PRESETS: dict[Preset, Callable[..., SDMADConfig]] = {
    "recommended": SDMADConfig,
    "paper": SDMADConfig.paper,
}


@dataclass(frozen=True)
class FitRequest:
    """What to fit.

    Attributes:
        labels: the label table.
        signs: a packaged bank's name or a YAML file.
        shots: images a category.
        seed: of the draw and of the training.
        backbone: what :func:`~sdmad.load_backbone` takes.
        image_size: side of the input in pixels; the checkpoint's own when None.
        window: how grey values become 8 bits: auto, lut, full, percentiles or CENTER,WIDTH.
        preset: a key of :data:`PRESETS`.
        decision: a decision rule that replaces the preset's.
        normals: folder of normal images for the ``fpr`` rule.
        support: a support set written earlier, used instead of a draw.
        order: how shots are drawn from patients with several images.
        device: auto, cpu or cuda.
        precision: of the towers: float32, bfloat16 or auto.
    """

    labels: Path
    signs: str
    shots: int = 4
    seed: int = 0
    backbone: str = EMBEDDED
    image_size: int | None = None
    window: str = "auto"
    preset: Preset = "recommended"
    decision: str | None = None
    normals: Path | None = None
    support: Path | None = None
    order: DrawOrder = "round-robin"
    device: str = "auto"
    precision: Precision = "float32"


if TYPE_CHECKING:
    from sdmad.detector.sdmad import SDMAD


@dataclass(frozen=True)
class Fitted:
    """A fitted detector and where its support set came from."""

    detector: SDMAD
    table: LabelTable
    support: SupportSet
    notes: tuple[str, ...]
    seconds: float

    def write_support(self, model: Path) -> Path:
        """Write the list of drawn files beside the model; it never travels inside it."""
        path = support_path(model)
        write_support(path, self.support, self.table)
        return path


def support_path(model: Path) -> Path:
    """Where the list of drawn files goes: beside the model's directory."""
    folder = model.resolve()
    return folder.with_name(f"{folder.name}.support.json")


def make_config(preset: Preset, decision: str | None) -> SDMADConfig:
    """A preset with, perhaps, another decision rule.

    Raises:
        InputError: if there is no such rule.
    """
    return PRESETS[preset](**({} if decision is None else {"decision": decision}))


def fit_on_table(request: FitRequest) -> Fitted:
    """Draw the support set from a table, and fit on it.

    Raises:
        SDMADError: if anything that was given cannot be used.
    """
    from sdmad.detector.sdmad import SDMAD  # scikit-learn takes a second to import

    config = make_config(request.preset, request.decision)
    check_normals(config, request.normals)
    bank = SignBank.load(request.signs)
    table = read_label_table(request.labels, bank.names)
    support = (
        read_support(request.support, table)
        if request.support is not None
        else draw_support(table, request.shots, request.seed, request.order)
    )
    detector = SDMAD(
        bank,
        request.backbone,
        config,
        request.seed,
        request.device,
        request.precision,
        request.image_size,
        parse_window(request.window),
    )
    drawn = table.subset(support.indices)
    start = time.monotonic()
    people = drawn.patients
    detector.fit(
        drawn.files, drawn.labels, normal=drawn.normal, patients=people, progress="training"
    )
    seconds = time.monotonic() - start
    if request.normals is not None:
        detector.fit_thresholds(list_images([request.normals]))
    notes = (*table.notes, *support.notes, *detector.notes_)
    return Fitted(detector, table, support, tuple(dict.fromkeys(notes)), seconds)
