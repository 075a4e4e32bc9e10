"""The paper's Figures 3 to 5, and two that it does not have: shots and signs a category."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sdmad.backbones import Backbone
from sdmad.baselines.zero_shot import ZeroShotCLIP
from sdmad.data.fewshot import draw_support
from sdmad.data.images import read_image
from sdmad.detector.base import Detector
from sdmad.detector.config import SDMADConfig
from sdmad.detector.sdmad import SDMAD
from sdmad.evaluation.intervals import summarise_draws
from sdmad.evaluation.labelled_scores import LabelledScores
from sdmad.output import write_bytes, write_csv, write_json, write_text
from sdmad.reporting.curves import Curve, curve_plot, picture_grid
from sdmad.reporting.model_evaluation import image_groups
from sdmad.reporting.plots import similarity_heatmap
from sdmad.signs import SignBank
from sdmad.studies.experiment import (
    PRINTED,
    PRINTED_SELECTED,
    PROBE,
    RECOMMENDED,
    SIGNS,
    Episode,
    fit_systems,
)
from sdmad.studies.reproduction.material import Material, Say, brains, volume_slices
from sdmad.studies.reproduction.records import Record, write_records
from sdmad.studies.reproduction.runs import RESAMPLES, Models, Request, describe, run_fits
from sdmad.studies.reproduction.tables import SHOTS, judged_as
from sdmad.studies.study import TRIVIAL, trivial_draws
from sdmad.table import Table

LAMBDAS = (0.0, 0.2, 0.4, 0.6, 0.8, 0.9)
SHOT_COUNTS = (1, 2, 4, 8)
SIGN_COUNTS = (1, 2, 4, 6, 8)
IMAGES_A_GROUP = 12
FIGURE_SLICE = 5
CURVE_SYSTEMS = (SIGNS, PROBE, PRINTED_SELECTED, RECOMMENDED)


@dataclass(frozen=True)
class Figure:
    """What a figure shows and what makes it; the maker returns the files that it wrote."""

    title: str
    make: Callable[[Request, Models, Say], list[Path]]


def figure3(request: Request, models: Models, say: Say) -> list[Path]:
    """Similarity of images and signs before (a) and after training (b), and the key (c)."""
    (material,) = brains(request.data, request.out, say, (FIGURE_SLICE,))
    say("fitting SD-MAD as printed")
    support = draw_support(material.table, SHOTS, 0)
    drawn = material.table.subset(support.indices)
    trained = SDMAD(material.bank, models.main, SDMADConfig.paper(), 0)
    trained.fit(drawn.files, drawn.labels)
    rest = material.table.subset(support.evaluation(material.table))
    groups = image_groups(rest)
    rows = _some_of_each(groups)
    files, named = [rest.files[i] for i in rows], [groups[i] for i in rows]
    before = ZeroShotCLIP(material.bank, models.main).score(files).similarity
    after = trained.score(files).similarity
    kept = trained.scorer.keep.cpu().numpy()
    bank = material.bank
    categories = [bank.names[k] for k in bank.category_index]
    picture = similarity_heatmap(before, after, named, bank.sentences, categories, kept)
    folder = request.out
    write_bytes(folder / "figure3.png", picture)
    key = [
        (str(s + 1), sentence, categories[s], "yes" if kept[s] else "no")
        for s, sentence in enumerate(bank.sentences)
    ]
    cosines = [
        (str(i + 1), group, str(s + 1), categories[s], float(before[i, s]), float(after[i, s]))
        for i, group in enumerate(named)
        for s in range(len(categories))
    ]
    header = ["image", "group", "sign", "category", "before", "after"]
    write_csv(folder / "figure3.csv", header, cosines)
    head = describe(request, models, [material])
    table = Table("(c) Signs and their categories", ("Sign", "Text", "Category", "Kept"), (*key,))
    page = [f"# {FIGURES['figure3'].title}", "", *(f"- {line}" for line in head), ""]
    page += ["![Heat maps](figure3.png)", "", table.markdown()]
    write_text(folder / "figure3.md", "\n".join(page))
    content = {
        "run": head,
        "key": key,
        "cosines": [dict(zip(header, c, strict=True)) for c in cosines],
    }
    write_json(folder / "figure3.json", content)
    return [folder / f"figure3.{ending}" for ending in ("md", "csv", "json", "png")]


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
    (material,) = brains(request.data, request.out, say, (FIGURE_SLICE,))

    def fit(episode: Episode) -> Iterator[tuple[str, Detector]]:
        for lam in LAMBDAS:
            config = SDMADConfig.paper(lam=lam)
            detector = SDMAD(episode.bank, models.main, config, episode.seed)
            yield f"lambda {lam:g}", detector.fit(episode.images, episode.labels)

    draws, _ = run_fits(request, models.main, material, SHOTS, fit, "lambda", say)
    metrics = ("hamming_score", "subset_accuracy")
    points = {
        float(name.removeprefix("lambda ")): {PRINTED_SELECTED: d} for name, d in draws.items()
    }
    return _sweep("figure4", "lambda", request, models, material, points, metrics)


def shots_figure(request: Request, models: Models, say: Say) -> list[Path]:
    """Mean AUROC against the number of shots, on slice 5."""
    (material,) = brains(request.data, request.out, say, (FIGURE_SLICE,))
    points = {
        float(shots): _curve_draws(request, models.main, material, shots, "shots", say)
        for shots in SHOT_COUNTS
    }
    return _sweep("shots", "shots", request, models, material, points, ("mean_auroc",))


def signs_figure(request: Request, models: Models, say: Say) -> list[Path]:
    """Mean AUROC against the number of signs a category, on slice 5."""
    (material,) = brains(request.data, request.out, say, (FIGURE_SLICE,))
    points = {
        float(count): _curve_draws(
            request, models.main, replace(material, bank=first_signs(material.bank, count)),
            SHOTS, "signs", say,
        )
        for count in SIGN_COUNTS
    }  # fmt: skip
    return _sweep("signs", "signs a category", request, models, material, points, ("mean_auroc",))


def first_signs(bank: SignBank, count: int) -> SignBank:
    """The bank with the first few signs of each category."""
    signs = {name: signs[:count] for name, signs in bank.categories.items()}
    return SignBank(bank.name, bank.modality, bank.normal, signs)


def _curve_draws(
    request: Request, backbone: Backbone, material: Material, shots: int, what: str, say: Say
) -> dict[str, list[LabelledScores]]:
    def fit(episode: Episode) -> Iterator[tuple[str, Detector]]:
        return fit_systems(episode, backbone, (*CURVE_SYSTEMS, PRINTED))

    return run_fits(request, backbone, material, shots, fit, what, say)[0]


def _sweep(
    name: str,
    axis: str,
    request: Request,
    models: Models,
    material: Material,
    points: Mapping[float, Mapping[str, list[LabelledScores]]],
    metrics: Sequence[str],
) -> list[Path]:
    """Records and a plot of metrics against a setting; the abnormal population is the paper's."""
    records, curves = [], []
    columns, population = material.columns[-1], material.populations[0]
    for value, systems in points.items():
        judged = {s: [judged_as(d, columns, population) for d in ds] for s, ds in systems.items()}
        first = next(iter(judged.values()))
        judged = {trivial: trivial_draws(first, trivial) for trivial in TRIVIAL} | judged
        for system, draws in judged.items():
            found = summarise_draws(draws, RESAMPLES)
            records += [
                Record(
                    f"{axis} {value:g}", population, columns, metric, system, found[metric], None,
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
    head = [*describe(request, models, [material]), f"plot: {name}.png"]
    files = write_records(request.out, name, FIGURES[name].title, head, records)
    return [*files, request.out / f"{name}.png"]


def figure5(request: Request, models: Models, say: Say) -> list[Path]:
    """The sixteen slices of a normal volume."""
    addresses = volume_slices(request.data, request.out, say)
    pictures: list[NDArray[np.uint8]] = [np.asarray(read_image(a).convert("L")) for a in addresses]
    titles = [f"slice {i}" for i in range(len(pictures))]
    write_bytes(request.out / "figure5.png", picture_grid(pictures, titles, columns=4))
    values = [
        (title, p.shape[0], p.shape[1], float(p.mean()))
        for title, p in zip(titles, pictures, strict=True)
    ]
    header = ["slice", "height", "width", "mean grey value"]
    write_csv(request.out / "figure5.csv", header, values)
    head = describe(request, models, [])
    page = [f"# {FIGURES['figure5'].title}", "", *(f"- {line}" for line in head), ""]
    write_text(request.out / "figure5.md", "\n".join([*page, "![Slices](figure5.png)", ""]))
    content = {"run": head, "slices": [dict(zip(header, v, strict=True)) for v in values]}
    write_json(request.out / "figure5.json", content)
    return [request.out / f"figure5.{ending}" for ending in ("md", "csv", "json", "png")]


FIGURES = {
    "figure3": Figure("Figure 3: similarity of images and signs", figure3),
    "figure4": Figure("Figure 4: lambda, slice 5", figure4),
    "figure5": Figure("Figure 5: the sixteen slices of a volume", figure5),
    "shots": Figure("AUROC against the number of shots (not in the paper)", shots_figure),
    "signs": Figure(
        "AUROC against the number of signs a category (not in the paper)", signs_figure
    ),
}
