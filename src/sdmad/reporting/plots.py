"""Plots of an evaluation, as PNG or SVG bytes.

Drawn with matplotlib's object interface: no window, no state left behind. Colours are told apart by
people with any colour vision; where there are more lines than colours, the dashes differ too.
Labels are shown as they are, never read as mathematics.
"""

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike
from sklearn.metrics import roc_curve

from sdmad.errors import InputError
from sdmad.evaluation.checks import FloatArray, label_matrix, score_array
from sdmad.evaluation.metrics import category_auroc
from sdmad.evaluation.reliability import Reliability

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ImageFormat = Literal["png", "svg"]

# Okabe and Ito's palette without its yellow, which is too pale for a line on white.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#333333")
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.6)), (0, (1.2, 1.2)), (0, (6, 1.5, 1.2, 1.5)))
INK = "#1f2933"
FAINT = "#9aa5b1"
DROPPED = "#7b8794"
GRID = "#e4e7eb"

_CURVE_POINTS = 400
_MOST_IMAGES = 400
_SIGN_LENGTH = 72
_MOST_SIGNS_NAMED = 120
_FEW_GROUPS = 8
_ROW = 0.19
"""Inches of a row of the heat map, in which its sign can be read."""

_LONGEST_BAR = 4.0
"""Inches of a scale of colours."""

_LINE = 0.235
"""Inches of a line of a legend."""


