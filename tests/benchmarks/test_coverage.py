"""Intervals hold what they say: a quick look at each kind, and the worlds' truths by force."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks import coverage, made_with
from benchmarks.coverage import (
    Held,
    agreeing,
    answered,
    calibration,
    columns,
    means,
    monitored,
    paired,
    pixels,
    several,
    simulate,
    single,
    studied,
)
from benchmarks.coverage_people import Answered, Periods, Readers, Verdicts
from benchmarks.coverage_worlds import Chances, Pictures, World
from sdmad.evaluation.agreement import agreement
from sdmad.evaluation.answers import answer_rates
from sdmad.evaluation.delong import delong_auroc
from sdmad.evaluation.metrics import image_auroc, mean_auroc
from sdmad.evaluation.pixel_intervals import summarise_pixels
from sdmad.evaluation.protocols import decision_metrics
from sdmad.serve.reader_study import results

HIGH = World(60, (0.3, 0.3), auroc=0.95, right=0.95)
QUICK = {
    "one draw near 1": (single(HIGH), 80),
    "images of one patient": (single(replace(HIGH, images=3)), 60),
    "five positives": (means({"": World(105, positives=(5,), auroc=0.96)}), 80),
    "a mean with rare ones": (means({"": World(150, positives=(40, 5, 3), auroc=0.9)}), 60),
    "three draws": (several(World(draws=3, wander=0.15)), 60),
    "five draws that differ much": (several(World(draws=5, wander=0.6)), 50),
    "differences": (paired(World(draws=3, wander=0.3)), 50),
    "pixels": (pixels(Pictures(40)), 50),
    "calibration": (calibration({"right": Chances(80), "bent": Chances(80, bent=2.0)}), 60),
    "an archive": (columns(replace(HIGH, images=3)), 80),
    "a period": (monitored([Periods(200, 0.05, 0.7)]), 80),
    "answers": (answered({"few": Answered(60, 0.01), "more": Answered(60, 0.2, images=3)}), 80),
    "kappa": (agreeing({"low": Verdicts(60, 0.2, yes=0.1), "high": Verdicts(60, 0.9)}), 80),
    "a reader study": (studied(Readers(40, readers=3)), 40),
}
NOT_OURS = "delong"


@pytest.mark.parametrize("kind", QUICK)
def test_intervals_cover(kind):
    draw, times = QUICK[kind]
    found = simulate(coverage.Case("quick", kind, draw), times)
    assert found
    low = {name: held.share for name, held in found.items() if held.side < 0 and name != NOT_OURS}
    assert not low
    assert all(held.times == times for name, held in found.items() if name != NOT_OURS)


def test_what_is_told_of_a_simulation():
    ends = [(0.5, 0.4, 0.6)] * 90 + [(0.5, 0.6, 0.8)] * 10 + [(0.5, np.nan, np.nan)] * 7
    held = Held.of(ends)
    assert (held.times, held.share, held.below) == (100, 0.9, 0.1)
    assert held.width == pytest.approx(0.2)
    assert held.cell == "90.0"  # 3 below 93, but 2 errors are 4.4
    assert Held.of(ends[:90] * 10 + ends[90:100] * 10).cell == "90.0 (low)"
    assert Held.of(ends[:90] * 10).cell == "100.0 (high)"
    assert Held.of(ends[100:]).cell == "n/a"


def test_a_worlds_truth_is_that_of_very_many_patients():
    world = World(20_000, (0.3, 0.1), auroc=0.8, right=0.7, draws=40, wander=0.5, spread=2.0)
    drawn = world.draw(np.random.default_rng(0))
    truth = world.truth(drawn.labels)
    found = []
    for one in drawn.systems[0]:
        found.append(decision_metrics(one.labels, one.decisions))
        found[-1]["mean_auroc"] = mean_auroc(one.labels, one.scores)
        found[-1]["image_auroc"] = image_auroc(one.abnormal, one.abnormality)
    for name, value in truth.items():
        values = np.array([one[name] for one in found])
        error = values.std() / len(values) ** 0.5
        assert values.mean() == pytest.approx(value, abs=3.5 * error), name
    rights = np.mean([one["hamming_score"] for one in found])
    assert drawn.of_these_patients == pytest.approx(rights, abs=0.03)
    aurocs = np.mean([one["mean_auroc"] for one in found])
    assert drawn.of_these_draws == pytest.approx(aurocs, abs=0.005)


def test_pictures_truth_is_that_of_many():
    pictures = Pictures(600)
    found = summarise_pixels(pictures.draw(np.random.default_rng(0))[0], 40)
    for name, value in pictures.truth().items():
        assert found[name].low <= value <= found[name].high, name
        assert found[name].high - found[name].low < 0.08


def test_chances_truth_is_that_of_many():
    assert Chances().truth() == 0
    from sdmad.evaluation.reliability import reliability

    world = Chances(40_000, bent=2.0)
    error = reliability(*world.draw(np.random.default_rng(0)), resamples=0).error
    assert error == pytest.approx(world.truth(), abs=0.003)


@pytest.mark.parametrize(("kappa", "yes"), [(0.2, 0.3), (0.9, 0.3), (0.2, 0.05)])
def test_verdicts_agree_as_asked(kappa, yes):
    world = Verdicts(40_000, kappa, readers=3, images=2, yes=yes)
    verdicts, patients = world.draw(np.random.default_rng(0))
    assert verdicts.mean() == pytest.approx(yes, abs=0.004)
    assert agreement(verdicts, patients, resamples=0).kappa == pytest.approx(kappa, abs=0.02)


def test_answers_and_periods_are_as_asked():
    rng = np.random.default_rng(0)
    found = answer_rates(*Answered(20_000, 0.05, images=2).draw(rng), False, resamples=0)
    assert found.wrong == pytest.approx(0.05, abs=0.003)
    assert found.unsure == pytest.approx(Answered.UNSURE, abs=0.006)
    before, after = Periods(40_000, 0.1, 0.7, each=2).draw(rng)
    labels = np.repeat([0.0, 1.0], 40_000)
    area = delong_auroc(labels, np.concatenate([before.scores[0], after.scores[0]])).auroc
    assert area == pytest.approx(0.7, abs=0.008)
    assert after.found[0] / after.images == pytest.approx(0.1, abs=0.006)
    assert after.unfamiliar / after.images == pytest.approx(0.1, abs=0.006)


def test_a_studys_truth_is_that_of_very_many_patients():
    study = Readers(6000, readers=3, images=2).draw(np.random.default_rng(0))
    found = results(study.answers, study.truths, ["finding"], resamples=0)
    first = found.accuracy[1]
    told = (first.without.value, first.with_findings.value)
    assert told == pytest.approx(study.aurocs_of_first, abs=0.015)
    kappas = [one.kappa.value for one in found.kappa]
    assert kappas == pytest.approx([study.kappa(False), study.kappa(True)], abs=0.02)
    assert found.time[0].difference.value == pytest.approx(study.saved, rel=0.05)
    # Over all readers there are: of many, each with all patients.
    world = replace(study.world, readers=20_000)
    moves = np.random.default_rng(0).normal(size=world.readers) * world.wander
    means = [world.auroc(separation + moves).mean() for separation in world.separations]
    assert means == pytest.approx(world.aurocs(), abs=0.002)


def test_the_page_marks_what_lies_outside(monkeypatch):
    case = coverage.Case(coverage.ONE, "a world", lambda rng, seed: {})
    held = {"mean_auroc": Held(1000, 0.95, 0.02, 0.1), "delong": Held(1000, 0.8, 0.2, 0.1)}
    monkeypatch.setattr(coverage, "rates", lambda: coverage.Table("Rates", ("",), ()))
    page = coverage.page({(case.group, case.name): held})
    assert "| a world | 95.0 | 80.0 (low) |" in page
    assert "2 figures: 1 within, 0 too high, 1 too low. Without\nregard" in page
    assert "to chance 1 lie within 93 to 97." in page
    assert "DeLong's variance is too small" in page
    assert coverage.REASONS[coverage.FEW] not in page


@pytest.fixture
def forgotten():
    """What the page is made with, of other cases than the study's, is not remembered."""
    made_with.digest.cache_clear()
    yield
    made_with.digest.cache_clear()


