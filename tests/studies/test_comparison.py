"""Comparisons end to end on a few phantoms, with small systems."""

import csv
import dataclasses
import json
import re
import warnings

import numpy as np
import pytest
from PIL import Image

import sdmad.studies.comparison.page as page_module
import sdmad.studies.comparison.run as run_module
from sdmad.baselines.registry import SYSTEMS, Recipe
from sdmad.cli import main
from sdmad.data.plane import ImageError
from sdmad.errors import InputError, MissingExtraError, ModelError, WeightsMissingError
from sdmad.signs import SignBank
from sdmad.studies import draw, map_scores
from sdmad.studies.comparison import Comparison, compare
from tests import trees
from tests.backbones.medclip_checkpoints import make_parts, published_state, write_folder
from tests.toys import toy

BRIGHT = toy()


@pytest.fixture(autouse=True)
def quick(monkeypatch, one_epoch):
    """One epoch, few resamples, few phantoms, and a toy among the systems."""
    monkeypatch.setattr(page_module, "RESAMPLES", 20)
    monkeypatch.setattr(run_module, "QUICK_IMAGES", 40)
    monkeypatch.setattr(run_module, "PHANTOM_IMAGES", 40)
    monkeypatch.setitem(SYSTEMS, "bright", BRIGHT)


@pytest.fixture
def put(monkeypatch):
    """Put a system into the catalogue, made as given."""

    def into(make, **more):
        system = dataclasses.replace(BRIGHT, **{"home": Recipe(make), **more})
        monkeypatch.setitem(SYSTEMS, system.name, system)

    return into


@pytest.fixture
def ask(tiny_clip, tmp_path):
    def run(systems, **more):
        values = {"data": "phantom-oct", "shots": 1, "seeds": 2, "image_size": 32, **more}
        out, say = values.pop("out", tmp_path / "out"), values.pop("say", lambda _: None)
        asked = Comparison(out=out, systems=systems, backbone=str(tiny_clip), **values)
        compare(asked, say)
        return out

    return run