def roc_plot(
    labels: ArrayLike,
    scores: ArrayLike,
    categories: Sequence[str],
    image_format: ImageFormat = "png",
) -> bytes:
    """ROC curves of all categories in one panel, with the AUROC in the legend.

    Args:
        labels: shape ``(n, K)``, 1, 0 or NaN.
        scores: shape ``(n, K)``, finite.
        categories: the ``K`` names.
        image_format: ``png`` or ``svg``.

    Returns:
        The picture.

    Raises:
        InputError: if a shape or a value does not fit.
    """
    truth = label_matrix(labels)
    values = score_array(scores, truth.shape)
    if len(categories) != truth.shape[1]:
        raise InputError(f"ROC curves: expected {truth.shape[1]} names, got {len(categories)}")
    figure = new_figure(9.4, max(5.0, _LINE * (len(categories) + 3)))
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color=FAINT, linewidth=1, linestyle=(0, (2, 2)), zorder=1)
    lines, names = [], []
    for k, auroc in enumerate(category_auroc(truth, values)):
        known = ~np.isnan(truth[:, k])
        x, y = np.empty(0), np.empty(0)
        if not np.isnan(auroc):
            x, y = _curve(truth[known, k], values[known, k])
        style: dict[str, Any] = {
            "color": PALETTE[k % len(PALETTE)],
            "linestyle": DASHES[k // len(PALETTE) % 4],
        }
        lines += axes.plot(x, y, linewidth=1.8, solid_capstyle="round", **style)
        shown = "no AUROC" if np.isnan(auroc) else f"{100 * auroc:.1f}"
        names.append(f"{short(categories[k], 26)}   {shown}")
    style_axes(axes)
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal", anchor="W")
    axes.set_xlabel("False-positive rate (1 - specificity)")
    axes.set_ylabel("True-positive rate (sensitivity)")
    _legend(axes, lines, names)
    return save_figure(figure, image_format)


def _curve(truth: FloatArray, scores: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Points of a ROC curve, thinned to what a picture can show."""
    false_positive, true_positive, _ = roc_curve(truth, scores)
    if false_positive.size > _CURVE_POINTS:
        kept = np.unique(np.linspace(0, false_positive.size - 1, _CURVE_POINTS).round().astype(int))
        false_positive, true_positive = false_positive[kept], true_positive[kept]
    return false_positive, true_positive


def reliability_plot(found: Reliability, image_format: ImageFormat = "png") -> bytes:
    """Share of positives against mean probability, a dot a bin, beside the diagonal.

    Args:
        found: the bins.
        image_format: ``png`` or ``svg``.

    Returns:
        The picture.
    """
    figure = new_figure(5.4, 5.0)
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color=FAINT, linewidth=1, linestyle=(0, (2, 2)), zorder=1)
    style: dict[str, Any] = {"color": PALETTE[0], "linewidth": 1.8, "marker": "o"}
    axes.plot(found.predicted, found.observed, **style)
    style_axes(axes)
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
    axes.set_xlabel("Mean probability of a bin")
    axes.set_ylabel("Share that is positive")
    return save_figure(figure, image_format)


def loss_plot(losses: ArrayLike, image_format: ImageFormat = "png") -> bytes:
    """The training loss, epoch by epoch.

    Args:
        losses: shape ``(epochs,)``.
        image_format: ``png`` or ``svg``.

    Returns:
        The picture.

    Raises:
        InputError: if the losses are not a row of numbers.
    """
    from matplotlib.ticker import MaxNLocator

    values = np.asarray(losses, dtype=np.float64)
    if values.ndim != 1 or values.size == 0:
        raise InputError(f"losses: expected shape (epochs,), got {values.shape}")
    figure = new_figure(8.2, 2.6)
    axes = figure.add_subplot()
    marker = "o" if values.size < 3 else None
    axes.plot(np.arange(1, values.size + 1), values, color=PALETTE[0], linewidth=1.8, marker=marker)
    style_axes(axes)
    axes.set_xlabel("Epoch")
    axes.set_ylabel("Training loss")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return save_figure(figure, image_format)


def similarity_heatmap(
    before: ArrayLike | None,
    after: ArrayLike,
    image_groups: Sequence[str],
    sign_labels: Sequence[str],
    sign_categories: Sequence[str],
    kept: ArrayLike,
    image_format: ImageFormat = "png",
) -> bytes:
    """Similarity of images and signs, before and after training side by side (Figure 3).

    Rows are signs, so that their sentences can be read, and columns are images, each put in the
    order in which their categories first occur, signs by ``sign_categories`` and images by
    ``image_groups`` (groups without a sign, such as normal images, come last). Both panels share
    one colour scale. Up to 120 signs are written out; beyond that only the dropped ones are
    marked with an x. Of more than 400 images an even selection is drawn.

    Args:
        before: cosine of each image with each sign in the untrained backbone, ``(n, S)``; None
            where nothing was trained, and there is one panel.
        after: the same in the model, ``(n, S)``.
        image_groups: the group of each image, length ``n``.
        sign_labels: a short text for each sign, length ``S``.
        sign_categories: the category of each sign, length ``S``.
        kept: shape ``(S,)``: whether the sign passed the selection; the others are marked.
        image_format: ``png`` or ``svg``.

    Returns:
        The picture.

    Raises:
        InputError: if the shapes disagree.
    """
    given = {"Similarity": after}
    if before is not None:
        given = {"Before training": before, "After training": after}
    checked, marks = _check_heatmap(given, image_groups, sign_labels, sign_categories, kept)
    images, signs = _heatmap_order(image_groups, sign_categories)
    groups, categories = [image_groups[i] for i in images], [sign_categories[j] for j in signs]
    high = _ROW * min(signs.size, _MOST_SIGNS_NAMED)
    figure = new_figure(13.0, max(2.5, high) + 1.9)
    panels = figure.subplots(1, len(checked), sharey=True, squeeze=False)[0]
    scale = (min(float(v.min()) for v in checked), max(float(v.max()) for v in checked))
    for axes, values, title in zip(panels, checked, given, strict=True):
        _heatmap_panel(axes, values[np.ix_(images, signs)].T, scale)
        _image_axis(axes, groups)
        _separators(axes, categories, groups)
        axes.set_title(title, loc="left", fontsize=12, fontweight="bold", color=INK, pad=8)
    _sign_axis(panels[0], [sign_labels[j] for j in signs], marks[signs])
    _category_axis(panels[-1], categories)
    cosine_bar(figure, panels[0].images[0], panels)
    return save_figure(figure, image_format)


def _heatmap_order(image_groups: Sequence[str], sign_categories: Sequence[str]) -> tuple[Any, Any]:
    """Images and signs, ordered by category; at most ``_MOST_IMAGES`` images."""
    order = list(dict.fromkeys([*sign_categories, *image_groups]))
    rank = {name: number for number, name in enumerate(order)}
    rows = np.array(sorted(range(len(image_groups)), key=lambda i: rank[image_groups[i]]))
    columns = sorted(range(len(sign_categories)), key=lambda j: rank[sign_categories[j]])
    if rows.size > _MOST_IMAGES:
        rows = rows[np.linspace(0, rows.size - 1, _MOST_IMAGES).round().astype(int)]
    return rows, np.array(columns)


def _heatmap_panel(axes: "Axes", values: FloatArray, scale: tuple[float, float]) -> None:
    axes.imshow(
        values, aspect="auto", cmap="cividis", vmin=scale[0], vmax=scale[1], interpolation="nearest"
    )


def _check_heatmap(
    given: Mapping[str, ArrayLike],
    image_groups: Sequence[str],
    sign_labels: Sequence[str],
    sign_categories: Sequence[str],
    kept: ArrayLike,
) -> tuple[list[FloatArray], Any]:
    shape = (len(image_groups), len(sign_labels))
    checked = [score_array(values, shape, title.lower()) for title, values in given.items()]
    marks = np.asarray(kept, dtype=bool)
    if checked[0].size == 0:
        raise InputError(f"heat map: expected images and signs, got shape {shape}")
    if len(sign_categories) != shape[1] or marks.shape != (shape[1],):
        raise InputError(
            f"heat map: expected {shape[1]} sign categories and kept marks, got "
            f"{len(sign_categories)} and shape {marks.shape}"
        )
    return checked, marks


def spans(names: Sequence[str]) -> list[tuple[str, int, int]]:
    """Runs of equal names as (name, first, one past the last)."""
    starts = [i for i in range(len(names)) if i == 0 or names[i] != names[i - 1]]
    ends = [*starts[1:], len(names)]
    return [(names[start], start, end) for start, end in zip(starts, ends, strict=True)]


def _sign_axis(axes: "Axes", signs: Sequence[str], kept: Any) -> None:
    """Signs beside the panel, if they can be read at all."""
    if len(signs) > _MOST_SIGNS_NAMED:
        axes.set_yticks(np.flatnonzero(~kept), ["x"] * int((~kept).sum()), fontsize=7, color=INK)
        return
    texts = [
        f"{short(sign, _SIGN_LENGTH)}{'' if keep else ' (dropped)'}"
        for sign, keep in zip(signs, kept, strict=True)
    ]
    labels = axes.set_yticks(range(len(texts)), texts, fontsize=9, parse_math=False)
    for tick, keep in zip(labels, kept, strict=True):
        tick.label1.set_color(INK if keep else DROPPED)


def _category_axis(axes: "Axes", categories: Sequence[str]) -> None:
    """The signs' categories on the other side."""
    runs = spans(categories)
    beside = axes.secondary_yaxis("right")
    middles = [(start + end) / 2 - 0.5 for _, start, end in runs]
    names = [short(name, 22) for name, _, _ in runs]
    beside.set_yticks(middles, names, fontsize=9, color=INK, parse_math=False)
    beside.tick_params(length=0)
    beside.spines["right"].set_visible(False)


def _image_axis(axes: "Axes", groups: Sequence[str]) -> None:
    runs = spans(groups)
    axes.set_xticks(
        [(start + end) / 2 - 0.5 for _, start, end in runs],
        [f"{short(name, 22)} ({end - start})" for name, start, end in runs],
        fontsize=9,
        color=INK,
        parse_math=False,
        rotation=40 if len(runs) <= _FEW_GROUPS else 65,
        ha="right",
        rotation_mode="anchor",
    )
    axes.set_xlabel("Images, by category", fontsize=9, color=INK)


def _separators(axes: "Axes", rows: Sequence[str], columns: Sequence[str]) -> None:
    for _, start, _ in spans(rows)[1:]:
        axes.axhline(start - 0.5, color="white", linewidth=1.6)
    for _, start, _ in spans(columns)[1:]:
        axes.axvline(start - 0.5, color="white", linewidth=1.2)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


def cosine_bar(figure: "Figure", image: Any, panels: Any) -> None:
    """The scale of colours that stand for cosines, beside some panels."""
    shrink = min(0.6, _LONGEST_BAR / figure.get_figheight())
    bar = figure.colorbar(image, ax=panels, shrink=shrink, pad=0.01, aspect=30)
    bar.set_label("Cosine similarity", color=INK, fontsize=9)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=8, colors=INK, length=0)


def short(text: str, length: int) -> str:
    """One line of at most ``length`` characters."""
    line = " ".join(text.split())
    return line if len(line) <= length else line[: length - 1].rstrip() + "…"


def new_figure(width: float, height: float) -> "Figure":
    """A figure of a size in inches, without a window."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained", facecolor="white")


def style_axes(axes: "Axes") -> None:
    """Give a panel the look of all plots: a faint grid, two spines, small ink labels."""
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=INK, labelsize=9, length=0)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(FAINT)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set(color=INK, fontsize=9.5)


def _legend(axes: "Axes", lines: Sequence[Any], names: Sequence[str]) -> None:
    """A legend beside the panel; names may begin with any sign and are not mathematics."""
    legend = axes.legend(
        lines,
        [f"{number}" for number in range(len(names))],
        title="AUROC, percent",
        loc="center left",
        bbox_to_anchor=(1.02, 0.5),
        frameon=False,
        fontsize=9,
        handlelength=2.6,
        labelcolor=INK,
        alignment="left",
        labelspacing=0.55,
    )
    legend.get_title().set(color=INK, fontsize=9, fontweight="bold")
    for text, name in zip(legend.get_texts(), names, strict=True):
        text.set_parse_math(False)
        text.set_text(name)


def save_figure(figure: "Figure", image_format: ImageFormat) -> bytes:
    """The figure as bytes; the same figure gives the same bytes."""
    from matplotlib import rc_context

    buffer = io.BytesIO()
    metadata = {"Date": None} if image_format == "svg" else {"Software": None}
    with rc_context({"svg.hashsalt": "sdmad"}):  # same data, same bytes
        figure.savefig(buffer, format=image_format, dpi=150, metadata=metadata)
    return buffer.getvalue()
