"""``docs/coverage.md``: how often the printed intervals hold the truth, by simulation.

Run ``make coverage``; it goes on where it was interrupted. With ``--group`` the cases of one table
are run alone: what the page tells of the others, of the same statistics, stays, and it says so.
Every interval is the package's own, of data from :mod:`benchmarks.coverage_worlds` and
:mod:`benchmarks.coverage_people`, whose truth is known.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from scipy import stats

from benchmarks.coverage_people import Answered, Periods, Readers, Verdicts
from benchmarks.coverage_worlds import Chances, Draw, Pictures, Rng, World
from benchmarks.made_with import LINE, made, now, write_page
from sdmad.detector.head import thresholds_at
from sdmad.evaluation.agreement import agreement
from sdmad.evaluation.answers import answer_rates
from sdmad.evaluation.columns import Column, evaluate_columns
from sdmad.evaluation.delong import delong_auroc
from sdmad.evaluation.drift import changes
from sdmad.evaluation.intervals import (
    DrawSummary,
    PairedDifference,
    evaluation_intervals,
    paired_difference,
    summarise_categories,
    summarise_draws,
)
from sdmad.evaluation.limits import LEVEL
from sdmad.evaluation.pixel_intervals import pixel_difference, summarise_pixels
from sdmad.evaluation.reliability import reliability
from sdmad.output import write_json
from sdmad.serve.reader_study import results
from sdmad.table import MISSING, Table

LOW, HIGH = 0.93, 0.97
"""What an interval at 95% should cover."""

ERRORS = 2
"""Deviations of chance by which coverage must lie outside to be told."""

TIMES, RESAMPLES = 600, 100
FIRST = 2
"""Simulations by which a case is known again."""

Ends = tuple[float, float, float]
Place = tuple[str, str]
"""Of a case: its group and its name."""


@dataclass(frozen=True)
class Case:
    """One way in which data arise.

    Attributes:
        group: the table that it stands in.
        name: its row.
        draw: data and intervals, once.
        times: how often.
    """

    group: str
    name: str
    draw: Draw
    times: int = TIMES

    @property
    def seed(self) -> int:
        """Of its chance: its own, whatever else is run."""
        return int.from_bytes(hashlib.sha256(f"{self.group} {self.name}".encode()).digest()[:6])


@dataclass(frozen=True)
class Held:
    """How often one kind of interval held the truth.

    Attributes:
        times: how often it was there.
        share: of these in which it held the truth.
        below: share in which the truth lay below it.
        width: mean.
    """

    times: int
    share: float
    below: float = float("nan")
    width: float = float("nan")

    @classmethod
    def of(cls, ends: Sequence[Ends]) -> Held:
        """From truth, lower and upper end of each time that there is an interval."""
        told = np.array([one for one in ends if not np.isnan(one[1])])
        if not len(told):
            return cls(0, float("nan"))
        truth, low, high = told.T
        held = (low - 1e-9 <= truth) & (truth <= high + 1e-9)
        below = truth < low - 1e-9
        return cls(len(told), *(float(x.mean()) for x in (held, below, high - low)))

    @property
    def error(self) -> float:
        """Deviation of the share by chance, were it as nominal."""
        return float(np.sqrt(LEVEL * (1 - LEVEL) / max(self.times, 1)))

    @property
    def side(self) -> int:
        """-1 where it covers too seldom by more than chance, 1 too often, else 0."""
        reach = ERRORS * self.error
        return int(self.share > HIGH + reach) - int(self.share < LOW - reach)

    @property
    def cell(self) -> str:
        """For the table."""
        if not self.times:
            return MISSING
        return f"{100 * self.share:.1f}" + {-1: " (low)", 0: "", 1: " (high)"}[self.side]


Found = dict[Place, dict[str, Held]]


def summaries(found: Mapping[str, DrawSummary], truth: Mapping[str, float]) -> dict[str, Ends]:
    """Truth and ends of each metric whose truth is known."""
    return {name: (value, found[name].low, found[name].high) for name, value in truth.items()}


def gaps(found: Mapping[str, PairedDifference]) -> dict[str, Ends]:
    """The same of differences between systems that are as good as each other."""
    return {name: (0.0, gap.low, gap.high) for name, gap in found.items()}


def single(world: World) -> Draw:
    """Every metric of an evaluation, one draw; and what is printed of its first category."""

    def draw(rng: Rng, seed: int) -> dict[str, Ends]:
        drawn = world.draw(rng)
        scored = drawn.systems[0][0]
        found = evaluation_intervals(scored, RESAMPLES, seed)
        truth = drawn.world.truth(drawn.labels)
        ends = {name: (value, *found.summary[name]) for name, value in truth.items()}
        ends["category_auroc"] = (truth["mean_auroc"], *found.category_auroc[0])
        if world.images == 1:
            delong = delong_auroc(scored.labels[:, 0], scored.scores[:, 0])
            ends["delong"] = (truth["mean_auroc"], delong.low, delong.high)
        return ends

    return draw


def means(worlds: Mapping[str, World]) -> Draw:
    """The mean AUROC of several worlds, a column each."""

    def draw(rng: Rng, seed: int) -> dict[str, Ends]:
        ends = {}
        for column, world in worlds.items():
            drawn = world.draw(rng)
            found = summarise_draws(drawn.systems[0], RESAMPLES, seed)["mean_auroc"]
            ends[column] = (drawn.world.truth(drawn.labels)["mean_auroc"], found.low, found.high)
        return ends

    return draw


def several(world: World) -> Draw:
    """Every metric over several draws, and its first category's AUROC.

    That over these draws and over these patients alone, too.
    """

    def draw(rng: Rng, seed: int) -> dict[str, Ends]:
        drawn = world.draw(rng)
        found = summarise_draws(drawn.systems[0], RESAMPLES, seed)
        truth = drawn.world.truth(drawn.labels)
        ends = summaries(found, truth)
        one = summarise_categories(drawn.systems[0], RESAMPLES, seed)[0]
        ends["category_auroc"] = (truth["mean_auroc"], one.low, one.high)
        ends["draws_alone"] = (drawn.of_these_patients, *found["hamming_score"].draws)
        ends["patients_alone"] = (drawn.of_these_draws, *found["mean_auroc"].cases)
        return ends

    return draw


def paired(world: World) -> Draw:
    """Differences of two systems that are as good as each other."""

    def draw(rng: Rng, seed: int) -> dict[str, Ends]:
        a, b = world.draw(rng, systems=2).systems
        return gaps(paired_difference(a, b, RESAMPLES, seed))

    return draw


def pixels(pictures: Pictures, systems: int = 1) -> Draw:
    """Pixel metrics of a system, or of one less another that is as good."""
    truth = pictures.truth()

    def draw(rng: Rng, seed: int) -> dict[str, Ends]:
        drawn = pictures.draw(rng, systems)
        if systems == 2:
            return gaps(pixel_difference(drawn[0], drawn[1], RESAMPLES, seed))
        return summaries(summarise_pixels(drawn[0], RESAMPLES, seed), truth)

    return draw


@lru_cache
def true_error(world: Chances) -> float:
    """Its truth, once."""
    return world.truth()


def calibration(worlds: Mapping[str, Chances]) -> Draw:
    """The expected calibration error of several worlds, a column each."""

    def draw(rng: Rng, seed: int) -> dict[str, Ends]:
        return {
            column: (true_error(world), *reliability(*world.draw(rng), RESAMPLES, seed).interval)
            for column, world in worlds.items()
        }

    return draw


def columns(world: World) -> Draw:
    """Every metric of an archive's scores, which are not resampled; and of its first category."""

    def draw(rng: Rng, seed: int) -> dict[str, Ends]:
        del seed
        drawn = world.draw(rng)
        scored = drawn.systems[0][0]
        parts = zip(scored.labels.T, scored.scores.T, scored.decisions.T, strict=True)
        read = {str(k): Column(*part) for k, part in enumerate(parts)}
        patients = np.array(scored.patients)
        known = np.zeros(len(patients), np.bool_)
        found = evaluate_columns(
            tuple(read), read.__getitem__, scored.abnormality, scored.normal, patients, known
        )
        truth = drawn.world.truth(drawn.labels)
        ends = {name: (value, *found.intervals[name]) for name, value in truth.items()}
        ends["category_auroc"] = (truth["mean_auroc"], *found.categories["0"].interval)
        return ends

    return draw