def table(folder, name):
    with (folder / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return {row["System" if "System" in row else "Metric"]: row for row in csv.DictReader(file)}


def test_the_page_says_in_which_order_shots_were_drawn(ask):
    out = ask(("bright",), seeds=1)
    page = (out / "comparison.md").read_text(encoding="utf-8")
    assert "- shots: one image of each patient first, wherever" in page
    ask(("bright",), seeds=1, order="patient-by-patient")
    page = (out / "comparison.md").read_text(encoding="utf-8")
    assert "- shots: one patient after the other, as sdmad 0.1 drew\n" in page
    assert len(list((out / "outcomes").rglob("*.npz"))) == 2


def test_each_protocol_has_every_system_and_the_trivial_ones(ask):
    out = ask(("clip-signs", "linear-probe", "sd-mad", "bright"))
    for name in ("general", "integrated", "category-wise"):
        rows = table(out, name)
        assert list(rows) == [
            *("none", "all", "prevalence", "zero-shot CLIP, signs", "linear probe"),
            *("SD-MAD recommended", "brightness"),
        ]
        with Image.open(out / f"{name}.png") as picture:
            assert np.asarray(picture.convert("L")).std() > 5
    assert table(out, "general")["none"]["Image AUROC"].startswith("50.0")
    mean_deviation_interval = r"\d+\.\d ± \d+\.\d \[\d+\.\d, \d+\.\d\]"
    for metric in ("Pixel AUROC", "AUPRO (FPR to .3)", "Dice"):
        assert re.fullmatch(mean_deviation_interval, table(out, "general")["brightness"][metric])
    assert table(out, "general")["linear probe"]["Pixel AUROC"] == "n/a"
    costs = table(out, "costs")
    assert costs["brightness"]["Loss"] == "2 to 1, 100 % late"
    assert costs["zero-shot CLIP, signs"]["Trained numbers"] == "0"
    assert costs["SD-MAD recommended"]["Trained numbers"] == "339"  # three of 16 + 3 x 32 + 1
    by_category = json.loads((out / "comparison.json").read_text(encoding="utf-8"))["systems"]
    with (out / "categories.csv").open(encoding="utf-8", newline="") as file:
        cells = {row["Category"]: row for row in csv.DictReader(file)}
    assert list(cells)[:2] == ["Positives (first draw)", "zero-shot CLIP, signs"]
    for category, figures in by_category["sd-mad"]["categories"].items():
        assert float(cells["SD-MAD recommended"][category]) == pytest.approx(
            100 * figures["mean"], abs=0.051
        )
        assert figures["low"] <= figures["mean"] <= figures["high"]
    differences = table(out, "difference")
    assert set(differences) >= {"Image AUROC", "Mean AUROC", "Hamming score", "Dice"}
    assert differences["Pixel AUROC"]["Peer"] == "brightness"
    page = (out / "comparison.md").read_text(encoding="utf-8")
    assert page.startswith("# Comparison: phantom-oct")
    content = json.loads((out / "comparison.json").read_text(encoding="utf-8"))
    mine = content["systems"]["bright"]
    mean = np.mean([draw["pixel_auroc"] for draw in mine["pixels"]])
    assert mine["metrics"]["pixel_auroc"]["mean"] == pytest.approx(mean)
    pixels = next(gap for gap in content["differences"] if gap["metric"] == "pixel_auroc")
    assert (pixels["system"], pixels["less"]) == ("sd-mad", "bright")
    own = content["systems"]["sd-mad"]["metrics"]["pixel_auroc"]["mean"]
    assert pixels["difference"] == pytest.approx(own - mean, abs=2e-3)
    assert pixels["low"] <= pixels["difference"] <= pixels["high"]
    assert mine["metrics"]["pixel_auroc"]["low"] < mean < mine["metrics"]["pixel_auroc"]["high"]


def test_what_the_loss_adds_to_mvfa_has_a_table_of_its_own(ask, monkeypatch):
    pair = {"mvfa": toy("mvfa"), "sd-mad-mvfa": toy("sd-mad-mvfa", "darkness", sign=-1.0)}
    for name, system in pair.items():
        monkeypatch.setitem(SYSTEMS, name, system)
    out = ask(tuple(pair))
    added = table(out, "added-loss")
    for metric in ("Image AUROC", "Pixel AUROC"):  # those of the opposite scores add up to 100
        mean = float(table(out, "general")["brightness"][metric].split()[0])
        difference = added[metric]["darkness less it"].lstrip("'")  # no formula in a sheet
        assert float(difference.split()[0]) == pytest.approx(100 - 2 * mean, abs=0.16)
        assert re.fullmatch(r"[+-]\d+\.\d \[[+-]\d+\.\d, [+-]\d+\.\d\]", difference)
    assert {"Mean AUROC", "Hamming score"} <= set(added)
    quick = ask(tuple(pair), quick=True, out=out / "quick")
    assert not (quick / "integrated.png").exists()  # neither was asked
    assert "integrated.png" not in (quick / "comparison.md").read_text(encoding="utf-8")
    quick = table(quick, "added-loss")
    assert set(quick) == {"Image AUROC", "Pixel AUROC", "AUPRO (FPR to .3)", "Dice"}


def test_decisions_by_thresholds_from_trained_on_images_are_not_judged(ask, monkeypatch):
    trained = dataclasses.replace(toy("trained", "trained"), learns_from="support set")
    monkeypatch.setitem(SYSTEMS, "trained", trained)
    out = ask(("sd-mad", "bright", "trained"), seeds=1)
    integrated = table(out, "integrated")
    assert set(list(integrated["trained"].values())[1:]) == {"n/a"}
    assert "n/a" not in integrated["brightness"].values()
    same = ("general", "category-wise")  # what needs no threshold is judged
    for name in same:
        figures = (list(table(out, name)[row].values())[1:] for row in ("trained", "brightness"))
        assert next(figures) == next(figures)
    page = (out / "comparison.md").read_text(encoding="utf-8")
    assert page.count("n/a for trained: thresholds would come from scores of images") == 1
    content = json.loads((out / "comparison.json").read_text(encoding="utf-8"))
    metrics = content["systems"]["trained"]["metrics"]
    assert "mean_auroc" in metrics
    assert "hamming_score" not in metrics
    assert table(out, "difference")["Hamming score"]["Peer"] == "brightness"


def test_a_quick_one_says_so_and_asks_single_systems_one_question(ask):
    out = ask(("clip-signs", "bright"), quick=True)
    page = (out / "comparison.md").read_text(encoding="utf-8")
    assert page.startswith("# QUICK comparison")
    assert "no result" in page
    assert table(out, "integrated")["brightness °"]["Hamming score"] == "n/a"
    assert table(out, "general")["brightness °"]["Image AUROC"] != "n/a"


def test_an_interrupted_comparison_goes_on(ask, put):
    fitted = []

    def interrupted(build, settings):
        fitted.append(build.seed)
        if len(fitted) == 2:
            raise KeyboardInterrupt
        return BRIGHT.recipe.make(build, settings)

    put(interrupted)
    with pytest.raises(KeyboardInterrupt):
        ask(("clip-signs", "bright"))
    fitted[:] = ["once", "twice"]
    ask(("clip-signs", "bright"))
    assert fitted[2:] == [1]


def test_outcomes_of_another_bank_are_not_taken_for_these(ask, monkeypatch, tmp_path):
    fitted, said = [], []
    monkeypatch.setitem(SYSTEMS, "bright", toy(fitted=fitted))
    ask(("bright",), seeds=1)
    ask(("bright",), seeds=1)
    assert len(fitted) == 1
    other = tmp_path / "other.yaml"
    text = SignBank.load("oct").to_yaml()
    other.write_text(text.replace("normal:", "normal:\n- one more sentence", 1), encoding="utf-8")
    ask(("bright",), seeds=1, bank=str(other), say=said.append)
    assert len(fitted) == 2
    assert any("stored with another bank; computed again" in line for line in said)


def test_a_set_that_lists_its_normal_images_first_has_a_dice(ask, monkeypatch, tmp_path):
    monkeypatch.setattr(map_scores, "VALIDATION", 3)
    monkeypatch.setattr(map_scores, "OF_EACH", 1)
    trees.write_bmad_tree(tmp_path / "brain", "brain", 40)
    out = ask(("bright",), data="bmad-brain", root=tmp_path / "brain", seeds=1)
    general = table(out, "general")["brightness"]
    assert general["Dice"] != "n/a"
    assert general["Pixel AUROC"] != "n/a"


def test_a_system_that_a_backbone_cannot_serve_does_not_stop_the_others(ask, put):
    def impossible(build, settings):
        raise InputError("no square of patches")

    put(impossible, name="bad", title="fragile")
    out = ask(("bad", "bright"), seeds=1)
    rows = table(out, "general")
    assert rows["fragile"]["Image AUROC"] == "not possible"
    assert rows["brightness"]["Image AUROC"] != "n/a"
    page = (out / "comparison.md").read_text(encoding="utf-8")
    assert "- fragile, not possible: no square of patches" in page


def test_medclip_stands_beside_another_backbone(ask, tmp_path):
    folder, parts = tmp_path / "medclip", tmp_path / "parts"
    folder.mkdir()
    parts.mkdir()
    write_folder(folder, published_state(make_parts(), parts))
    systems = ("clip-signs", "medclip", "bright")
    rows = table(ask(systems, seeds=1), "general")
    assert rows["zero-shot MedCLIP, signs"]["Image AUROC"] == "weights missing"
    out = ask(systems, seeds=1, medclip=str(folder), out=tmp_path / "both")
    both = table(out, "general")
    assert re.match(r"\d", both["zero-shot MedCLIP, signs"]["Image AUROC"])
    for other in ("zero-shot CLIP, signs", "brightness"):  # on the backbone as before
        assert both[other]["Image AUROC"] == rows[other]["Image AUROC"]
    with pytest.raises(ModelError, match="--medclip"):
        ask(systems, medclip=str(tmp_path / "nothing"))


def test_an_image_that_nobody_can_read_ends_it(ask, put):
    def unreadable(build, settings):
        raise ImageError("a.png is cut short")

    put(unreadable)
    with pytest.raises(ImageError, match=r"a\.png"):
        ask(("clip-signs", "bright"))


def test_what_a_fit_warned_of_stands_in_the_page(ask, put):
    def warning(build, settings):
        warnings.warn_explicit("it collapsed", UserWarning, str(draw.PACKAGE / "x.py"), 1)
        return BRIGHT.recipe.make(build, settings)

    put(warning)
    for _ in range(2):  # told again of what was kept
        page = (ask(("bright",)) / "comparison.md").read_text(encoding="utf-8")
        assert "- brightness, draw 1, 2: it collapsed" in page


@pytest.mark.parametrize(
    ("error", "reason"),
    [(MissingExtraError("pip install"), "extra missing"), (WeightsMissingError("x"), "weights")],
)
def test_a_system_that_lacks_something_has_a_row_that_says_what(ask, put, error, reason):
    def lacking(build, settings):
        raise error

    put(lacking)
    rows = table(ask(("clip-signs", "bright"), seeds=1), "general")
    assert reason in rows["brightness"]["Image AUROC"]
    with pytest.raises(InputError, match="no system could be run: bright"):
        ask(("bright",))


def run_command(monkeypatch, *arguments):
    monkeypatch.setattr("sys.argv", ["sdmad", "compare", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        main.run()
    return end.value.code


def test_the_list_names_every_system(monkeypatch, capsys):
    assert run_command(monkeypatch, "--list") == 0
    told = capsys.readouterr().out
    assert all(name in told for name in SYSTEMS)


def test_the_command_line(monkeypatch, capsys, tiny_clip, tmp_path):
    common = (
        "--data",
        "phantom-oct",
        "--backbone",
        tiny_clip,
        "--image-size",
        32,
        "--out",
        tmp_path,
    )
    code = run_command(monkeypatch, *common, "--systems", "clip-signs", "--quick")
    assert code == 0
    assert "comparison.md" in capsys.readouterr().out
    assert run_command(monkeypatch, *common, "--systems", "clip-sings") == 2
    assert "no system 'clip-sings'; did you mean clip-signs" in capsys.readouterr().err
