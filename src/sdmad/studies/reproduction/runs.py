"""Running the draws behind the tables and figures; what is done already is not done again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sdmad._version import __version__
from sdmad.backbones import PACKAGED, Backbone, load_backbone
from sdmad.baselines.registry import load_system
from sdmad.choices import EMBEDDED, DrawOrder
from sdmad.detector.precision import choose_device
from sdmad.errors import InputError
from sdmad.evaluation.labelled_scores import LabelledScores
from sdmad.reporting.draw_tables import counted
from sdmad.studies.draw import ORDERS, PAPER_SYSTEMS, Draw, Variant, draws_of, variants_of
from sdmad.studies.engine import Engine
from sdmad.studies.material import Say
from sdmad.studies.reproduction.material import TablePart

PAPER_SIZE = 240
"""Side of the input in pixels (the paper, "Training details")."""

RESAMPLES = 1000
MEDCLIP = "medclip"


@dataclass(frozen=True)
class Request:
    """What to reproduce.

    Attributes:
        target: such as ``"table1"``.
        data: the data set's folder, or ``phantom``.
        out: folder for the results and the draws behind them.
        backbone: what :func:`~sdmad.load_backbone` takes.
        seeds: number of draws.
        order: in which patients give their shots.
        medclip: folder with MedCLIP's weights; None leaves its row "weights missing".
        image_size: input side in pixels; None takes the paper's 240, or a packaged backbone's own.
        device: auto, cpu or cuda.
    """

    target: str
    data: str
    out: Path
    backbone: str = EMBEDDED
    seeds: int = 5
    order: DrawOrder = "round-robin"
    medclip: str | None = None
    image_size: int | None = None
    device: str = "auto"


@dataclass(frozen=True)
class Models:
    """The backbones of a run.

    Attributes:
        main: the one that SD-MAD adapts.
        medclip: MedCLIP's, or None.
        missing: names of systems that cannot be run, each with the reason.
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


def run_part(
    request: Request, models: Models, part: TablePart, shots: int, say: Say
) -> tuple[dict[str, list[LabelledScores]], tuple[str, ...]]:
    """Every system on every draw of one part of the data.

    Returns:
        What each system said, a list over the draws by its name, and whom they judge, with notes.
    """
    draws = draws_of(part.material, shots, request.seeds, request.order)
    variants = variants_of(PAPER_SYSTEMS)
    found = run_variants(request, models.main, variants, part.name, draws, say)
    if models.medclip is not None:
        medclip = variants_of([MEDCLIP])
        found |= run_variants(request, models.medclip, medclip, part.name, draws, say)
    notes = [f"{part.name}: judged, draw 0: {draws[0].people}"]
    notes += [f"{part.name}, draw {draw.seed}: {note}" for draw in draws for note in draw.notes]
    return found, tuple(notes)


def run_variants(
    request: Request,
    backbone: Backbone,
    variants: Sequence[Variant],
    name: str,
    draws: Sequence[Draw],
    say: Say,
) -> dict[str, list[LabelledScores]]:
    """Some systems on some draws.

    Args:
        request: output folder.
        backbone: the frozen model.
        variants: the systems.
        name: of the material, for messages and the folder of the outcomes.
        draws: of one number of shots.
        say: told of each draw.

    Returns:
        What each system said, a list over the draws, by :attr:`Variant.key`.
    """
    engine = Engine(backbone, request.out / "draws" / name, say)
    found = engine.run(variants, draws, f"{name}, {counted(draws[0].shots)}")
    return {key: [one.scored for one in outcomes] for key, outcomes in found.items()}


def describe_run(request: Request, models: Models) -> list[str]:
    """Lines on data, backbone and draws."""
    preprocessing = models.main.preprocessing
    stand_in = {"phantom": "phantoms that stand in for the data set; no evidence about the paper"}
    return [
        f"data: {stand_in.get(request.data, Path(request.data).name)}",
        f"backbone: {models.main.name}, {preprocessing.size} px, weights "
        f"{models.main.weights_hash[:12]}",
        f"{request.seeds} draws of the support set; sdmad {__version__}",
        f"shots: {ORDERS[request.order]}",
    ]


def describe(request: Request, models: Models, parts: Sequence[TablePart]) -> list[str]:
    """Lines on what was run, what is missing, and notes on the data."""
    lines = describe_run(request, models)
    lines += [f"{load_system(name).title}: {why}" for name, why in models.missing]
    for part in parts:
        lines += [f"{part.name}: {note}" for note in part.material.table.notes]
    return lines