def agreeing(worlds: Mapping[str, Verdicts]) -> Draw:
    """Kappa in several worlds, a column each."""

    def draw(rng: Rng, seed: int) -> dict[str, Ends]:
        ends = {}
        for column, world in worlds.items():
            found = agreement(*world.draw(rng), RESAMPLES, seed)
            ends[column] = (world.kappa, found.low, found.high)
        return ends

    return draw


def studied(world: Readers) -> Draw:
    """What a reader study prints: of all readers there are, of the first one, of these readers."""
    without, shown = world.aurocs()

    def draw(rng: Rng, seed: int) -> dict[str, Ends]:
        del seed
        study = world.draw(rng)
        found = results(study.answers, study.truths, ["finding"], RESAMPLES)
        own = study.aurocs_of_first
        told = {
            "without": (without, found.accuracy[0].without),
            "with": (shown, found.accuracy[0].with_findings),
            "difference": (shown - without, found.accuracy[0].difference),
            "a_reader's": (own[0], found.accuracy[1].without),
            "his_difference": (own[1] - own[0], found.accuracy[1].difference),
            "kappa_without": (study.kappa(False), found.kappa[0].kappa),
            "kappa_with": (study.kappa(True), found.kappa[1].kappa),
            "seconds": (study.saved, found.time[0].difference),
        }
        return {name: (truth, one.low, one.high) for name, (truth, one) in told.items()}

    return draw


