"""``sdmad evaluate``: judge a model by the three protocols."""

from __future__ import annotations

from typing import Annotated

import typer

from sdmad.choices import Baselines
from sdmad.cli.common import (
    Decision,
    Device,
    ErrorRate,
    Force,
    Labels,
    Model,
    ModelBackbone,
    Normals,
    Out,
    Scores,
    StatedPrevalence,
    TowerPrecision,
    Unreadable,
    notes,
    put,
    readable_warnings,
    show,
)


def command(
    model: Model,
    labels: Labels,
    out: Out,
    decision: Decision = None,
    normals: Normals = None,
    resamples: Annotated[
        int, typer.Option("--resamples", min=0, help="Bootstrap resamples of the patients.")
    ] = 1000,
    baselines: Annotated[
        Baselines,
        typer.Option("--baselines", help="Simpler systems on the same images and shots beside it."),
    ] = "all",
    prevalence: StatedPrevalence = None,
    error_rate: ErrorRate = None,
    backbone: ModelBackbone = None,
    device: Device = "auto",
    precision: TowerPrecision = "float32",
    scores: Scores = None,
    force: Force = False,
) -> None:
    """Judge a model: metrics.json, tables, scores.csv and a self-contained report.html.

    The images that the model learnt from, and all others of their patients, are left out. With
    --scores the scores of an archive are judged, and no image is read.

    Example: `sdmad evaluate model LABELS.csv --out results`
    """
    if scores is not None:
        from sdmad.cli.steps.archives import evaluate_scores, refuse_settled

        refuse_settled(decision, normals, prevalence, error_rate, backbone)
        evaluate_scores(model, labels, scores, out, resamples, force)
        return
    from sdmad.cli.steps.loading import load_with_decision
    from sdmad.data.table import read_label_table
    from sdmad.detector.calibration import parse_prevalence
    from sdmad.output import check_output, output_directory
    from sdmad.reporting.model_evaluation import evaluate_model, write_evaluation

    check_output(out, force, (model, labels, normals, backbone))
    with readable_warnings():
        stated = None if prevalence is None else parse_prevalence(prevalence)
        detector = load_with_decision(model, decision, normals, backbone, device, precision, stated)
        table = read_label_table(labels, detector.categories)
        unreadable = Unreadable()
        evaluated = evaluate_model(
            detector, table, unreadable, resamples, baselines == "all", stated, error_rate
        )
        tables = evaluated.tables()
        with output_directory(out, force) as work:
            write_evaluation(evaluated, work, tables, f"SD-MAD on {labels.name}")
    notes([*table.notes, *evaluated.notes])
    show(tables)
    put(f"report: {out / 'report.html'}")
    unreadable.exit_if_any(len(table))
