"""Running the draws behind the tables and figures; what is done already is not done again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sdmad._version import __version__
from sdmad.backbones import PACKAGED, Backbone, load_backbone
from sdmad.detector.base import Detector
from sdmad.detector.config import SDMADConfig
from sdmad.detector.precision import choose_device
from sdmad.errors import InputError
from sdmad.evaluation.labelled_scores import LabelledScores
from sdmad.output import write_json
from sdmad.studies.experiment import MEDCLIP, SYSTEMS, Episode, fit_systems
from sdmad.studies.reproduction.material import Material, Say
from sdmad.studies.study import Fit, Setting, read_draws, run_draw

PAPER_SIZE = 240
"""Side of the input in pixels (the paper, "Training details")."""

RESAMPLES = 1000


@dataclass(frozen=True)
class Request:
    """What to reproduce.

    Attributes:
        target: such as ``"table1"``.
        data: the data set's folder, or ``phantom``.
        out: folder for the results and the draws behind them.
        backbone: what :func:`~sdmad.load_backbone` takes.
        seeds: number of draws.
        medclip: folder with MedCLIP's weights; None leaves its row "weights missing".
        image_size: input side in pixels; None takes the paper's 240, or a packaged backbone's own.
        device: auto, cpu or cuda.
    """

    target: str
    data: str
    out: Path
    backbone: str = "nano"
    seeds: int = 5
    medclip: str | None = None
    image_size: int | None = None
    device: str = "auto"


@dataclass(frozen=True)
class Models:
    """The backbones of a run.

    Attributes:
        main: the one that SD-MAD adapts.
        medclip: MedCLIP's, or None.
        missing: systems that cannot be run, each with the reason.
    """

    main: Backbone
    medclip: Backbone | None
    missing: tuple[tuple[str, str], ...]


def load_models(request: Request) -> Models:
    """Load the backbones.

    Raises:
        ModelError: if the main one, or a MedCLIP that was asked for, cannot be loaded.
        InputError: if the number of seeds is not positive.
    """
    if request.seeds < 1:
        raise InputError(f"--seeds must be 1 or more, got {request.seeds}")
    device = choose_device(request.device)
    size = request.image_size
    if size is None and request.backbone not in PACKAGED:
        size = PAPER_SIZE
    main = load_backbone(request.backbone, size).to(device)
    if request.medclip is None:
        return Models(main, None, ((MEDCLIP, "weights missing"),))
    from sdmad.backbones.medclip import load_given_medclip

    return Models(main, load_given_medclip(request.medclip).to(device), ())


def run_material(
    request: Request, models: Models, material: Material, shots: int, say: Say
) -> tuple[dict[str, list[LabelledScores]], tuple[str, ...]]:
    """Every system on every draw of one part of the data.

    Returns:
        What each system said, a list over the draws, and notes on the draws.
    """
    fit = partial(fit_systems, backbone=models.main, systems=SYSTEMS)
    draws, notes = run_fits(request, models.main, material, shots, fit, "systems", say)
    if models.medclip is not None:
        only = partial(_fit_medclip, medclip=models.medclip)
        draws |= run_fits(request, models.medclip, material, shots, only, "medclip", say)[0]
    return draws, notes


def _fit_medclip(episode: Episode, medclip: Backbone) -> Iterator[tuple[str, Detector]]:
    yield from fit_systems(episode, medclip, (MEDCLIP,), medclip)


def run_fits(
    request: Request,
    backbone: Backbone,
    material: Material,
    shots: int,
    fit: Fit,
    what: str,
    say: Say,
) -> tuple[dict[str, list[LabelledScores]], tuple[str, ...]]:
    """Some systems on every draw of one part of the data.

    The draws lie in a folder whose name carries a hash of all that they depend on.

    Args:
        request: seeds and output folder.
        backbone: whose hash the draws depend on.
        material: images, labels and bank.
        shots: images a category.
        fit: fits the systems.
        what: name of the set of systems.
        say: told of each draw.

    Returns:
        What each system said, a list over the draws, and notes on the draws.
    """
    setting = Setting(material.name, material.bank, material.table, shots)
    depends = _fingerprint(backbone, material, what)
    digest = hashlib.sha256(json.dumps(depends, sort_keys=True).encode()).hexdigest()[:12]
    folder = request.out / "draws" / f"{material.name}-{what}-{digest}"
    notes: dict[str, None] = {}
    for seed in range(request.seeds):
        if not setting.draw_file(folder, seed).exists():
            say(f"{material.name}, {what}, {shots} shots: draw {seed + 1} of {request.seeds}")
        told = run_draw(setting, seed, fit, folder, progress=True)
        notes |= dict.fromkeys(f"{material.name}, draw {seed}: {note}" for note in told)
    write_json(folder / "depends_on.json", depends)
    return read_draws(setting, range(request.seeds), folder), tuple(notes)


def _fingerprint(backbone: Backbone, material: Material, what: str) -> dict[str, object]:
    """All that a draw depends on, besides shots and seed."""
    return {
        "sdmad": __version__,
        "what": what,
        "backbone": backbone.weights_hash,
        "preprocessing": backbone.preprocessing.to_dict(),
        "bank": hashlib.sha256(material.bank.to_yaml().encode()).hexdigest(),
        "table": material.table.digest(),
        "printed": SDMADConfig.paper().to_dict(),
        "recommended": SDMADConfig().to_dict(),
    }


def describe_run(request: Request, models: Models) -> list[str]:
    """Lines on data, backbone and draws."""
    preprocessing = models.main.preprocessing
    stand_in = {"phantom": "phantoms that stand in for the data set; no evidence about the paper"}
    return [
        f"data: {stand_in.get(request.data, Path(request.data).name)}",
        f"backbone: {models.main.name}, {preprocessing.size} px, weights "
        f"{models.main.weights_hash[:12]}",
        f"{request.seeds} draws of the support set; sdmad {__version__}",
    ]


def describe(request: Request, models: Models, materials: Sequence[Material]) -> list[str]:
    """Lines on what was run, what is missing, and notes on the data."""
    lines = describe_run(request, models)
    lines += [f"{system}: {why}" for system, why in models.missing]
    for material in materials:
        lines += [f"{material.name}: {note}" for note in material.table.notes]
    return lines