def answered(worlds: Mapping[str, Answered]) -> Draw:
    """The share of answers that say the contrary in several worlds, a column each."""

    def draw(rng: Rng, seed: int) -> dict[str, Ends]:
        return {
            column: (
                world.wrong,
                *answer_rates(*world.draw(rng), False, RESAMPLES, seed).interval,
            )
            for column, world in worlds.items()
        }

    return draw


def monitored(worlds: Sequence[Periods]) -> Draw:
    """What is told of a period beside another in several worlds, two columns each."""

    def draw(rng: Rng, seed: int) -> dict[str, Ends]:
        del seed
        ends = {}
        for world in worlds:
            before, after = world.draw(rng)
            found = changes(before, after, [""])
            ends[f"share {world.share:g}"] = (world.share, *found[1].interval)
            ends[f"above {world.above:g}"] = (world.above, *found[0].interval)
        return ends

    return draw


ONE, FEW, MEAN = "One draw", "Few patients with a positive", "Mean AUROC, categories rare"
DRAWS, PAIRED = "Several draws", "Paired differences, two systems as good as each other"
PIXELS, CALIBRATION = "Pixel metrics", "Expected calibration error"
ARCHIVES, MONITOR = "Scores of an archive, not resampled", "A period of a monitored archive"
ANSWERS = "Answers: the share that says the contrary"
KAPPA, STUDIES = "Agreement of readers: kappa", "Reader studies"
RANKINGS = (0.6, 0.76, 0.9, 0.96, 0.99)
MANY = (0.3, 0.2, 0.2, 0.15, 0.1, 0.1, 0.1, 0.1, 0.05, 0.05, 0.05, 0.05)
FOUR = (0.3, 0.2, 0.2, 0.15)


