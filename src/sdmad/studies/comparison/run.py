"""What is compared, and the run of it: every system on the same data, shots, draws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sdmad.backbones import Backbone, load_backbone
from sdmad.baselines.registry import System, list_systems, load_system
from sdmad.choices import EMBEDDED, DrawOrder
from sdmad.data.plane import ImageError
from sdmad.detector.precision import choose_device
from sdmad.errors import InputError, MissingExtraError, SDMADError, WeightsMissingError
from sdmad.output import results_folder
from sdmad.studies.comparison.page import write_comparison
from sdmad.studies.comparison.tables import Compared
from sdmad.studies.draw import Draw, Variant, draws_of
from sdmad.studies.engine import Engine
from sdmad.studies.material import PHANTOM_IMAGES, Material, Say, open_material

QUICK_IMAGES = 150


@dataclass(frozen=True)
class Comparison:
    """What to compare.

    Attributes:
        data: ``phantom-brain`` and its like, or a data set's name.
        out: folder for the results and the outcomes behind them.
        root: the data set's folder; None for phantoms.
        systems: names from the registry; empty for all.
        shots: images a category.
        seeds: number of draws.
        order: in which patients give their shots.
        backbone: what :func:`~sdmad.load_backbone` takes.
        bank: a bank instead of the data set's own.
        image_size: input side in pixels; the checkpoint's own when None.
        device: auto, cpu or cuda.
        medclip: folder with MedCLIP's weights, for its rows; None leaves these out.
        quick: one draw of fewer phantoms, and systems for one kind of anomaly answer only whether
            an image is abnormal; the result says so.
    """

    data: str
    out: Path
    root: Path | None = None
    systems: tuple[str, ...] = ()
    shots: int = 4
    seeds: int = 5
    order: DrawOrder = "round-robin"
    backbone: str = EMBEDDED
    bank: str | None = None
    image_size: int | None = None
    device: str = "auto"
    medclip: str | None = None
    quick: bool = False


def compare(asked: Comparison, say: Say) -> list[Path]:
    """Run what is missing, and write tables and plots.

    Args:
        asked: what to compare.
        say: told what is being done.

    Returns:
        The files that were written.

    Raises:
        SDMADError: if something given cannot be used.
    """
    if asked.quick:
        asked = replace(asked, seeds=1)
    systems = [load_system(name) for name in asked.systems] or list_systems()
    results_folder(asked.out)
    images = QUICK_IMAGES if asked.quick else PHANTOM_IMAGES
    material = open_material(asked.data, asked.root, asked.bank, asked.out, say, images)
    backbone = load_backbone(asked.backbone, asked.image_size).to(choose_device(asked.device))
    medclip = backbone
    if asked.medclip is not None:
        from sdmad.backbones.medclip import load_given_medclip

        medclip = load_given_medclip(asked.medclip).to(choose_device(asked.device))
    draws, compared = draws_of(material, asked.shots, asked.seeds, asked.order), []
    for system in systems:
        tower = medclip if system.home == "medclip" else backbone
        engine = comparison_engine(asked.out, material, tower, say, asked.quick)
        compared.append(run_system(system, draws, engine))
    if not any(one.outcomes for one in compared):
        reasons = "; ".join(f"{one.system.name}: {one.why_not}" for one in compared)
        raise InputError(f"no system could be run: {reasons}")
    say("intervals")
    return write_comparison(asked.out, draws, backbone, compared, asked.quick)


def comparison_engine(
    out: Path, material: Material, backbone: Backbone, say: Say, general_only: bool
) -> Engine:
    """The engine that keeps a comparison's outcomes, its maps judged too.

    Args:
        out: folder of the results.
        material: on what.
        backbone: the frozen model.
        say: told what is computed.
        general_only: whether systems for one kind of anomaly answer only whether there is any.
    """
    folder = out / "outcomes" / f"{material.data.name}{'-general' * general_only}"
    return Engine(backbone, folder, say, maps=True, general_only=general_only)


def run_system(system: System, draws: Sequence[Draw], engine: Engine) -> Compared:
    """All draws of one system, run alone; where it cannot be run, the reason.

    Args:
        system: what to run.
        draws: on what.
        engine: runs it and keeps the outcomes.

    Raises:
        SDMADError: if it fails for another reason.
    """
    try:
        outcomes = engine.run([Variant(system)], draws, system.title)[system.name]
    except ImageError:
        raise  # no system could do with it
    except (InputError, MissingExtraError, WeightsMissingError) as error:
        engine.say(f"{system.title} left out: {error}")
        return Compared(system, (), _reason(error), str(error))
    return Compared(system, tuple(outcomes))


def _reason(error: SDMADError) -> str:
    """Why a system has no row, in two words."""
    if isinstance(error, MissingExtraError):
        return "extra missing"
    return "weights missing" if isinstance(error, WeightsMissingError) else "not possible"
