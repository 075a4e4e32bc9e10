"""One self-contained HTML page about one evaluation.

No script, no external resource: pictures are data URIs, the page forbids everything else by its
content security policy. Every text that comes from outside is escaped.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count, groupby
from math import isfinite, isnan
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from sdmad.errors import InputError
from sdmad.evaluation.checks import BoolArray, FloatArray
from sdmad.evaluation.protocols import Evaluation
from sdmad.evaluation.reliability import Reliability
from sdmad.output import write_text
from sdmad.reporting.plots import (
    ImageFormat,
    loss_plot,
    reliability_plot,
    roc_plot,
    similarity_heatmap,
)
from sdmad.reporting.tables import METRIC_TITLES, percent_interval
from sdmad.table import Table, percent
from sdmad.text import without_surrogates

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_MEDIA_TYPES: dict[ImageFormat, str] = {"png": "image/png", "svg": "image/svg+xml"}
_TILES = ("mean_auroc", "image_auroc", "hamming_score", "subset_accuracy")


@dataclass(frozen=True)
class SignRow:
    """One sign of the bank and how the selection judged it (SD-MAD, Definition 3.2 to Eq. 6).

    Attributes:
        category: the category it belongs to.
        sentence: the sign as written in the bank.
        kept: whether it passed the selection.
        own_distance: distance (one minus cosine) to the nearest other sign of its category;
            infinite or NaN if there is none.
        foreign_distance: distance to the nearest sign of another category; infinite or NaN if
            there is none.
        margin: foreign distance less own distance; positive for a sign that is kept by the rule.
        nearest_foreign: the sign of another category that lies nearest; empty if there is none.
    """

    category: str
    sentence: str
    kept: bool
    own_distance: float
    foreign_distance: float
    margin: float
    nearest_foreign: str


@dataclass(frozen=True)
class LabelledFinding:
    """What the model said about one category of one image, and which sign decided.

    Attributes:
        category: the category.
        score: its score.
        decision: whether the model calls it present.
        label: 1 present, 0 absent, None unknown.
        sign: the kept sign that decided.
        similarity: cosine of the image with that sign.
        anchor_similarity: cosine of the image with the anchor (the normal text).
    """

    category: str
    score: float
    decision: bool
    label: float | None
    sign: str
    similarity: float
    anchor_similarity: float

    @property
    def outcome(self) -> str:
        """``found``, ``missed``, ``false alarm``, ``absent`` or ``unknown``."""
        if self.label is None or isnan(self.label):
            return "unknown"
        if self.label == 1:
            return "found" if self.decision else "missed"
        return "false alarm" if self.decision else "absent"


@dataclass(frozen=True)
class Example:
    """One image of the evaluation with the model's findings.

    Attributes:
        name: what the image is called in the report.
        thumbnail_png: a small picture as PNG bytes.
        findings: one a category, in the order to show.
        comment: one sentence, may be empty.
        maps: what each of its maps is of, and its picture as PNG bytes; they have a page.

    Raises:
        InputError: if a picture is not a PNG file.
    """

    name: str
    thumbnail_png: bytes
    findings: tuple[LabelledFinding, ...]
    comment: str = ""
    maps: tuple[tuple[str, bytes], ...] = ()

    def __post_init__(self) -> None:
        for picture in (self.thumbnail_png, *(found for _, found in self.maps)):
            if not picture.startswith(_PNG_SIGNATURE):
                raise InputError(f"example {self.name!r}: a picture is not a PNG file")


@dataclass(frozen=True, eq=False)
class RocData:
    """What the ROC curves are drawn from.

    Attributes:
        labels: shape ``(n, K)``, 1, 0 or NaN.
        scores: shape ``(n, K)``.
    """

    labels: FloatArray
    scores: FloatArray


@dataclass(frozen=True, eq=False)
class HeatmapData:
    """What the similarity heat map is drawn from; see :func:`similarity_heatmap`.

    Attributes:
        before: cosines in the untrained backbone, shape ``(n, S)``; None where nothing was trained.
        after: cosines in the model, shape ``(n, S)``.
        image_groups: the group of each image, length ``n``.
        sign_labels: a short text for each sign, length ``S``; its number in the table of signs.
        sign_categories: the category of each sign, length ``S``.
        kept: whether each sign passed the selection, shape ``(S,)``.
    """

    before: FloatArray | None
    after: FloatArray
    image_groups: Sequence[str]
    sign_labels: Sequence[str]
    sign_categories: Sequence[str]
    kept: BoolArray


@dataclass(frozen=True, eq=False)
class ReportData:
    """Everything that a report shows. An empty part is left out of the page.

    Attributes:
        title: heading of the page.
        subtitle: one line below it.
        evaluation: the evaluation that the summary speaks of.
        tables: the tables to show, for instance from ``protocol_tables``.
        settings: name and value of each setting, in the order to show.
        roc: data of the ROC curves.
        reliability: how far probabilities hold, where a prevalence was stated.
        heatmap: data of the similarity heat map.
        signs: the signs of the bank, category by category.
        best: images on which the model did best.
        worst: images on which it did worst.
        losses: training loss of each epoch.
        notes: warnings and remarks, shown above the numbers with those of the evaluation.
        advice: what to do next, a sentence each.
    """

    title: str
    subtitle: str
    evaluation: Evaluation
    tables: tuple[Table, ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict)
    roc: RocData | None = None
    reliability: Reliability | None = None
    heatmap: HeatmapData | None = None
    signs: tuple[SignRow, ...] = ()
    best: tuple[Example, ...] = ()
    worst: tuple[Example, ...] = ()
    losses: tuple[float, ...] = ()
    notes: tuple[str, ...] = ()
    advice: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Tile:
    title: str
    value: str
    interval: str
    beside: str


def write_report(data: ReportData, path: Path) -> None:
    """Write the report as one HTML file, and a page with the maps of each shown image beside it.

    Args:
        data: what to show.
        path: the file to write; the pages are written into ``NAME-images`` beside it.

    Raises:
        InputError: if the arrays of a plot disagree in shape.
    """
    folder = path.with_name(f"{path.stem}-images")
    write_text(path, without_surrogates(render_report(data, folder.name)))
    paged = [one for one in (*data.best, *data.worst) if one.maps]
    if paged:
        folder.mkdir(exist_ok=True)
    for number, example in enumerate(paged, 1):
        page = environment().get_template("image.html.j2").render(example=example, report=path.name)
        write_text(folder / page_name(number), without_surrogates(page))


def page_name(number: int) -> str:
    """The file of the page of a shown image, by its place among those that have one."""
    return f"{number:02d}.html"


def render_report(data: ReportData, folder: str = "") -> str:
    """Return the report as HTML.

    Args:
        data: what to show.
        folder: where the pages of the shown images lie, from the report; empty for none.

    Returns:
        A complete HTML document.

    Raises:
        InputError: if the arrays of a plot disagree in shape.
    """
    names = (f"{folder}/{page_name(number)}" for number in count(1))
    best, worst = (
        [(one, next(names) if one.maps and folder else "") for one in shown]
        for shown in (data.best, data.worst)
    )
    return (
        environment()
        .get_template("report.html.j2")
        .render(
            data=data,
            summary=plain_summary(data.evaluation),
            tiles=_tiles(data.evaluation),
            notes=(*data.notes, *data.evaluation.notes),
            signs=[
                (name, list(rows))
                for name, rows in groupby(enumerate(data.signs, 1), lambda row: row[1].category)
            ],
            largest_margin=_largest_margin(data.signs),
            examples=[("Best images", "best", best), ("Worst images", "worst", worst)],
            **_plots(data),
        )
    )


def environment() -> Environment:
    """What pages are made with: every text that comes from outside is escaped."""
    made = Environment(
        loader=PackageLoader("sdmad.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["png_uri"] = _png_uri
    made.filters["decimals"] = _decimals
    made.tests["finite"] = isfinite
    return made


def _plots(data: ReportData) -> dict[str, str | None]:
    """The plots as data URIs; None for those without data."""
    roc = reliability = heatmap = losses = None
    if data.roc is not None:
        names = tuple(data.evaluation.categories)
        roc = uri(roc_plot(data.roc.labels, data.roc.scores, names, "svg"), "svg")
    if data.reliability is not None:
        reliability = uri(reliability_plot(data.reliability, "svg"), "svg")
    if data.heatmap is not None:
        given = data.heatmap
        picture = similarity_heatmap(
            given.before,
            given.after,
            given.image_groups,
            given.sign_labels,
            given.sign_categories,
            given.kept,
        )
        heatmap = uri(picture, "png")
    if data.losses:
        losses = uri(loss_plot(data.losses, "svg"), "svg")
    return {"roc": roc, "reliability": reliability, "heatmap": heatmap, "losses": losses}


def uri(picture: bytes, image_format: ImageFormat) -> str:
    """A picture as part of a page."""
    return f"data:{_MEDIA_TYPES[image_format]};base64,{base64.b64encode(picture).decode()}"


def _png_uri(picture: bytes) -> str:
    return uri(picture, "png")


def _decimals(value: float, places: int = 3, signed: bool = False) -> str:
    if not isfinite(value):
        return "n/a"
    return f"{value:+.{places}f}" if signed else f"{value:.{places}f}"


def _largest_margin(signs: Sequence[SignRow]) -> float:
    """The margin that fills a bar; never 0."""
    return max((abs(row.margin) for row in signs if isfinite(row.margin)), default=0.0) or 1.0


def _tiles(evaluation: Evaluation) -> list[_Tile]:
    none = evaluation.trivial["none"]
    tiles = []
    for name in _TILES:
        value, (low, high) = getattr(evaluation, name), evaluation.intervals[name]
        interval = "" if isnan(low) or isnan(value) else f"{percent(low)} to {percent(high)}"
        beside = f"predict nothing: {percent(none[name])}" if name in none else "chance: 50.0"
        tiles.append(_Tile(METRIC_TITLES[name], percent(value), interval, beside))
    return tiles


def plain_summary(evaluation: Evaluation) -> tuple[str, ...]:
    """Say in plain sentences what the numbers of an evaluation mean.

    Args:
        evaluation: the evaluation.

    Returns:
        Sentences; a metric that is not defined is passed over.
    """
    one = evaluation
    of_all = one.patients > 0 and one.unknown_patients == 0
    images = f"{_count(one.images, 'image')} of {one.people}" if of_all else one.people
    sentences = [
        f"{images} were judged for {_count(len(one.categories), 'category', 'categories')}."
    ]
    if not isnan(one.mean_auroc):
        sentences.append(
            "Mean AUROC: shown one image with a category and one without, the model gives the "
            "first the higher score in "
            f"{_percent_with(one, 'mean_auroc')} of the cases, averaged over the categories; "
            "guessing reaches 50.0%."
        )
    if not isnan(one.image_auroc):
        sentences.append(
            "Image AUROC: the same for an abnormal image against a normal one, "
            f"{_percent_with(one, 'image_auroc')}."
        )
    for name, meaning in (
        ("hamming_score", "of all yes-or-no decisions, one an image and category, are right"),
        ("subset_accuracy", "of the images have every category right"),
    ):
        trivial, reached = one.trivial["none"][name], getattr(one, name)
        sentences.append(
            f"{METRIC_TITLES[name]}: {_percent_with(one, name)} {meaning}; predicting nothing at "
            f"all reaches {percent(trivial)}%, so these decisions are {_compare(reached, trivial)}."
        )
    if not isnan(one.sensitivity) and not isnan(one.specificity):
        sentences.append(
            f"Averaged over the categories, {percent(one.sensitivity)}% of what is present is "
            f"found (sensitivity), and {percent(one.specificity)}% of what is absent is left "
            "alone (specificity)."
        )
    return tuple(sentences)


def _count(number: int, word: str, plural: str | None = None) -> str:
    return f"{number} {word if number == 1 else plural or word + 's'}"


def _percent_with(evaluation: Evaluation, name: str) -> str:
    value, interval = getattr(evaluation, name), evaluation.intervals[name]
    shown = percent_interval(value, interval)
    head, _, rest = shown.partition(" [")
    return f"{head}% (95% interval {rest[:-1].replace(', ', ' to ')})" if rest else f"{head}%"


def _compare(reached: float, trivial: float) -> str:
    gap = percent(abs(reached - trivial))
    if gap == "0.0":
        return "no better than that"
    return f"{gap} points {'better' if reached > trivial else 'worse'} than that"
