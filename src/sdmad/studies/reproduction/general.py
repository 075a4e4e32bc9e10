"""The paper's Table 5: the general benchmark, image and pixel AUROC, four shots."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from sdmad.baselines.registry import list_systems, load_system
from sdmad.evaluation.intervals import DrawSummary
from sdmad.reporting.draw_tables import TRIVIAL
from sdmad.studies.comparison.page import describe_settings, notes
from sdmad.studies.comparison.run import comparison_engine, run_system
from sdmad.studies.comparison.tables import Compared
from sdmad.studies.draw import draws_of
from sdmad.studies.material import Say, open_material
from sdmad.studies.reproduction.material import PHANTOM
from sdmad.studies.reproduction.published import TABLE5, published
from sdmad.studies.reproduction.records import Record, write_records
from sdmad.studies.reproduction.runs import RESAMPLES, Models, Request, describe_run

TITLE = "Table 5: general anomaly detection, image and pixel AUROC"
SHOTS = 4
SETS = {
    "BrainMRI": "bmad-brain",
    "LiverCT": "bmad-liver",
    "RESC": "bmad-resc",
    "HIS": "bmad-camelyon16",
    "ChestXRay": "bmad-rsna",
    "OCT": "bmad-oct2017",
}
"""The paper's name of each set, and ours."""

BESIDE = tuple(one.name for one in list_systems() if one.single and one.name not in TABLE5)
"""What stands beside the paper's columns, without its figures: every other system that was made to
tell abnormal from normal."""

STAND_INS = {"BrainMRI": "phantom-brain", "ChestXRay": "phantom-chest", "OCT": "phantom-oct"}
PHANTOM_IMAGES = 120


def table5(request: Request, models: Models, say: Say) -> list[Path]:
    """Every set with every system of the table; returns the files that were written."""
    phantom = request.data == PHANTOM
    records: list[Record] = []
    head = [
        *describe_run(request, models),
        f"{SHOTS} shots; one detector a system, for normal against abnormal",
    ]
    compared: list[Compared] = []
    for part, name in (STAND_INS if phantom else SETS).items():
        root = None if phantom else Path(request.data)
        material = open_material(name, root, None, request.out, say, PHANTOM_IMAGES)
        draws = draws_of(material, SHOTS, request.seeds, request.order)
        engine = comparison_engine(request.out, material, models.main, say, general_only=True)
        compared = [run_system(load_system(key), draws, engine) for key in (*TABLE5, *BESIDE)]
        records += [record for done in compared for record in _records(part, done)]
        told = [f"judged, draw 1: {draws[0].people}", *notes(draws, compared)]
        head += [f"{part}: {one}" for one in told]
    records.sort(key=lambda r: (list(SETS).index(r.part), r.what))
    head += [
        f"{done.system.title}: settings {describe_settings(done.system, models.main)}; "
        f"{done.system.differs}"
        for done in compared
    ]
    return write_records(request.out, "table5", TITLE, head, _with_trivial(records))


def _records(part: str, done: Compared) -> list[Record]:
    """Image AUROC and, where there are maps and masks, pixel AUROC of one system on one set."""
    system, measured = done.system, done.summaries(RESAMPLES) if done.outcomes else {}
    wanted = ["image_auroc"]
    if system.maps and (not done.outcomes or "pixel_auroc" in measured):
        wanted.append("pixel_auroc")
    return [
        Record(
            part, "all", 1, what, system.title, measured.get(what),
            published("table5", part, what, system.name),
            tuple(len(o.scored.labels) for o in done.outcomes),
            tuple(int((o.scored.abnormal == 1).sum()) for o in done.outcomes),
            tuple(int((o.scored.abnormal == 0).sum()) for o in done.outcomes),
            done.why_not,
        )
        for what in wanted
    ]  # fmt: skip


def _with_trivial(records: list[Record]) -> list[Record]:
    """The predictors that look at no image, before the systems of each figure."""
    found: list[Record] = []
    for record in records:
        if not any((r.part, r.what) == (record.part, record.what) for r in found):
            half = DrawSummary(0.5, 0.0, 0.5, 0.5)
            found += [_replaced(record, trivial, half) for trivial in TRIVIAL]
        found.append(record)
    return found


def _replaced(record: Record, name: str, summary: DrawSummary) -> Record:
    return replace(record, system=name, summary=summary, paper=None, note="")
