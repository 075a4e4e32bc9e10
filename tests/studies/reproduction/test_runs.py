"""Every target end to end, on few phantoms, on miniature trees of the real layouts."""

import csv
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import sdmad.studies.reproduction as reproduction
from sdmad.baselines.registry import SYSTEMS, Recipe, load_system
from sdmad.cli import main
from sdmad.errors import InputError, MissingExtraError, ModelError
from sdmad.studies import draw, engine
from sdmad.studies.draw import PAPER_SYSTEMS
from sdmad.studies.reproduction import TARGETS, Request, figures, general, material, reproduce, runs
from tests.trees import (
    write_chestxray8_tree,
    write_fastmri_plus_tree,
    write_oct17_tree,
)

TRIVIAL = ("none", "all", "prevalence")


def title(name):
    return load_system(name).title


SIGNS, PRINTED_SELECTED, MEDCLIP = map(title, ("clip-signs", "sd-mad-printed", "medclip"))


@pytest.fixture(autouse=True)
def quick(monkeypatch, one_epoch):
    """One epoch, few phantoms, few resamples, few points of a sweep."""
    monkeypatch.setattr(material, "PHANTOM_IMAGES", {"chest": 60, "oct": 24, "brain": 40})
    for module in (reproduction, figures):
        monkeypatch.setattr(module, "RESAMPLES", 20)
    monkeypatch.setattr(figures, "LAMBDAS", (0.5, 0.8))
    monkeypatch.setattr(figures, "SHOT_COUNTS", (1, 2))
    monkeypatch.setattr(figures, "SIGN_COUNTS", (1, 3))


@pytest.fixture
def ask(tiny_clip, tmp_path):
    """Run a target with the small random CLIP; returns the folder of the results."""

    def run(target, data="phantom", seeds=1, **more):
        out = more.pop("out", tmp_path / "out")
        more = {"image_size": 32, **more}
        reproduce(Request(target, str(data), out, str(tiny_clip), seeds, **more), lambda _: None)
        return out

    return run


