"""Comparisons end to end on a few phantoms, with small systems."""

import csv
import dataclasses
import json
import re
import types
import warnings

import numpy as np
import pytest
import torch
from PIL import Image

import sdmad.studies.comparison as comparison
from sdmad.baselines.components.anomaly import AnomalyDetector, OnePerCategory
from sdmad.baselines.registry import MODULES, System, load_system
from sdmad.cli import main
from sdmad.data.fewshot import draw_support
from sdmad.data.plane import ImageError
from sdmad.data.table import parse_label_table
from sdmad.detector.sdmad import train_adapters
from sdmad.errors import InputError, MissingExtraError, ModelError, WeightsMissingError
from sdmad.phantoms import trees
from sdmad.phantoms.files import PhantomData
from sdmad.signs import SignBank
from sdmad.studies.comparison import Comparison, compare, runs
from sdmad.studies.comparison.material import Material, open_material
from tests.backbones.medclip_checkpoints import make_parts, published_state, write_folder


class Brightness(AnomalyDetector):
    """Brighter is more abnormal; where, too."""

    has_maps = True

    def __init__(self, sign=1.0):
        self.weight = torch.nn.Parameter(torch.tensor([sign, 0.0]))
        self.log_ = [2.0, 1.0]

    def fit(self, pixels, abnormal, masks):
        self.seen = (len(pixels), int(abnormal.sum()), [m is not None for m in masks])
        return self

    def score_pixels(self, pixels):
        return (self.weight[0] * pixels.mean(dim=(1, 2, 3))).detach()

    def map_pixels(self, pixels):
        return (self.weight[0] * pixels.mean(dim=1)).detach()


def bright(build, settings):
    return OnePerCategory(build.bank.names, build.backbone, lambda name: Brightness())


class Toy(System):
    """In no README."""

    differs = "nobody has it"


BRIGHT = Toy("bright", "brightness", "nobody", "nothing", bright, single=True, maps=True)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """One epoch, few resamples, few phantoms, and a toy among the systems."""

    def short(images, texts, labels, category, config, *rest):
        config = dataclasses.replace(config, epochs=1)
        return train_adapters(images, texts, labels, category, config, *rest)

    monkeypatch.setattr("sdmad.detector.sdmad.train_adapters", short)
    monkeypatch.setattr(comparison, "RESAMPLES", 20)
    monkeypatch.setattr(comparison, "QUICK_IMAGES", 40)
    monkeypatch.setattr(comparison, "PHANTOM_IMAGES", 40)
    monkeypatch.setattr(
        comparison, "load_system", lambda name: BRIGHT if name == "bright" else load_system(name)
    )


@pytest.fixture
def ask(tiny_clip, tmp_path):
    def run(systems, **more):
        values = {"data": "phantom-oct", "shots": 1, "seeds": 2, "image_size": 32, **more}
        out = values.pop("out", tmp_path / "out")
        asked = Comparison(out=out, systems=systems, backbone=str(tiny_clip), **values)
        compare(asked, lambda _: None)
        return out

    return run


