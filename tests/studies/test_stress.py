"""The stress study end to end on a small random CLIP, and its figures against other routes."""

import csv
import dataclasses
import io
import json

import numpy as np
import pytest
import torch
from PIL import Image

import sdmad.studies.stress.results as results
import sdmad.studies.stress.runs as runs
from sdmad import SDMAD, SDMADConfig, SignBank
from sdmad.baselines.zero_shot import ZeroShotCLIP
from sdmad.data.sets.table_data import TableData
from sdmad.errors import InputError
from sdmad.evaluation.intervals import DrawSummary, PairedDifference
from sdmad.method.selection import select_signs
from sdmad.signs.noise import KINDS, add_noise
from sdmad.studies.draw import Draw
from sdmad.studies.material import Material
from sdmad.studies.stress import StressRequest, stress
from sdmad.studies.stress.results import (
    Discards,
    LevelResult,
    count_discards,
    discard_cells,
    pay_table,
    signed,
)
from sdmad.studies.stress.runs import PRINTED, RECOMMENDED, ZERO_SHOT, Level, key, run_levels


@pytest.fixture(autouse=True)
def quick(monkeypatch, one_epoch):
    """One epoch, one amount of noise, few resamples, few phantoms."""
    for module in (runs, results):
        monkeypatch.setattr(module, "COUNTS", (2,))
    monkeypatch.setattr(results, "RESAMPLES", 20)
    monkeypatch.setattr(runs, "PHANTOM_IMAGES", {"brain": 40, "chest": 60, "oct": 30})


@pytest.fixture
def ask(make_data, tmp_path, small_bank_file, tiny_clip):
    """The request of a small study on the pictures of a table."""
    data = make_data(tmp_path / "data", count=36)

    def make(**changes):
        request = StressRequest(
            str(small_bank_file), tmp_path / "out", data, str(tiny_clip), shots=1, seeds=2
        )
        return dataclasses.replace(request, **changes)

    return make


def quiet(_):
    pass