@pytest.mark.usefixtures("forgotten")
def test_cases_that_are_not_run_again_stay_and_are_named(tmp_path, monkeypatch):
    ends = {"mean_auroc": (0.5, 0.4, 0.6), "a_reader's": (0.5, 0.6, 0.7)}
    one, other, third = (
        coverage.Case(group, "a case", lambda rng, seed: ends, 400)
        for group in (coverage.ONE, coverage.STUDIES, coverage.KAPPA)
    )
    monkeypatch.setattr(coverage, "cases", lambda: iter([one, other]))
    monkeypatch.setattr(coverage, "rates", lambda: coverage.Table("Rates", ("",), ()))
    file = tmp_path / "coverage.md"

    def write(folder, *groups):
        given = ["coverage", "--out", str(tmp_path / folder), "--docs", str(file)]
        given += [text for group in groups for text in ("--group", group)]
        monkeypatch.setattr("sys.argv", given)
        coverage.main()
        return file.read_text(encoding="utf-8")

    whole = write("first")
    assert "| a case | 100.0 (high) | 0.0 (low) |" in whole
    assert "earlier run" not in whole
    assert len(list((tmp_path / "first").iterdir())) == 2
    monkeypatch.setattr(coverage, "cases", lambda: iter([one, other, third]))
    part = write("second", coverage.STUDIES)
    assert "Of an earlier run of the same statistics: One draw, a case.\n" in part
    assert "Not run so far: Agreement of readers: kappa, a case.\n" in part
    assert len(list((tmp_path / "second").iterdir())) == 1
    assert part.count("| a case | 100.0 (high) | 0.0 (low) |") == 2
    # What was told of other statistics does not stay.
    monkeypatch.setattr(coverage, "now", lambda page: {"statistics": "0"})
    lost = write("third", coverage.STUDIES)
    assert "earlier run" not in lost
    assert "Not run so far: One draw, a case; Agreement" in lost


def test_every_group_of_cases_is_on_the_page():
    groups = {case.group for case in coverage.cases()}
    assert groups == set(coverage.CAPTIONS) == set(coverage.REASONS)
    seeds = [case.seed for case in coverage.cases()]
    assert len(set(seeds)) == len(seeds)