def cases() -> Iterator[Case]:
    """All of them, in the order of the page."""
    worlds = {
        "60 patients, 2 categories, .80": World(60, (0.3, 0.3), auroc=0.8, right=0.8),
        "60 patients, 2 categories, .95": World(60, (0.3, 0.3), auroc=0.95, right=0.95),
        "60 patients of 3 images, .80": World(60, (0.3, 0.3), auroc=0.8, right=0.8, images=3),
        "150 patients, 4 categories, .80": World(150, FOUR, auroc=0.8, right=0.8),
        "150 patients, 4 categories, .95": World(150, FOUR, auroc=0.95, right=0.95),
        "positives twice as spread, .80": World(150, FOUR, auroc=0.8, right=0.8, spread=2.0),
        "150 patients, 12 categories, .90": World(150, MANY, auroc=0.9, right=0.9),
    }
    yield from (Case(ONE, name, single(world)) for name, world in worlds.items())
    for spread, told in ((1.0, ""), (2.0, ", twice as spread")):
        for count in (2, 3, 5, 10):
            world = World(count + 100, positives=(count,), spread=spread)
            columns = {f".{100 * a:.0f}": replace(world, auroc=a) for a in RANKINGS}
            yield Case(FEW, f"{count} positives{told}", means(columns))
    mixed, dozen = (20, 40, 5, 3), (5,) * 12
    for told, counts, draws in (
        ("of 20, 40, 5 and 3 patients", mixed, 1),
        ("of 20, 40, 5 and 3 patients, 5 draws", mixed, 5),
        ("4 of 3 patients", (3,) * 4, 1),
        ("12 of 5 patients", dozen, 1),
    ):
        world = World(150, positives=counts, draws=draws, wander=0.2 * (draws > 1))
        columns = {f".{100 * a:.0f}": replace(world, auroc=a) for a in RANKINGS}
        yield Case(MEAN, told, means(columns), TIMES if draws == 1 else TIMES // 2)
    for draws in (3, 5, 10, 20):
        for told, wander in (("not at all", 0.0), ("little", 0.15), ("much", 0.6)):
            world = World(draws=draws, wander=wander)
            times = TIMES if draws < 10 else TIMES // 2
            yield Case(DRAWS, f"{draws} draws that differ {told}", several(world), times)
    for draws in (1, 3, 5, 10, 20):
        for own in (0.5, 0.9):
            world = World(draws=draws, wander=0.3 * (draws > 1), own=own)
            times = TIMES if draws < 5 else TIMES // 2
            name = f"{draws} draw{'s' * (draws > 1)}, {100 * own:.0f}% of the noise common"
            yield Case(PAIRED, name, paired(world), times)
    rare = World(150, (0.3, 0.2, 0.05, 0.03), auroc=0.9, right=0.9)
    yield Case(PAIRED, "1 draw, rare categories among them", paired(rare))
    for count in (20, 40, 100):
        yield Case(PIXELS, f"{count} patients", pixels(Pictures(count)), TIMES // 2)
    yield Case(PIXELS, "40 patients, 3 draws", pixels(Pictures(40, 3, 0.3)), TIMES // 2)
    yield Case(PIXELS, "40 patients, difference", pixels(Pictures(40), 2), TIMES // 2)
    moved = pixels(Pictures(40, 3, 0.3), 2)
    yield Case(PIXELS, "40 patients, 3 draws, difference", moved, TIMES // 2)
    for patients, images in ((60, 1), (150, 1), (400, 1), (60, 3)):
        bent = {f"bent {b:g}": Chances(patients, b, images) for b in (1.0, 1.2, 1.5, 2.0, 3.0)}
        told = f"{patients} patients" + (f" of {images} images" if images > 1 else "")
        yield Case(CALIBRATION, told, calibration(bent), TIMES // 2)
    yield from archives()
    yield from readers()


def archives() -> Iterator[Case]:
    """Those of very many images, and of answers."""
    worlds = {
        "150 patients, 4 categories, .80": World(150, FOUR, auroc=0.8, right=0.8),
        "150 patients, 4 categories, .95": World(150, FOUR, auroc=0.95, right=0.95),
        "60 patients of 3 images, .80": World(60, (0.3, 0.3), auroc=0.8, right=0.8, images=3),
        "2,000 patients of 3 images, rare categories among them, .90": World(
            2000, (0.1, 0.01, 0.003), auroc=0.9, right=0.9, images=3
        ),
    }
    yield from (Case(ARCHIVES, name, columns(world)) for name, world in worlds.items())
    many = World(10_000, (0.05, 0.002), auroc=0.9, right=0.9, images=5)
    yield Case(ARCHIVES, "10,000 patients of 5 images, .90", columns(many), TIMES // 2)
    for images, each in ((30, 1), (200, 1), (2000, 1), (600, 3)):
        pairs = zip((0.01, 0.05, 0.3), (0.5, 0.7, 0.9), strict=True)
        periods = [Periods(images, share, above, each) for share, above in pairs]
        told = f"{images:,} images" + (f", {each} of each patient" if each > 1 else "")
        yield Case(MONITOR, told, monitored(periods))
    for patients, images, asked in ((60, 1, 0.8), (150, 1, 0.8), (150, 1, 0.05), (60, 3, 0.8)):
        rates = {f"{100 * w:g}%": Answered(patients, w, images, asked) for w in (0.01, 0.05, 0.2)}
        told = f"{patients} patients" + (f" of {images} images" if images > 1 else "")
        yield Case(ANSWERS, f"{told}, {100 * asked:.0f}% of the labels", answered(rates))


def readers() -> Iterator[Case]:
    """Those of readers."""
    for told, world in {
        "2 readers, 30 patients": Verdicts(30, 0.0),
        "2 readers, 100 patients": Verdicts(100, 0.0),
        "2 readers, 100 patients, one in 20 yes": Verdicts(100, 0.0, yes=0.05),
        "4 readers, 60 patients": Verdicts(60, 0.0, readers=4),
        "2 readers, 40 patients of 3 images": Verdicts(40, 0.0, images=3),
    }.items():
        agreed = {f".{100 * k:.0f}": replace(world, kappa=k) for k in (0.2, 0.5, 0.8, 0.9)}
        yield Case(KAPPA, told, agreeing(agreed))
    for told, study in {
        "2 readers, 60 patients": Readers(readers=2),
        "4 readers, 60 patients": Readers(),
        "4 readers, 40 patients of 3 images": Readers(40, images=3),
        "8 readers, 60 patients": Readers(readers=8),
    }.items():
        yield Case(STUDIES, told, studied(study), TIMES // 2)


def simulate(case: Case, times: int) -> dict[str, Held]:
    """How often each of a case's intervals held the truth."""
    rng = np.random.default_rng(case.seed)
    found: dict[str, list[Ends]] = {}
    for seed in range(times):
        for name, ends in case.draw(rng, seed).items():
            found.setdefault(name, []).append(ends)
    return {name: Held.of(ends) for name, ends in found.items()}


def rates() -> Table:
    """The rate of false positives of a new normal image, at thresholds from m others."""
    rng, rows = np.random.default_rng(0), []
    for rate, counts in ((0.05, (19, 20, 40, 60, 100)), (0.01, (99, 150, 200, 500))):
        for count in counts:
            limits = thresholds_at(rng.normal(size=(count, 40_000)), rate)
            chance = stats.norm.sf(limits)
            error = 100 * chance.std() / len(chance) ** 0.5
            rows.append((f"{rate:g}", str(count), f"{100 * chance.mean():.2f} ± {error:.2f}"))
    header = ("fpr", "normal images", "of new ones above, %")
    return Table("The rule fpr:RATE", header, tuple(rows), "")


def fingerprint(case: Case) -> str:
    """A hash of what the first simulations of a case give: figures of other intervals go unused.

    Args:
        case: drawn as :func:`simulate` draws it.
    """
    rng = np.random.default_rng(case.seed)
    first = [case.draw(rng, seed) for seed in range(FIRST)]
    told = [{name: np.round(ends, 9).tolist() for name, ends in one.items()} for one in first]
    return hashlib.sha256(repr(told).encode()).hexdigest()


def run(folder: Path, groups: Collection[str] = ()) -> Found:
    """Run what is missing, a file a case.

    Args:
        folder: of the files.
        groups: those whose cases are run; all when there is none. Of others what is there is taken.
    """
    found = {}
    for case in cases():
        current = fingerprint(case)
        path = folder / f"{case.seed:x}.json"
        kept = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        if (kept.get("fingerprint"), kept.get("times")) != (current, case.times):
            if groups and case.group not in groups:
                continue
            start = time.monotonic()
            held = simulate(case, case.times)
            values = {name: [h.times, h.share, h.below, h.width] for name, h in held.items()}
            kept = {"fingerprint": current, "times": case.times, "held": values}
            folder.mkdir(parents=True, exist_ok=True)
            write_json(path, kept)
            told = ", ".join(f"{name} {one.cell}" for name, one in held.items())
            print(
                f"{case.group}: {case.name}: {told}; {time.monotonic() - start:.0f} s", flush=True
            )
        found[case.group, case.name] = {name: Held(*v) for name, v in kept["held"].items()}
    return found


def told_before(page: Path) -> Found:
    """What a page tells of the cases, if it is of the same statistics; widths it does not tell."""
    text = page.read_text("utf-8") if page.exists() else ""
    if made(text).get("statistics") != now("coverage.md")["statistics"]:
        return {}
    _, *parts = re.split("^### ", LINE.sub("", text), flags=re.MULTILINE)
    by_group = {part.partition("\n")[0]: part.splitlines() for part in parts}
    found: Found = {}
    for case in cases():
        rows = [line.strip("| ").split(" | ") for line in by_group.get(case.group, ())]
        rows = [row for row in rows if len(row) > 1]
        titles = rows[0] if rows else []
        for name, *cells in rows:
            if name == case.name:
                told = zip(titles[-len(cells) :], cells, strict=True)
                found[case.group, name] = {
                    COLUMNS.get(title, title): Held(case.times, float(cell.split()[0]) / 100)
                    for title, cell in told
                    if cell != MISSING
                }
    return found


TITLES = {
    "mean_auroc": "mean AUROC",
    "image_auroc": "image AUROC",
    "hamming_score": "Hamming",
    "subset_accuracy": "subset",
    "macro_f1": "macro F1",
    "category_auroc": "a category's AUROC",
    "delong": "DeLong",
    "draws_alone": "draws alone",
    "patients_alone": "patients alone",
    "pixel_auroc": "pixel AUROC",
    "aupro": "AUPRO",
    "dice": "Dice",
    "a_reader's": "a reader's",
    "his_difference": "his difference",
    "kappa_without": "kappa without",
    "kappa_with": "kappa with",
    "seconds": "seconds saved",
}
COLUMNS = {title: name for name, title in TITLES.items()}
CAPTIONS = {
    ONE: ".80 and the like are the true AUROC and share of right decisions. DeLong's interval "
    "stands beside the package's own where every patient has one image; it is not mended.",
    FEW: "Columns: the true AUROC of one category, 100 patients without it. Normal scores; in the "
    "lower half those of the positives have twice the deviation.",
    MEAN: "Columns: the true AUROC of every category; 150 patients.",
    DRAWS: "80 patients, 2 categories, AUROC .85, 80% of the decisions right; the separation's "
    "deviation over draws is 0, .15 and .6. Draws alone: Student's interval of the Hamming score, "
    "on these patients. Patients alone: of the mean AUROC, of these draws.",
    PAIRED: "80 patients; with several draws these differ (.3). The truth is 0.",
    PIXELS: "Half of the patients have one lesion; the draws' contrast differs by .3.",
    CALIBRATION: "Columns: what true log odds are multiplied by in the probabilities; 1 is right.",
    ARCHIVES: "What evaluate does with --scores above 200,000 images; here of fewer, since few "
    "patients are the harder case.",
    MONITOR: "Share: of the images in which something is found, or that are unfamiliar (the true "
    "one). Above: how often a score of the period lies above one of the reference. Images count as "
    "independent.",
    ANSWERS: "Columns: the true share. Images without the finding; what share of the labels are "
    "those. A patient's images have half of what makes an answer wrong in common.",
    KAPPA: "Columns: the true kappa of any two readers with all patients there are; three in ten "
    "say yes.",
    STUDIES: "Without and with the findings, and the difference: AUROC of all readers and patients "
    "there are; then that of one reader. Kappa and seconds: of these readers.",
}
REASONS = {
    ONE: "DeLong's variance is too small where few are misranked. The package's own interval of an "
    "AUROC counts patients, not images, so it is wide where images of one patient differ; and near "
    "1 it is wide where scores are as regular as here.",
    FEW: "Too often: Hanley and McNeil's variance is that of scores less regular than these. Too "
    "seldom: two to five positives whose scores are spread otherwise than the negatives', mostly "
    "at an AUROC near .6; so few tell little of their spread.",
    MEAN: "Too often, for the same reason, the more so the nearer to 1 all categories are.",
    DRAWS: "Reaches that are added as squares may cover a little more than both together must.",
    PAIRED: "Where few patients are misranked, Student's t makes a difference wide.",
    PIXELS: "Few lesions tell little of their own variance.",
    CALIBRATION: "Where noise is as large as the gaps, their signs are not known.",
    ARCHIVES: "AUROC too often, as above where patients are resampled. Sensitivity too seldom "
    "where one of the categories that it is the mean of is shown by some twenty patients: nearly "
    "all are found, and the few that are not tell little of how they vary.",
    MONITOR: "Where patients have several images, intervals are too narrow: scores do not tell "
    "whose they are.",
    ANSWERS: "Few who are wrong tell little of how they hang together.",
    KAPPA: "The formula is one of two readers and of one image a patient; of few it counts.",
    STUDIES: "As with several draws; seconds are skewed.",
}
"""What is to be said of a group in which something lies outside."""

HEAD = """# Do the intervals hold?
Written by `make coverage`; do not edit by hand. How often, in percent, an interval at 95% holds the
truth: data are drawn from a world whose truth is known, the package makes its interval, and so
{times} times, some cases {half} times. What is aimed at is {low:.0f} to {high:.0f}. By chance alone
a figure is off by {error:.1f}, of {half} times by {half_error:.1f}: one deviation. "low" and "high"
mark what lies outside by more than two. The package takes 1000 resamples of the patients; here it
gets {resamples}, which is enough for a variance.

How the intervals are made: [decisions and numbers](decisions.md). The interval of one draw speaks
of new patients, not of another support set; only several draws tell of that.

{parts}{count} figures: {inside} within, {high_count} too high, {low_count} too low. Without
regard to chance {plainly} lie within {low:.0f} to {high:.0f}.

"""


def parts_told(found: Collection[Place], before: Collection[Place]) -> str:
    """Which cases are of an earlier run, and which there are none of.

    Args:
        found: those that the page shows.
        before: those of them that an earlier run had.
    """
    lacking = [(case.group, case.name) for case in cases() if (case.group, case.name) not in found]
    told = {"Of an earlier run of the same statistics": before, "Not run so far": lacking}
    return "".join(
        f"{what}: {'; '.join(f'{group}, {name}' for group, name in places)}.\n\n"
        for what, places in told.items()
        if places
    )


def page(found: Mapping[Place, Mapping[str, Held]], before: Collection[Place] = ()) -> str:
    """The whole page.

    Args:
        found: how often the intervals of each case held.
        before: those cases that an earlier run had.
    """
    parts = []
    for group in CAPTIONS:
        rows = {name: held for (place, name), held in found.items() if place == group}
        columns = list(dict.fromkeys(column for held in rows.values() for column in held))
        header = ("", *(TITLES.get(column, column.replace("_", " ")) for column in columns))
        cells = [
            (name, *(held[c].cell if c in held else MISSING for c in columns))
            for name, held in rows.items()
        ]
        parts.append(Table(group, header, tuple(cells), CAPTIONS[group]).markdown())
        marked = {one.side for held in rows.values() for one in held.values()} - {0}
        parts += [REASONS[group] + "\n"] if marked else []
    parts.append(rates().markdown())
    told = [one for held in found.values() for one in held.values() if one.times]
    sides = [one.side for one in told]
    errors = [Held(TIMES // part, LEVEL).error for part in (1, 2)]
    head = HEAD.format(
        times=TIMES, half=TIMES // 2, resamples=RESAMPLES,
        low=100 * LOW, high=100 * HIGH, error=100 * errors[0], half_error=100 * errors[1],
        count=len(sides), inside=sides.count(0),
        high_count=sides.count(1), low_count=sides.count(-1),
        parts=parts_told(found, before),
        plainly=sum(LOW <= one.share <= HIGH for one in told),
    )  # fmt: skip
    return head + "\n".join(parts)


def main() -> None:
    """Simulate and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("out/coverage"))
    parser.add_argument("--docs", type=Path, default=Path("docs/coverage.md"))
    parser.add_argument("--group", action="append", help="run the cases of these tables only")
    options = parser.parse_args()
    found = run(options.out, options.group or ())
    before = {
        place: held for place, held in told_before(options.docs).items() if place not in found
    }
    every = [(case.group, case.name) for case in cases()]
    both = before | found
    write_page(options.docs, page({one: both[one] for one in every if one in both}, before))


if __name__ == "__main__":
    main()