def test_the_study_writes_its_files_and_goes_on_where_it_was(ask, monkeypatch):
    request = ask()
    files = stress(request, quiet)
    assert [file.name for file in files] == ["stress.md", "stress.csv", "stress.json", "stress.png"]
    first = [file.read_bytes() for file in files]
    with (request.out / "stress.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["noise"] for row in rows} == {"clean", *KINDS}
    assert {row["system"] for row in rows} == {ZERO_SHOT, PRINTED, RECOMMENDED}
    assert len(rows) == (1 + len(KINDS)) * 3 * 5
    for row in rows:
        assert (row["draws"], row["signs_own"]) == ("2", "12")
        bad = {"clean": "0", "duplicate": "0"}.get(row["noise"], "12")
        repeated = "12" if row["noise"] == "duplicate" else "0"
        assert (row["signs_bad"], row["signs_repeated"]) == (bad, repeated)
        gap = float(row["paper"]) - float(row["none"])
        assert float(row["difference"]) == pytest.approx(gap, abs=0.002)
    content = json.loads((request.out / "stress.json").read_text(encoding="utf-8"))
    assert len(content["records"]) == len(rows)
    page = (request.out / "stress.md").read_text(encoding="utf-8")
    assert "- 1 shot; draws: 2, each with noise of its own" in page
    assert str(request.out) not in page
    with Image.open(io.BytesIO(first[3])) as picture:
        assert picture.format == "PNG"

    def refuse(*_):
        raise AssertionError("trained again")

    monkeypatch.setattr("sdmad.detector.sdmad.train_adapters", refuse)
    assert [file.read_bytes() for file in stress(request, quiet)] == first
    outcomes = sorted((request.out / "draws").rglob("sd-mad-*.npz"))
    assert len(outcomes) == 2 * 4 * (1 + len(KINDS))  # draws, variants of SD-MAD, levels
    outcomes[0].unlink()
    with pytest.raises(AssertionError, match="trained again"):
        stress(request, quiet)


def test_both_rules_are_the_same_training_and_agree_with_the_detectors(ask, tiny_backbone):
    """Each figure equals that of a detector fitted for its rule alone."""
    request = ask(seeds=1)
    bank = SignBank.load(request.bank)
    level = next(one for one in run_levels(request, quiet).levels if one.kind == "mixture")
    noisy = add_noise(bank, "mixture", 2, 0)
    assert level.marks == noisy.added
    draw = Draw(Material(TableData(request.data, bank.names), noisy.bank), 1, 0)
    drawn = draw.material.table.subset(draw.support.indices)
    for rule in ("none", "paper"):
        detectors = {
            ZERO_SHOT: ZeroShotCLIP(noisy.bank, tiny_backbone, rule),
            PRINTED: SDMAD(noisy.bank, tiny_backbone, SDMADConfig.paper(selection=rule), 0),
            RECOMMENDED: SDMAD(noisy.bank, tiny_backbone, SDMADConfig(selection=rule), 0),
        }
        for system, detector in detectors.items():
            detector.fit(drawn.files, drawn.labels, patients=drawn.patients)
            (found,) = level.draws[key(system, rule)]
            scores = detector.decision_function(draw.files)
            np.testing.assert_allclose(found.scores, scores, atol=1e-5)
            np.testing.assert_array_equal(found.decisions, detector.predict(draw.files))
            if rule == "paper":
                keep = level.keep[system][0]
                np.testing.assert_array_equal(keep, detector.kept_signs)
    features = tiny_backbone.encode_text(noisy.bank.sentences)
    keep = select_signs(features, torch.tensor(noisy.bank.category_index))
    np.testing.assert_array_equal(level.keep[ZERO_SHOT][0], keep.numpy())


def by_patient(scored):
    """Scores of each patient's images, in the table's order."""
    found = {}
    for patient, scores in zip(scored.patients, scored.scores, strict=True):
        found.setdefault(patient, []).append(scores)
    return {patient: np.array(scores) for patient, scores in found.items()}


def test_each_draw_has_noise_of_its_own_and_clean_has_none(ask):
    """Zero-shot scores depend on the bank alone, so two draws tell whether it was the same."""
    clean, vague = run_levels(ask(), quiet).levels[:2]
    assert (clean.kind, clean.count, vague.kind, vague.count) == ("clean", 0, "vague", 2)
    assert not any(clean.marks)
    for level, same in ((clean, True), (vague, False)):
        one, other = map(by_patient, level.draws[key(ZERO_SHOT, "none")])
        both = sorted(one.keys() & other.keys())
        assert both
        gap = max(np.abs(one[patient] - other[patient]).max() for patient in both)
        assert (gap < 1e-5) == same


def test_phantoms_of_the_banks_modality_are_the_default(tmp_path, tiny_clip, monkeypatch):
    monkeypatch.setattr(runs, "KINDS", ("vague",))
    request = StressRequest("oct17", tmp_path, None, str(tiny_clip), shots=1, seeds=1)
    study = run_levels(request, quiet)
    assert "images: retinal OCT phantoms, test style, 30 in all" in study.head
    assert study.levels[1].draws[key(PRINTED, "none")][0].labels.shape[1] == 3


def test_banks_without_phantoms_need_data(tmp_path, tiny_clip):
    liver = StressRequest("bmad_liver", tmp_path, None, str(tiny_clip))
    with pytest.raises(InputError, match=r"no phantoms of 'liver CT'.*--data LABELS.csv"):
        stress(liver, quiet)
    tumours = dataclasses.replace(liver, bank="brain_tumor")
    with pytest.raises(InputError, match=r"other categories than the brain MRI phantoms.*--data"):
        stress(tumours, quiet)
    with pytest.raises(InputError, match="--seeds must be 1 or more"):
        stress(dataclasses.replace(liver, seeds=0), quiet)


def test_discards_are_counted_over_the_draws():
    marks = ("", "", "", "vague", "wrong", "duplicate")
    keep = [
        np.array([True, False, True, False, False, True]),
        np.array([True, True, True, False, True, False]),
    ]
    found = count_discards(Level("mixture", 1, {}, {ZERO_SHOT: keep}, marks), ZERO_SHOT)
    assert found == Discards(4, 3, 2, 1, 6, 1)
    assert found.recall == 3 / 4
    assert found.own_share == 1 / 6
    assert found.precision == 3 / 5
    assert found.chance == 4 / 12
    assert discard_cells(found) == (
        "3 of 4", "75%", "1 of 6", "17%", "1 of 2", "60%", "33%"
    )  # fmt: skip
    clean = Discards(0, 0, 0, 0, 6, 2)
    assert discard_cells(clean) == ("n/a", "n/a", "2 of 6", "33%", "n/a", "n/a", "n/a")
    assert np.isnan(Discards(2, 0, 0, 0, 6, 0).precision)


def test_a_star_marks_an_interval_without_zero():
    assert signed(PairedDifference(0.012, 0.001, 0.02)) == "+1.2 [+0.1, +2.0] *"
    assert signed(PairedDifference(-0.012, -0.03, -0.001)) == "-1.2 [-3.0, -0.1] *"
    assert signed(PairedDifference(0.012, -0.001, 0.02)) == "+1.2 [-0.1, +2.0]"
    assert signed(PairedDifference(float("nan"), float("nan"), float("nan"))) == "n/a"
    assert signed(PairedDifference(0.5, float("nan"), float("nan"))) == "+50.0"


def test_the_first_table_counts_intervals_above_with_and_below_zero():
    none = {metric: DrawSummary(0.5, 0.0, 0.4, 0.6) for metric in ("mean_auroc",)}
    gaps = {"clean": 0.0, "vague": 0.2, "wrong": 0.0, "duplicate": -0.2, "mixture": 0.2}
    made = [
        LevelResult(
            kind, 0 if kind == "clean" else 2, system, {"none": none, "paper": none},
            {"mean_auroc": PairedDifference(gap, gap - 0.1, gap + 0.1)},
            Discards(0, 0, 0, 0, 1, 0), 1,
        )
        for system in (ZERO_SHOT, PRINTED, RECOMMENDED)
        for kind, gap in gaps.items()
    ]  # fmt: skip
    table = pay_table(made, "mean_auroc")
    assert table.header == (
        "System", "clean", *(f"{kind}, 2" for kind in KINDS), "above / with / below"
    )  # fmt: skip
    assert table.rows[0] == (
        ZERO_SHOT,
        "+0.0 [-10.0, +10.0]",
        "+20.0 [+10.0, +30.0] *",
        "+0.0 [-10.0, +10.0]",
        "-20.0 [-30.0, -10.0] *",
        "+20.0 [+10.0, +30.0] *",
        "2 / 1 / 1",
    )
