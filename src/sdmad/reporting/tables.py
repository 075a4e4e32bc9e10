"""Tables of an evaluation, for the terminal, Markdown, CSV and the report."""

from collections.abc import Mapping
from math import isnan

from sdmad.errors import InputError
from sdmad.evaluation.answers import AnswerRates
from sdmad.evaluation.limits import Interval
from sdmad.evaluation.protocols import DECISION_METRICS, CategoryResult, Evaluation
from sdmad.evaluation.reliability import Reliability
from sdmad.evaluation.trivial import TRIVIAL_PREDICTORS
from sdmad.table import MISSING, Table, percent

MOST_CATEGORY_COLUMNS = 8
"""With more categories than this, protocol 3 shows their mean only."""

METRIC_TITLES = {
    "mean_auroc": "Mean AUROC",
    "image_auroc": "Image AUROC",
    "hamming_score": "Hamming score",
    "subset_accuracy": "Subset accuracy",
    "macro_f1": "Macro F1",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "pixel_auroc": "Pixel AUROC",
    "aupro": "AUPRO (FPR to .3)",
    "dice": "Dice",
}
"""How the metrics are called in tables."""

OVER_PATIENTS = "95% over patients, or over images where patients are unknown"
"""What an interval is of, where nobody says whose the images are."""

TRIVIAL_TITLES = {
    "none": "Trivial: none (predict nothing)",
    "all": "Trivial: all (predict everything)",
    "prevalence": "Trivial: prevalence",
}
"""How the trivial predictors are called in tables."""


def percent_interval(value: float, interval: Interval) -> str:
    """Write a share with its interval.

    Args:
        value: between 0 and 1, or NaN.
        interval: lower and upper end; NaN leaves the interval away.

    >>> percent_interval(0.575, (0.51, 0.632))
    '57.5 [51.0, 63.2]'
    """
    if isnan(value) or isnan(interval[0]) or isnan(interval[1]):
        return percent(value)
    return f"{percent(value)} [{percent(interval[0])}, {percent(interval[1])}]"


def protocol_tables(
    systems: Evaluation | Mapping[str, Evaluation], name: str = "This model"
) -> tuple[Table, ...]:
    """One table a protocol and one of the categories.

    Args:
        systems: one evaluation, or several by the name of the system, all of them on the same
            images.
        name: what a single evaluation is called.

    Returns:
        Protocol 1, 2, 3 and the table by category. The trivial predictors stand beside the
        systems in each protocol.

    Raises:
        InputError: if there is no system, or the systems were judged on different images.
    """
    named = {name: systems} if isinstance(systems, Evaluation) else dict(systems)
    _check_comparable(named)
    return (_general(named), _integrated(named), _category_wise(named), category_table(named))


def summary_table(systems: Mapping[str, Evaluation], title: str) -> Table:
    """One row a system with the headline figure of each protocol; fits a terminal.

    Args:
        systems: evaluations by the name of the system, all of them on the same images.
        title: heading of the table.

    Raises:
        InputError: if there is no system, or the systems were judged on different images.
    """
    _check_comparable(systems)
    any_one = _any(systems)
    nothing = any_one.trivial["none"]
    rows: list[tuple[str, ...]] = [
        (
            "predict nothing",
            "50.0",
            "50.0",
            percent(nothing["hamming_score"]),
            percent(nothing["subset_accuracy"]),
            percent(nothing["macro_f1"]),
        )
    ]
    names = ("mean_auroc", "image_auroc", "hamming_score", "subset_accuracy", "macro_f1")
    rows += [(system, *_cells(found, names)) for system, found in systems.items()]
    header = ("System", *(METRIC_TITLES[name] for name in names))
    return Table(title, header, tuple(rows), _intervals_caption(any_one))


def reliability_table(found: Reliability) -> Table:
    """One row a bin: how often what is called so likely is so.

    Args:
        found: the bins.
    """
    rows = tuple(
        (percent(predicted), percent(observed), str(cells))
        for predicted, observed, cells in zip(
            found.predicted, found.observed, found.cells, strict=True
        )
    )
    error = percent_interval(found.error, found.interval)
    caption = (
        f"Expected calibration error: {error} points; the mean gap, in brackets {OVER_PATIENTS}. "
        "Were all "
        f"probabilities right, it would stay below {percent(found.by_chance)} mostly."
    )
    header = ("Mean probability", "Share that is positive", "Cells")
    return Table("Are the probabilities right?", header, rows, caption)


def answers_table(rate: float, sides: Mapping[str, AnswerRates]) -> Table:
    """Answers at an error rate: how often they are wrong, and how often they are none.

    Args:
        rate: that was asked for.
        sides: what came out, by what the images have in common.
    """
    rows = tuple(
        (name, str(one.count), percent_interval(one.wrong, one.interval), percent(one.unsure))
        for name, one in sides.items()
    )
    header = ("", "Answers", "Wrong", "Unsure")
    title = f"Answers at an error rate of {rate:g}"
    return Table(title, header, rows, f"In brackets {OVER_PATIENTS}.")


def _check_comparable(systems: Mapping[str, Evaluation]) -> None:
    if not systems:
        raise InputError("protocol tables: no system given")
    (first_name, first), *others = systems.items()
    for name, other in others:
        if _population(other) != _population(first):
            raise InputError(
                f"protocol tables: {first_name!r} and {name!r} were judged on different images "
                "or categories; evaluate both on the same table"
            )


