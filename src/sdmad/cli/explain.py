"""``sdmad explain``: which signs speak for each category in one image."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sdmad.cli.common import (
    Decision,
    Device,
    Force,
    Json,
    Maps,
    Model,
    ModelBackbone,
    Normals,
    StatedPrevalence,
    TowerPrecision,
    put,
    readable_warnings,
    say,
    show,
)


def command(
    model: Model,
    image: Annotated[Path, typer.Argument(help="One image.")],
    maps: Maps = None,
    as_json: Json = False,
    prevalence: StatedPrevalence = None,
    decision: Decision = None,
    normals: Normals = None,
    backbone: ModelBackbone = None,
    device: Device = "auto",
    precision: TowerPrecision = "float32",
    force: Force = False,
) -> None:
    """Show each category's signs with their similarity to one image, and which one decided.

    Maps are pictures: where each found category, and the sign that decided, is seen.

    Example: `sdmad explain model image.png --maps seen`
    """
    import dataclasses

    from sdmad.cli.steps.loading import load_with_decision
    from sdmad.data.address import file_of
    from sdmad.detector.calibration import parse_prevalence
    from sdmad.detector.maps import check_gives_maps
    from sdmad.output import check_output, json_text
    from sdmad.reporting.explanations import explanation_table, write_overlays

    if maps is not None:
        check_output(maps, force, [model, file_of(image), normals, backbone])
    with readable_warnings():
        stated = None if prevalence is None else parse_prevalence(prevalence)
        detector = load_with_decision(model, decision, normals, backbone, device, precision, stated)
        likely = None if stated is None else detector.at_prevalence(stated)
        if maps is not None:
            check_gives_maps(detector.backbone_)
        scored = detector.score_images([image])
    (explanation,) = detector.explanations(scored)
    probabilities = () if likely is None else tuple(likely(scored)[0].tolist())
    if maps is not None:
        written = write_overlays(detector, image, explanation, maps, force)
        say(f"{maps}: {', '.join(written)}")
    if as_json:
        told = dataclasses.asdict(explanation)
        if probabilities:
            told["probabilities"] = dict(zip(detector.categories, probabilities, strict=True))
        put(json_text(told))
    else:
        show([explanation_table(explanation, image.name, probabilities)])