def table(folder, name):
    with (folder / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return {row["System" if "System" in row else "Metric"]: row for row in csv.DictReader(file)}


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
    assert int(costs["SD-MAD recommended"]["Trained numbers"].replace(",", "")) > 1000
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


def opposite(build, settings):
    return OnePerCategory(build.bank.names, build.backbone, lambda name: Brightness(-1.0))


def test_what_the_loss_adds_to_mvfa_has_a_table_of_its_own(ask, monkeypatch):
    pair = {
        "mvfa": dataclasses.replace(BRIGHT, name="mvfa"),
        "sd-mad-mvfa": Toy(
            "sd-mad-mvfa", "darkness", "nobody", "nothing", opposite, single=True, maps=True
        ),
    }
    monkeypatch.setattr(comparison, "load_system", pair.__getitem__)
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


def test_a_quick_one_says_so_and_asks_single_systems_one_question(ask):
    out = ask(("clip-signs", "bright"), quick=True)
    page = (out / "comparison.md").read_text(encoding="utf-8")
    assert page.startswith("# QUICK comparison")
    assert "no result" in page
    assert table(out, "integrated")["brightness °"]["Hamming score"] == "n/a"
    assert table(out, "general")["brightness °"]["Image AUROC"] != "n/a"


def test_an_interrupted_comparison_goes_on(ask, monkeypatch):
    true_fit, fitted = runs._fit, []

    def interrupted(detector, *rest):
        if len(fitted) == 2:
            raise KeyboardInterrupt
        fitted.append(1)
        true_fit(detector, *rest)

    monkeypatch.setattr(runs, "_fit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        ask(("clip-signs", "linear-probe"))
    again = []
    monkeypatch.setattr(runs, "_fit", lambda d, *rest: again.append(1) or true_fit(d, *rest))
    ask(("clip-signs", "linear-probe"))
    assert len(again) == 2


def test_outcomes_of_another_bank_are_not_taken_for_these(ask, monkeypatch, tmp_path):
    fitted, true_fit = [], runs._fit
    monkeypatch.setattr(runs, "_fit", lambda d, *rest: fitted.append(1) or true_fit(d, *rest))
    ask(("clip-signs",), seeds=1)
    ask(("clip-signs",), seeds=1)
    assert len(fitted) == 1
    other = tmp_path / "other.yaml"
    text = SignBank.load("oct").to_yaml()
    other.write_text(text.replace("normal:", "normal:\n- one more sentence", 1), encoding="utf-8")
    ask(("clip-signs",), seeds=1, bank=str(other))
    assert len(fitted) == 2


def test_a_threshold_for_dice_comes_from_both_kinds_and_from_nobody_judged(monkeypatch, tmp_path):
    monkeypatch.setattr(runs, "VALIDATION", 8)
    monkeypatch.setattr(runs, "OF_EACH", 3)
    labels = np.array([[0.0]] * 12 + [[1.0]] * 12)
    split = ["train"] * 10 + ["test"] * 2 + ["train"] * 10 + ["test"] * 2
    patients = [f"P{i}" for i in range(24)]
    patients[11] = "P1"  # judged, and in the pool as row 1
    lines = [
        f"{i}.png,{'Lesion' if label else 'normal'},{side},{patient}"
        for i, (label, side, patient) in enumerate(zip(labels[:, 0], split, patients, strict=True))
    ]
    path = tmp_path / "labels.csv"
    path.write_text("\n".join(["file,labels,split,patient", *lines]), encoding="utf-8")
    table = parse_label_table(path)
    support = draw_support(table, 1, 0)
    judged = np.flatnonzero(support.evaluation(table))
    material = types.SimpleNamespace(table=table)
    rows = runs.validation_rows(material, support, judged)
    drawn = set(support.indices)
    free = [i for i in range(10) if i != 1 and i not in drawn]
    abnormal = [i for i in range(12, 22) if i not in drawn][:3]
    assert rows == sorted([*free[:5], *abnormal])


def test_a_set_that_lists_its_normal_images_first_has_a_dice(ask, monkeypatch, tmp_path):
    monkeypatch.setattr(runs, "VALIDATION", 3)
    monkeypatch.setattr(runs, "OF_EACH", 1)
    trees.write_bmad_tree(tmp_path / "brain", "brain", 40)
    out = ask(("bright",), data="bmad-brain", root=tmp_path / "brain", seeds=1)
    general = table(out, "general")["brightness"]
    assert general["Dice"] != "n/a"
    assert general["Pixel AUROC"] != "n/a"


def test_a_system_that_a_backbone_cannot_serve_does_not_stop_the_others(ask, monkeypatch):
    def impossible(build, settings):
        raise InputError("no square of patches")

    system = dataclasses.replace(BRIGHT, name="bad", title="fragile", make=impossible)
    known = {"bright": BRIGHT, "bad": system}
    monkeypatch.setattr(comparison, "load_system", known.__getitem__)
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


def test_an_image_that_nobody_can_read_ends_it(ask, monkeypatch):
    def unreadable(*_):
        raise ImageError("a.png is cut short")

    monkeypatch.setattr(runs, "_fit", unreadable)
    with pytest.raises(ImageError, match=r"a\.png"):
        ask(("clip-signs", "bright"))


def test_what_a_fit_warned_of_stands_in_the_page(ask, monkeypatch):
    true_fit = runs._fit

    def warning_fit(detector, material, support):
        true_fit(detector, material, support)
        warnings.warn_explicit("it collapsed", UserWarning, str(runs.PACKAGE / "x.py"), 1)
        warnings.warn_explicit("a library's own", UserWarning, "/elsewhere/x.py", 1)

    monkeypatch.setattr(runs, "_fit", warning_fit)
    for _ in range(2):  # told again of what was kept
        page = (ask(("bright",)) / "comparison.md").read_text(encoding="utf-8")
        assert "- brightness, draw 1, 2: it collapsed" in page
        assert "a library's own" not in page


def test_an_outcome_is_kept_whole_and_one_of_before_is_made_again(tiny_backbone, tmp_path):
    material = open_material("phantom-oct", None, None, tmp_path, lambda _: None, 40)
    place = (tiny_backbone, 1, 0, tmp_path)
    made = runs.run_system(BRIGHT, material, tiny_backbone, 1, 0, tmp_path)
    kept = runs.stored_outcome(BRIGHT, *place)
    assert kept.patient_pixels.patients == made.patient_pixels.patients
    for part in ("normal", "abnormal", "called"):
        ours, theirs = (getattr(o.patient_pixels, part) for o in (kept, made))
        np.testing.assert_array_equal(ours, theirs)
    assert set(kept.patient_pixels.patients) == set(kept.scored.patients)
    assert kept.pixels == made.pixels
    whole = kept.patient_pixels.metrics(np.ones((len(kept.patient_pixels.patients), 1)))
    for metric, value in kept.pixels.items():
        assert whole[metric][0] == pytest.approx(value, abs=2e-3)
    runs._write(next(tmp_path.glob("bright-*.npz")), dataclasses.replace(made, patient_pixels=None))
    assert runs.stored_outcome(BRIGHT, *place) is None
    again = runs.run_system(BRIGHT, material, tiny_backbone, 1, 0, tmp_path)
    assert again.patient_pixels is not None


@pytest.mark.parametrize(
    ("error", "reason"),
    [(MissingExtraError("pip install"), "extra missing"), (WeightsMissingError("x"), "weights")],
)
def test_a_system_that_lacks_something_has_a_row_that_says_what(ask, monkeypatch, error, reason):
    def lacking(build, settings):
        raise error

    system = dataclasses.replace(BRIGHT, make=lacking)
    monkeypatch.setattr(
        comparison, "load_system", lambda n: system if n == "bright" else load_system(n)
    )
    rows = table(ask(("clip-signs", "bright"), seeds=1), "general")
    assert reason in rows["brightness"]["Image AUROC"]
    with pytest.raises(InputError, match="no system could be run: bright"):
        ask(("bright",))


def test_what_single_systems_learn_from(tiny_backbone, pictures):
    images, labels = pictures
    masks = [None, *[np.ones((32, 32), bool)] * 11]
    detector = OnePerCategory(("Ring", "Bar", "Dots"), tiny_backbone, lambda name: Brightness())
    detector.fit(images, labels, masks=masks)
    assert detector.general.seen[:2] == (12, 8)
    assert [one.seen[:2] for one in detector.single] == [(12, 4), (12, 4), (12, 2)]
    assert detector.general.seen[2] == [False, *[True] * 11]
    pixels = tiny_backbone.preprocessing(images)
    bright = pixels.mean(dim=(1, 2, 3)).numpy()
    ring = labels[:, 0] == 1
    middle = (bright[ring].mean() + bright[~ring].mean()) / 2
    found = detector.score_images(images)
    np.testing.assert_array_equal(found.decisions[:, 0], bright > middle)
    np.testing.assert_allclose(found.abnormality, bright, rtol=1e-6)
    maps = list(detector.anomaly_maps(images[:2]))
    assert [m.shape for m in maps] == [(32, 32), (32, 32)]


def test_an_unknown_label_leaves_the_image_out_of_that_category(tiny_backbone, pictures):
    images, labels = pictures
    labels = labels.copy()
    labels[0] = np.nan
    detector = OnePerCategory(("Ring", "Bar", "Dots"), tiny_backbone, lambda name: Brightness())
    detector.fit(images, labels)
    assert [one.seen[0] for one in detector.single] == [11, 11, 11]
    assert detector.general.seen[0] == 11


def test_the_auxiliary_set_shows_other_modalities(tmp_path):
    material = open_material("phantom-oct", None, None, tmp_path, lambda _: None, 12)
    assert material.modality == "oct"
    small = Material(material.data, material.bank, images=3)
    assert len(small.auxiliary.images) == len(small.auxiliary.masks) == 6
    for abnormal, mask in zip(small.auxiliary.abnormal, small.auxiliary.masks, strict=True):
        assert mask.any() == abnormal


def test_phantom_masks_are_those_of_the_signs(tmp_path):
    data = open_material("phantom-brain", None, None, tmp_path, lambda _: None, 12).data
    assert isinstance(data, PhantomData)
    for row, signs in enumerate(data.signs):
        whole = data.mask(row)
        parts = [data.sign_mask(row, sign) for sign in signs]
        assert whole.any() == bool(signs)
        assert np.array_equal(whole, np.any(parts, axis=0) if parts else whole & False)
        absent = next(s for s in data.modality.signs if s not in signs)
        assert not data.sign_mask(row, absent).any()


def test_real_data_needs_a_root(ask):
    with pytest.raises(InputError, match="needs --root"):
        ask(("clip-signs",), data="chestxray8")


def run_command(monkeypatch, *arguments):
    monkeypatch.setattr("sys.argv", ["sdmad", "compare", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        main.run()
    return end.value.code


def test_the_list_names_every_system(monkeypatch, capsys):
    assert run_command(monkeypatch, "--list") == 0
    told = capsys.readouterr().out
    assert all(name in told for name in MODULES)


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
    assert "no system 'clip-sings'; there are clip-names" in capsys.readouterr().err
