"""The demo: phantoms, all systems on the same shots, a report, a saved model, an explanation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sdmad.backbones import load_backbone
from sdmad.choices import EMBEDDED
from sdmad.data.fewshot import write_support
from sdmad.detector.sdmad import SDMAD
from sdmad.evaluation.intervals import paired_difference
from sdmad.evaluation.protocols import evaluate_scored
from sdmad.output import output_directory
from sdmad.phantoms.cases import load_modality
from sdmad.phantoms.files import PhantomData, write_phantoms
from sdmad.reporting.draw_tables import gap_table, shown_name, standing
from sdmad.reporting.model_evaluation import evaluate_scores, write_evaluation
from sdmad.reporting.tables import protocol_tables, summary_table
from sdmad.signs import SignBank
from sdmad.studies.draw import PAPER_SYSTEMS, Draw, fit_variants, score_together, variants_of
from sdmad.studies.material import Material
from sdmad.table import Table

IMAGES = 400
RESAMPLES = 500
RECOMMENDED = "sd-mad"


@dataclass(frozen=True)
class Demo:
    """The demo's tables and remarks."""

    tables: tuple[Table, ...]
    notes: tuple[str, ...]


def run_demo(
    modality: str, folder: Path, shots: int, seed: int, force: bool, say: Callable[[str], None]
) -> Demo:
    """Run the demo and write everything into one directory.

    Args:
        modality: a phantom modality.
        folder: where to; written under a temporary name and renamed.
        shots: images a category.
        seed: of the phantoms, the draw and the training.
        force: replace what the folder holds.
        say: told what is being done.

    Raises:
        SDMADError: if a value is out of range or the folder cannot be written.
    """
    kind = load_modality(modality)
    bank, backbone = SignBank.load(modality), load_backbone(EMBEDDED)
    with output_directory(folder, force) as work:
        say(f"drawing {IMAGES} phantoms of {kind.title} in the test style")
        write_phantoms(kind, work / "phantoms", IMAGES, seed)
        material = Material(PhantomData(work / "phantoms", kind), bank)
        draw, table = Draw(material, shots, seed), material.table
        write_support(work / "model.support.json", draw.support, table)
        detectors, told = {}, list(draw.support.notes)
        for one in fit_variants(variants_of(PAPER_SYSTEMS), draw, backbone):
            say(f"fitted: {one.variant.system.title}")
            detectors[one.variant.key] = one.detector
            told += [f"{one.variant.system.title}: {note}" for note in one.notes]
        judged = score_together(detectors, draw.files, backbone, "judging")
        labelled = {shown_name(name): draw.labelled(one.scores) for name, one in judged.items()}
        evaluations = {
            name: evaluate_scored(one, bank.names, RESAMPLES) for name, one in labelled.items()
        }
        mine = shown_name(RECOMMENDED)
        differences = {
            name: paired_difference(labelled[mine], one, RESAMPLES)
            for name, one in labelled.items()
            if name != mine
        }
        told.append(standing(mine, differences))
        detector = detectors[RECOMMENDED]
        assert isinstance(detector, SDMAD)
        detector.save(work / "model")
        summary = summary_table(evaluations, f"{kind.title}, {shots} shots a category")
        paired = gap_table("What that is worth", f"{mine} less", differences)
        tables = (summary, paired, *protocol_tables(evaluations))
        rows = table.subset(draw.rows.tolist())
        scores = judged[RECOMMENDED].scores
        evaluated = evaluate_scores(detector, rows, scores, None, resamples=RESAMPLES)
        title = f"SD-MAD demo: {kind.title} phantoms, {shots} shots"
        write_evaluation(evaluated, work, tables, title)
    unseen = ", ".join(kind.unseen_categories())
    if unseen:
        told.append(f"categories that rest on signs never seen in pretraining: {unseen}")
    return Demo((summary, paired), tuple(told))
