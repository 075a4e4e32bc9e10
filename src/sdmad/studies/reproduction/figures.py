"""The paper's Figures 3 to 5, and two that it does not have: shots and signs a category."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sdmad.baselines.registry import load_system
from sdmad.data.images import read_image
from sdmad.detector.config import SDMADConfig
from sdmad.evaluation.intervals import summarise_draws
from sdmad.evaluation.labelled_scores import LabelledScores
from sdmad.output import write_bytes, write_csv, write_json, write_text
from sdmad.reporting.curves import Curve, curve_plot, picture_grid
from sdmad.reporting.draw_tables import TRIVIAL, title_of, trivial_draws
from sdmad.reporting.model_evaluation import image_groups
from sdmad.reporting.plots import similarity_heatmap
from sdmad.signs import SignBank
from sdmad.studies.draw import Draw, Variant, draws_of, fit_variants, score_together, variants_of
from sdmad.studies.material import Material, Say
from sdmad.studies.reproduction.material import TablePart, brains, volume_slices
from sdmad.studies.reproduction.records import Record, write_records
from sdmad.studies.reproduction.runs import RESAMPLES, Models, Request, describe, run_variants
from sdmad.studies.reproduction.tables import SHOTS, judged_as
from sdmad.table import Table

LAMBDAS = (0.0, 0.2, 0.4, 0.6, 0.8, 0.9)
SHOT_COUNTS = (1, 2, 4, 8)
SIGN_COUNTS = (1, 2, 4, 6, 8)
IMAGES_A_GROUP = 12
FIGURE_SLICE = 5
CURVE_SYSTEMS = ("clip-signs", "linear-probe", "sd-mad-unselected", "sd-mad-printed", "sd-mad")


@dataclass(frozen=True)
class Figure:
    """What a figure shows and what makes it; the maker returns the files that it wrote."""

    title: str
    make: Callable[[Request, Models, Say], list[Path]]


def figure3(request: Request, models: Models, say: Say) -> list[Path]:
    """Similarity of images and signs before (a) and after training (b), and the key (c)."""
    (part,) = brains(request.data, request.out, say, (FIGURE_SLICE,))
    say("fitting SD-MAD as printed")
    draw, bank = Draw(part.material, SHOTS, 0, request.order), part.material.bank
    variants = variants_of(("clip-signs", "sd-mad-printed"))
    detectors = {}
    for one in fit_variants(variants, draw, models.main):
        detectors[one.variant.key] = one.detector
        for note in one.notes:
            say(f"{one.variant.system.title}: {note}")
    groups = image_groups(part.material.table.subset(draw.rows.tolist()))
    rows = _some_of_each(groups)
    named = [groups[i] for i in rows]
    scored = score_together(detectors, [draw.files[i] for i in rows], models.main)
    before, after = (scored[one.key].scores.similarity for one in variants)
    kept = detectors["sd-mad-printed"].kept_signs
    assert kept is not None
    categories = [bank.names[k] for k in bank.category_index]
    picture = similarity_heatmap(before, after, named, bank.sentences, categories, kept)
    key = [
        (str(s + 1), sentence, categories[s], "yes" if kept[s] else "no")
        for s, sentence in enumerate(bank.sentences)
    ]
    cosines = [
        (str(i + 1), group, str(s + 1), categories[s], float(before[i, s]), float(after[i, s]))
        for i, group in enumerate(named)
        for s in range(len(categories))
    ]
    header = ("image", "group", "sign", "category", "before", "after")
    table = Table("(c) Signs and their categories", ("Sign", "Text", "Category", "Kept"), (*key,))
    values = ("cosines", header, cosines)
    return _write_picture(
        request, models, "figure3", [part], picture, values, {"key": key}, table.markdown()
    )


def _write_picture(
    request: Request,
    models: Models,
    name: str,
    parts: Sequence[TablePart],
    picture: bytes,
    values: tuple[str, Sequence[str], Sequence[Sequence[object]]],
    more: Mapping[str, object],
    beneath: str = "",
) -> list[Path]:
    """A figure's page, its values (their name, header and rows) as CSV and JSON, its picture."""
    what, header, rows = values
    files = [request.out / f"{name}.{ending}" for ending in ("md", "csv", "json", "png")]
    head = describe(request, models, parts)
    page = [f"# {FIGURES[name].title}", "", *(f"- {line}" for line in head), ""]
    write_text(files[0], "\n".join([*page, f"![{FIGURES[name].title}]({name}.png)", "", beneath]))
    write_csv(files[1], header, rows)
    told = [dict(zip(header, row, strict=True)) for row in rows]
    write_json(files[2], {"run": head, **more, what: told})
    write_bytes(files[3], picture)
    return files


def _some_of_each(groups: Sequence[str]) -> list[int]:
    """The first few images of each group, in the table's order."""
    counts: dict[str, int] = {}
    rows = []
    for row, group in enumerate(groups):
        counts[group] = counts.get(group, 0) + 1
        if counts[group] <= IMAGES_A_GROUP:
            rows.append(row)
    return rows