def rows(folder, target):
    with (folder / f"{target}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_order_of_drawing_reaches_every_target_and_is_told(ask, monkeypatch):
    asked = []
    true_draws = draw.draws_of

    def drawn(*given):
        asked.append(given[3:])
        return true_draws(*given)

    for place in (runs, general, figures):
        monkeypatch.setattr(place, "draws_of", drawn)
    monkeypatch.setattr(general, "TABLE5", ("clip-names",))
    monkeypatch.setattr(general, "BESIDE", ())
    monkeypatch.setattr(runs, "PAPER_SYSTEMS", ("clip-names",))
    monkeypatch.setattr(figures, "CURVE_SYSTEMS", ("clip-names",))
    for target in ("table2", "table5", "figure4", "shots"):
        out = ask(target, order="patient-by-patient")
        page = (out / f"{target}.md").read_text(encoding="utf-8")
        assert "shots: one patient after the other, as sdmad 0.1 drew" in page
    assert len(asked) > 4
    assert set(asked) == {("patient-by-patient",)}
    kept = [path.stem for path in out.rglob("*.npz")]
    assert kept
    assert all(name.endswith("-patient-by-patient") for name in kept)


def test_table2_has_every_row_and_column(ask):
    out = ask("table2", seeds=2)
    found = rows(out, "table2")
    assert {row["system"] for row in found} == {*TRIVIAL, *map(title, PAPER_SYSTEMS), MEDCLIP}
    assert [r["what"] for r in found if r["system"] == SIGNS] == [
        *("CNV", "DME", "Drusen", "mean_auroc")
    ]
    drusen = next(r for r in found if r["what"] == "Drusen" and r["system"] == PRINTED_SELECTED)
    assert drusen["paper"] == "79.5"
    assert float(drusen["difference"]) == pytest.approx(float(drusen["value"]) - 79.5, abs=1e-3)
    assert drusen["draws"] == "2"
    assert int(drusen["positives"].split("-")[0]) > 0
    medclip = next(r for r in found if r["system"] == MEDCLIP)
    assert (medclip["value"], medclip["note"]) == ("", "weights missing")
    page = (out / "table2.md").read_text(encoding="utf-8")
    assert "no evidence about the paper" in page
    content = json.loads((out / "table2.json").read_text(encoding="utf-8"))
    assert len(content["records"]) == len(found)


def test_table1_and_table6_share_their_draws(ask, monkeypatch):
    ask("table1")

    def refused(*_, **__):
        raise AssertionError("the draws of table1 serve table6 too")

    monkeypatch.setattr("sdmad.studies.engine.fit_variants", refused)
    out = ask("table6")
    one, other = rows(out, "table1"), rows(out, "table6")
    mean = {r["system"]: r["value"] for r in one if r["what"] == "mean_auroc"}
    again = {r["system"]: r["value"] for r in other if r["what"] == "mean_auroc"}
    assert mean == again
    assert {r["what"] for r in one} == {
        *("mean_auroc", "hamming_score", "subset_accuracy", "macro_f1"),
        *("sensitivity", "specificity"),
    }
    assert len({r["what"] for r in other}) == 15


def test_the_slices_are_judged_in_both_populations_and_with_five_and_six_columns(ask):
    out = ask("table3")
    kinds = {(r["part"], r["population"], r["columns"]) for r in rows(out, "table3")}
    assert kinds == {
        (part, population, columns)
        for part, all_columns in (("slice 0", "6"), ("slice 5", "56"), ("slice 10", "56"))
        for population in ("abnormal", "all")
        for columns in all_columns
    }
    none = [
        r for r in rows(out, "table3") if r["system"] == "none" and r["population"] == "abnormal"
    ]
    assert {r["value"] for r in none if r["what"] == "subset_accuracy"} == {"0.0"}
    for target in ("table4", "table7"):
        ask(target)
        columns = {(r["part"], r["columns"]) for r in rows(out, target)}
        assert columns == {("slice 0", "6"), ("slice 5", "5"), ("slice 10", "5")}


@pytest.mark.parametrize("target", ["figure3", "figure4", "figure5", "shots", "signs"])
def test_figures_come_as_a_picture_with_their_numbers(ask, target):
    out = ask(target)
    with Image.open(out / f"{target}.png") as picture:
        assert np.asarray(picture.convert("L")).std() > 5
    assert (out / f"{target}.md").read_text(encoding="utf-8").startswith("# ")
    assert rows(out, target)
    assert json.loads((out / f"{target}.json").read_text(encoding="utf-8"))["run"]


def test_a_sweep_holds_every_value(ask):
    out = ask("figure4")
    found = {(r["part"], r["what"]) for r in rows(out, "figure4")}
    assert found == {
        (f"lambda {lam}", metric)
        for lam in ("0.5", "0.8")
        for metric in ("hamming_score", "subset_accuracy")
    }


def test_an_interrupted_run_goes_on_where_it_was(ask, monkeypatch):
    true_fit, fitted = engine.fit_variants, []

    def interrupted(variants, draw, *rest):
        fitted.append(draw.seed)
        if fitted == [0, 1]:
            raise KeyboardInterrupt
        return true_fit(variants, draw, *rest)

    monkeypatch.setattr(engine, "fit_variants", interrupted)
    with pytest.raises(KeyboardInterrupt):
        ask("table2", seeds=2)
    ask("table2", seeds=2)
    assert fitted == [0, 1, 1]


def test_another_backbone_does_not_take_these_draws(ask, make_clip, tmp_path):
    out, said = ask("table2"), []
    other = Request("table2", "phantom", out, str(make_clip(seed=9)), 1, image_size=32)
    before = rows(out, "table2")
    reproduce(other, said.append)
    assert rows(out, "table2") != before
    told = [line for line in said if "stored with another backbone; computed again" in line]
    assert len(told) == len(PAPER_SYSTEMS)


SHORT = {
    "dra-imagenet": {"size": 64, "epochs": 1, "steps": 2, "batch_size": 6, "references": 2},
    "bgad-imagenet": {"size": 64, "epochs": 1, "passes": 1, "blocks": 2, "repeats": 2},
}


def test_table5_asks_every_system_for_one_kind_of_anomaly_once():
    asked = (*general.TABLE5, *general.BESIDE)
    assert len(asked) == len(set(asked))
    assert {name for name, one in SYSTEMS.items() if one.single} | {"sd-mad-mvfa"} == set(asked)
    assert {*SHORT, "univad-embedded", "patchcore", "anomaly-dino"} <= set(general.BESIDE)


def test_table5_on_the_embedded_backbone_with_systems_on_its_trunk(monkeypatch, tmp_path):
    monkeypatch.setattr(general, "TABLE5", ())
    monkeypatch.setattr(general, "BESIDE", (*SHORT, "univad-embedded"))
    monkeypatch.setattr(general, "STAND_INS", {"OCT": "phantom-oct"})
    monkeypatch.setattr(general, "PHANTOM_IMAGES", 60)
    monkeypatch.setattr(general, "SHOTS", 1)
    monkeypatch.setattr(general, "RESAMPLES", 20)
    for name, settings in SHORT.items():
        recipe = SYSTEMS[name].recipe
        short = Recipe(recipe.make, replace(recipe.published, **settings))
        monkeypatch.setitem(SYSTEMS, name, replace(SYSTEMS[name], home=short))
    reproduce(Request("table5", "phantom", tmp_path, seeds=1), lambda _: None)
    found = {(r["system"], r["what"]): r for r in rows(tmp_path, "table5")}
    for name in general.BESIDE:
        whats = ["image_auroc", *["pixel_auroc"] * SYSTEMS[name].maps]
        ours = [found[title(name), what] for what in whats]
        assert [(r["note"], r["paper"]) for r in ours] == [("", "")] * len(whats)
        assert all(0 <= float(r["value"]) <= 100 for r in ours)


def test_table5_has_image_and_pixel_figures_and_says_what_is_missing(ask, monkeypatch):
    monkeypatch.setattr(general, "TABLE5", ("dra", "winclip"))
    monkeypatch.setattr(general, "BESIDE", ("univad-embedded",))
    monkeypatch.setattr(general, "PHANTOM_IMAGES", 40)
    monkeypatch.setattr(general, "SHOTS", 1)
    monkeypatch.setattr(general, "RESAMPLES", 20)

    def lacking(build, settings):
        raise MissingExtraError("pip install")

    monkeypatch.setitem(SYSTEMS, "dra", replace(SYSTEMS["dra"], home=Recipe(lacking)))
    out = ask("table5")
    found = rows(out, "table5")
    page = (out / "table5.md").read_text(encoding="utf-8")
    assert re.search(r"- BrainMRI: judged, draw 1: \d+ images of \d+ patients\n", page)
    assert {r["part"] for r in found} == {"BrainMRI", "ChestXRay", "OCT"}
    brain = {(r["system"], r["what"]): r for r in found if r["part"] == "BrainMRI"}
    assert brain["WinCLIP, zero-shot", "image_auroc"]["paper"] == "66.8"
    assert 0 < float(brain["WinCLIP, zero-shot", "pixel_auroc"]["value"]) < 100
    assert brain["DRA", "image_auroc"]["note"] == "extra missing"
    named = brain["UniVAD on the embedded trunk", "pixel_auroc"]
    assert (named["note"], named["paper"]) == ("not possible", "")  # the backbone is another
    assert brain["none", "image_auroc"]["value"] == "50.0"


# The real layouts


def test_tables_on_a_tree_in_the_layout_of_chestxray8(ask, tmp_path):
    tree = write_chestxray8_tree(tmp_path / "nih", 60, 0)
    out = ask("table6", Path(tree))
    found = rows(out, "table6")
    assert {r["what"] for r in found} >= {"Pleural_Thickening", "Hernia", "mean_auroc"}
    assert (
        next(r for r in found if r["what"] == "Hernia" and r["system"] == SIGNS)["paper"] == "44.7"
    )


def test_tables_on_a_tree_in_the_layout_of_oct17(ask, tmp_path):
    tree = write_oct17_tree(tmp_path / "oct", 32, 0)
    found = rows(ask("table2", Path(tree)), "table2")
    assert [r["what"] for r in found if r["system"] == "none"][:3] == ["CNV", "DME", "DRUSEN"]


def test_tables_and_figures_on_a_tree_in_the_layout_of_fastmri_plus(ask, tmp_path):
    tree = write_fastmri_plus_tree(tmp_path / "fastmri", 24, 0)
    out = ask("table7", Path(tree))
    assert {r["part"] for r in rows(out, "table7")} == {"slice 0", "slice 5", "slice 10"}
    assert len(rows(ask("figure5", Path(tree)), "figure5")) == 16


# Mistakes


def test_an_unknown_target_names_the_others(ask):
    with pytest.raises(InputError, match=r"no target 'table9'; there are table1"):
        ask("table9")


def test_a_medclip_folder_that_is_none_is_told(ask, tmp_path):
    with pytest.raises(ModelError, match="--medclip"):
        ask("table2", medclip=str(tmp_path / "nothing"))


def run_command(monkeypatch, *arguments):
    monkeypatch.setattr("sys.argv", ["sdmad", "reproduce", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        main.run()
    return end.value.code


def test_the_command_line(tiny_clip, tmp_path, monkeypatch, capsys):
    said = ("--data", "phantom", "--backbone", tiny_clip, "--image-size", 32, "--seeds", 1, "--out")
    assert run_command(monkeypatch, "table2", *said, tmp_path) == 0
    assert str(tmp_path / "table2.md") in capsys.readouterr().out
    (tmp_path / "file").write_text("x")
    assert run_command(monkeypatch, "table2", *said, tmp_path / "file") == 2
    assert "in the way" in capsys.readouterr().err


def test_every_target_is_in_the_help(capsys, monkeypatch):
    assert run_command(monkeypatch, "--help") == 0
    told = capsys.readouterr().out
    assert all(target in told for target in TARGETS)


def test_the_input_is_240_px_as_in_the_paper(tiny_clip, tmp_path):
    sizes = {
        name: runs.load_models(Request("table1", "phantom", tmp_path, name)).main.preprocessing.size
        for name in ("lite", str(tiny_clip))
    }
    assert sizes == {"lite": 240, str(tiny_clip): 240}