def _population(evaluation: Evaluation) -> list[object]:
    counts: list[object] = [
        (name, one.positives, one.negatives, one.unknown)
        for name, one in evaluation.categories.items()
    ]
    return [*counts, evaluation.images, evaluation.normal_images, evaluation.abnormal_images]


def _any(systems: Mapping[str, Evaluation]) -> Evaluation:
    return next(iter(systems.values()))


def _intervals_caption(evaluation: Evaluation) -> str:
    if not evaluation.resamples:
        return ""
    over = f"{evaluation.people}, {evaluation.resamples} resamples"
    return f"In brackets: 95% interval, bootstrap over {over}."


def _cells(evaluation: Evaluation, names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(
        percent_interval(getattr(evaluation, name), evaluation.intervals[name]) for name in names
    )


def _general(systems: Mapping[str, Evaluation]) -> Table:
    one = _any(systems)
    chance = percent(float("nan") if isnan(one.image_auroc) else 0.5)
    rows: list[tuple[str, ...]] = [(TRIVIAL_TITLES[name], chance) for name in TRIVIAL_PREDICTORS]
    rows += [(name, *_cells(system, ("image_auroc",))) for name, system in systems.items()]
    return Table(
        title="Protocol 1, general: is the image abnormal?",
        header=("System", METRIC_TITLES["image_auroc"]),
        rows=tuple(rows),
        caption=(
            f"{one.abnormal_images} abnormal against {one.normal_images} normal images; percent. "
            + _intervals_caption(one)
        ).strip(),
    )


def _integrated(systems: Mapping[str, Evaluation]) -> Table:
    one = _any(systems)
    rows = [
        (TRIVIAL_TITLES[name], *[percent(one.trivial[name][metric]) for metric in DECISION_METRICS])
        for name in TRIVIAL_PREDICTORS
    ]
    rows += [(name, *_cells(system, DECISION_METRICS)) for name, system in systems.items()]
    positives = sum(result.positives for result in one.categories.values())
    known = positives + sum(result.negatives for result in one.categories.values())
    return Table(
        title="Protocol 2, integrated: is every category decided rightly?",
        header=("System", *[METRIC_TITLES[metric] for metric in DECISION_METRICS]),
        rows=tuple(rows),
        caption=(
            f"{one.images} images, {positives} positives among {known} known labels; percent. "
            "F1, sensitivity and specificity are means over the categories. "
            + _intervals_caption(one)
        ).strip(),
    )


def _category_wise(systems: Mapping[str, Evaluation]) -> Table:
    one = _any(systems)
    shown = tuple(one.categories) if len(one.categories) <= MOST_CATEGORY_COLUMNS else ()
    chance = [
        percent(float("nan") if isnan(one.categories[category].auroc) else 0.5)
        for category in shown
    ]
    mean_chance = percent(float("nan") if isnan(one.mean_auroc) else 0.5)
    rows = [(TRIVIAL_TITLES[name], mean_chance, *chance) for name in TRIVIAL_PREDICTORS]
    rows += [
        (
            name,
            *_cells(system, ("mean_auroc",)),
            *[percent(system.categories[category].auroc) for category in shown],
        )
        for name, system in systems.items()
    ]
    positives = [f"{one.categories[category].positives}" for category in shown]
    total = sum(result.positives for result in one.categories.values())
    elsewhere = "" if shown else "The single categories are in the table by category. "
    return Table(
        title="Protocol 3, category-wise: AUROC of each category",
        header=("System", METRIC_TITLES["mean_auroc"], *shown),
        rows=(*rows, ("Positives", f"{total}", *positives)),
        caption=(
            "Percent. The mean is over the categories that have an AUROC. "
            + elsewhere
            + _intervals_caption(one)
        ).strip(),
    )


def category_table(systems: Evaluation | Mapping[str, Evaluation]) -> Table:
    """One row a category: how many labels there are and what each system reaches on them.

    Args:
        systems: one evaluation, or several by name, on the same images. A single one also gets
            the columns of protocol 2, and DeLong's interval where one is defined.

    Returns:
        The table; AUROC with its 95% interval, and a note where a number is missing or weak.

    Raises:
        InputError: if there is no system, or the systems were judged on different images.
    """
    named = {"": systems} if isinstance(systems, Evaluation) else dict(systems)
    _check_comparable(named)
    one = _any(named)
    alone = len(named) == 1
    columns = ("AUROC", "F1", "Sensitivity", "Specificity") if alone else tuple(named)
    delong = alone and any(result.delong for result in one.categories.values())
    if delong:
        columns = ("AUROC", "DeLong", *columns[1:])
    rows = []
    for category, result in one.categories.items():
        values = [_auroc_cell(system.categories[category]) for system in named.values()]
        if delong:
            values.append(_delong_cell(result))
        if alone:
            values += map(percent, (result.f1, result.sensitivity, result.specificity))
        counts = [f"{n}" for n in (result.positives, result.negatives, result.unknown)]
        rows.append((category, *counts, *values, result.note))
    what = "" if alone else "One column a system: AUROC. "
    said = " DeLong: 95% interval of the AUROC from its variance." if delong else ""
    return Table(
        title="By category",
        header=("Category", "Positives", "Negatives", "Unknown", *columns, "Note"),
        rows=tuple(rows),
        caption=f"Percent. {what}{_intervals_caption(one)}{said}".strip(),
    )


def _auroc_cell(result: CategoryResult) -> str:
    return percent_interval(result.auroc, result.interval)


def _delong_cell(result: CategoryResult) -> str:
    if result.delong is None:
        return MISSING
    return f"[{percent(result.delong[0])}, {percent(result.delong[1])}]"