def figure4(request: Request, models: Models, say: Say) -> list[Path]:
    """Hamming score and subset accuracy against lambda, on slice 5."""
    (part,) = brains(request.data, request.out, say, (FIGURE_SLICE,))
    printed = load_system("sd-mad-printed")
    values = {f"lambda {lam:g}": lam for lam in LAMBDAS}
    variants = [Variant(printed, SDMADConfig.paper(lam=lam), key) for key, lam in values.items()]
    draws = draws_of(part.material, SHOTS, request.seeds, request.order)
    found = run_variants(request, models.main, variants, part.name, draws, say)
    points = {values[key]: {printed.name: scored} for key, scored in found.items()}
    return _sweep(
        "figure4", "lambda", request, models, part, points, ("hamming_score", "subset_accuracy")
    )


def shots_figure(request: Request, models: Models, say: Say) -> list[Path]:
    """Mean AUROC against the number of shots, on slice 5."""
    (part,) = brains(request.data, request.out, say, (FIGURE_SLICE,))
    points = {
        float(shots): _curve_draws(request, models, part.material, part.name, shots, say)
        for shots in SHOT_COUNTS
    }
    return _sweep("shots", "shots", request, models, part, points, ("mean_auroc",))


def signs_figure(request: Request, models: Models, say: Say) -> list[Path]:
    """Mean AUROC against the number of signs a category, on slice 5."""
    (part,) = brains(request.data, request.out, say, (FIGURE_SLICE,))
    points = {}
    for count in SIGN_COUNTS:
        fewer = replace(part.material, bank=first_signs(part.material.bank, count))
        name = f"{part.name}-{count}-signs"
        points[float(count)] = _curve_draws(request, models, fewer, name, SHOTS, say)
    return _sweep("signs", "signs a category", request, models, part, points, ("mean_auroc",))


def first_signs(bank: SignBank, count: int) -> SignBank:
    """The bank with the first few signs of each category."""
    signs = {name: signs[:count] for name, signs in bank.categories.items()}
    return SignBank(bank.name, bank.modality, bank.normal, signs)


def _curve_draws(
    request: Request, models: Models, material: Material, name: str, shots: int, say: Say
) -> dict[str, list[LabelledScores]]:
    variants = variants_of(CURVE_SYSTEMS)
    draws = draws_of(material, shots, request.seeds, request.order)
    return run_variants(request, models.main, variants, name, draws, say)


def _sweep(
    name: str,
    axis: str,
    request: Request,
    models: Models,
    part: TablePart,
    points: Mapping[float, Mapping[str, list[LabelledScores]]],
    metrics: Sequence[str],
) -> list[Path]:
    """Records and a plot of metrics against a setting; the abnormal population is the paper's."""
    records, curves = [], []
    columns, population = part.columns[-1], part.populations[0]
    for value, systems in points.items():
        judged = {s: [judged_as(d, columns, population) for d in ds] for s, ds in systems.items()}
        first = next(iter(judged.values()))
        judged = {trivial: trivial_draws(first, trivial) for trivial in TRIVIAL} | judged
        for system, draws in judged.items():
            found = summarise_draws(draws, RESAMPLES)
            records += [
                Record(
                    f"{axis} {value:g}", population, columns, metric, title_of(system),
                    found[metric], None,
                    tuple(len(d.labels) for d in draws),
                    tuple(int((d.labels == 1).sum()) for d in draws),
                    tuple(int((d.labels == 0).sum()) for d in draws),
                )
                for metric in metrics
            ]  # fmt: skip
    for metric in metrics:
        for system in dict.fromkeys(r.system for r in records):
            if system == "prevalence" or (system in TRIVIAL and metric == "mean_auroc"):
                continue
            rows = [r.summary for r in records if r.system == system and r.what == metric]
            curves.append(
                Curve.of(metric, system, list(points), [r for r in rows if r is not None])
            )
    picture = curve_plot(curves, axis)
    write_bytes(request.out / f"{name}.png", picture)
    head = [*describe(request, models, [part]), f"plot: {name}.png"]
    files = write_records(request.out, name, FIGURES[name].title, head, records)
    return [*files, request.out / f"{name}.png"]


def figure5(request: Request, models: Models, say: Say) -> list[Path]:
    """The sixteen slices of a normal volume."""
    addresses = volume_slices(request.data, request.out, say)
    pictures: list[NDArray[np.uint8]] = [np.asarray(read_image(a).convert("L")) for a in addresses]
    titles = [f"slice {i}" for i in range(len(pictures))]
    picture = picture_grid(pictures, titles, columns=4)
    values = [
        (title, p.shape[0], p.shape[1], float(p.mean()))
        for title, p in zip(titles, pictures, strict=True)
    ]
    header = ("slice", "height", "width", "mean grey value")
    return _write_picture(request, models, "figure5", [], picture, ("slices", header, values), {})


FIGURES = {
    "figure3": Figure("Figure 3: similarity of images and signs", figure3),
    "figure4": Figure("Figure 4: lambda, slice 5", figure4),
    "figure5": Figure("Figure 5: the sixteen slices of a volume", figure5),
    "shots": Figure("AUROC against the number of shots (not in the paper)", shots_figure),
    "signs": Figure(
        "AUROC against the number of signs a category (not in the paper)", signs_figure
    ),
}
