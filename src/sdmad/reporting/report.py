"""One self-contained HTML page about one evaluation.

No script, no external resource: pictures are data URIs, the page forbids everything else by its
content security policy. Every text that comes from outside is escaped.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from math import isfinite, isnan
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from sdmad.errors import InputError
from sdmad.evaluation.checks import BoolArray, FloatArray
from sdmad.evaluation.protocols import Evaluation
from sdmad.evaluation.reliability import Reliability
from sdmad.output import write_text
from sdmad.reporting.map_plot import EXPLAINED, MapPicture
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
GUESSING = 0.5
WEAK = 0.6
"""AUROC below which a category is hardly told."""

WIDE = 0.2
"""Width of an interval of AUROC that leaves much open."""

MOST_NAMED = 5
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
class ImagePage:
    """What the page of one image shows.

    Attributes:
        name: what the image is called.
        picture: the image as PNG.
        maps: laid over it.
        table: every sign of every category.
        comment: one sentence; may be empty.
        address: of the page, from the report.
        back: of the report, from the page.
    """

    name: str
    picture: bytes
    maps: tuple[MapPicture, ...]
    table: Table
    comment: str
    address: str
    back: str = "../report.html"


@dataclass(frozen=True)
class Example:
    """One image of the evaluation with the model's findings.

    Attributes:
        name: what the image is called in the report.
        thumbnail_png: a small picture as PNG bytes.
        findings: one a category, in the order to show.
        comment: one sentence, may be empty.
        maps: of what was found in it.
        page: its own page beside the report, which the name leads to; None without.

    Raises:
        InputError: if the thumbnail is not a PNG file.
    """

    name: str
    thumbnail_png: bytes
    findings: tuple[LabelledFinding, ...]
    comment: str = ""
    maps: tuple[MapPicture, ...] = ()
    page: ImagePage | None = None

    def __post_init__(self) -> None:
        if not self.thumbnail_png.startswith(_PNG_SIGNATURE):
            raise InputError(f"example {self.name!r}: the thumbnail is not a PNG file")


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
        after: cosines with the trained adapters, shape ``(n, S)``.
        image_groups: the group of each image, length ``n``.
        sign_labels: a short text for each sign, length ``S``.
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
        unseen: categories that no support image shows.
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
    unseen: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Tile:
    title: str
    value: str
    interval: str
    beside: str


def write_report(data: ReportData, path: Path) -> None:
    """Write the report as one HTML file.

    Args:
        data: what to show.
        path: the file to write.

    Raises:
        InputError: if the arrays of a plot disagree in shape.
    """
    write_text(path, without_surrogates(render_report(data)))


def render_report(data: ReportData) -> str:
    """Return the report as HTML.

    Args:
        data: what to show.

    Returns:
        A complete HTML document.

    Raises:
        InputError: if the arrays of a plot disagree in shape.
    """
    return (
        environment()
        .get_template("report.html.j2")
        .render(
            data=data,
            summary=plain_summary(data.evaluation),
            steps=next_steps(data),
            explained=EXPLAINED,
            tiles=_tiles(data.evaluation),
            notes=(*data.notes, *data.evaluation.notes),
            signs=[
                (name, list(rows)) for name, rows in groupby(data.signs, lambda row: row.category)
            ],
            largest_margin=_largest_margin(data.signs),
            examples=[("Best images", "best", data.best), ("Worst images", "worst", data.worst)],
            **_plots(data),
        )
    )


def render_image_page(page: ImagePage) -> str:
    """Return the page of one image as HTML."""
    html = environment().get_template("image.html.j2").render(page=page, explained=EXPLAINED)
    return without_surrogates(html)


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


def next_steps(data: ReportData) -> tuple[str, ...]:
    """Say in plain sentences what may be done about what the numbers show.

    Args:
        data: what the report shows.

    Returns:
        Sentences, the most pressing first; none where nothing stands out.
    """
    one = data.evaluation
    low, high = one.intervals["mean_auroc"]
    steps = []
    if low <= GUESSING <= high:
        steps.append(
            "These images cannot tell the model from guessing (the interval of the mean AUROC "
            "holds 50%): judge it on images of more patients before anything else."
        )
    elif high - low > WIDE:
        steps.append(
            f"The mean AUROC is only known to lie between {percent(low)}% and {percent(high)}%: "
            "judge on images of more patients before comparing models."
        )
    if data.unseen:
        steps.append(
            f"No support image shows {_some(data.unseen)}, so that signs alone tell: label one or "
            "more, and fit again."
        )
    weak = [n for n, found in one.categories.items() if found.auroc < WEAK]
    if weak:
        steps.append(
            f"Hardly told from guessing: {_some(weak)}. Label more such images (sdmad suggest says "
            "which), and look at the signs (sdmad signs check)."
        )
    nothing = one.trivial["none"]["hamming_score"]
    if one.hamming_score <= nothing and one.mean_auroc > WEAK:
        steps.append(
            "It ranks better than it decides: choose another rule (--decision support, or fpr:0.05 "
            "with --normals FOLDER)."
        )
    dropped = sum(not sign.kept for sign in data.signs)
    if dropped > len(data.signs) / 2:
        steps.append(
            f"Selection dropped {dropped} of {len(data.signs)} signs: reword those that lie near "
            "another category's (table of signs below; sdmad signs check)."
        )
    if data.worst:
        steps.append(
            "Look at the worst images below: a wrong label, an image of another kind and a sign "
            "that says too little look different there."
        )
    return tuple(steps)


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return f"{', '.join(names[:MOST_NAMED])}{more}"
