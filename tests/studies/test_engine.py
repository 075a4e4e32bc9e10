"""What is kept is taken up again only where all that it depends on is as it was."""

import dataclasses
import json

import numpy as np
import pytest
from PIL import Image

import sdmad.studies.engine as module
from sdmad import SignBank, load_backbone
from sdmad.baselines.linear_probe import LinearProbeSettings
from sdmad.baselines.registry import load_system
from sdmad.baselines.zero_shot import ZeroShotCLIP
from sdmad.studies.draw import Draw, Variant, draws_of, variants_of
from sdmad.studies.engine import Engine
from sdmad.studies.material import Material, open_material
from tests.toys import toy


class Run:
    """An engine that remembers what it said and how often its toy was fitted."""

    def __init__(self, folder, backbone, **more):
        self.said, self.fitted = [], []
        self.engine = Engine(backbone, folder, self.said.append, **more)
        self.toy = Variant(toy(fitted=self.fitted))

    def __call__(self, draws, *others):
        self.said.clear(), self.fitted.clear()
        return self.engine.run([self.toy, *others], draws, "pictures")


@pytest.fixture
def run(tiny_backbone, tmp_path):
    return Run(tmp_path / "out", tiny_backbone)


def same(one, other):
    """Whether two outcomes agree to the bit."""
    return all(
        np.array_equal(getattr(one.scored, f.name), getattr(other.scored, f.name))
        for f in dataclasses.fields(one.scored)
    )


def test_an_outcome_is_what_the_system_says_of_the_judged_images(run, material, tiny_backbone):
    draw = Draw(material, 1, 3)
    (found,) = run([draw], *variants_of(["clip-signs"]))["clip-signs"]
    rest = material.table.subset(draw.support.evaluation(material.table))
    alone = ZeroShotCLIP(material.bank, tiny_backbone).decision_function(rest.files)
    np.testing.assert_allclose(found.scored.scores, alone, atol=1e-6)
    np.testing.assert_array_equal(found.scored.labels, rest.labels)
    assert found.scored.patients == rest.patient_keys()
    assert found.kept_signs.shape == (len(material.bank.sentences),)


def test_what_is_kept_is_read_again_whole(run, material):
    draws = draws_of(material, 1, 2)
    first = run(draws)["bright"]
    assert run.said == ["pictures: draw 1 of 2", "pictures: draw 2 of 2"]
    again = run(draws)["bright"]
    assert (run.said, run.fitted) == ([], [])
    assert all(map(same, first, again))
    for one, other in zip(first, again, strict=True):
        assert dataclasses.replace(one, scored=None) == dataclasses.replace(other, scored=None)
    assert (again[0].losses, again[0].cost.parameters) == ((2.0, 1.0), 8)


def test_either_order_of_drawing_is_kept_for_itself(run, material):
    first = run(draws_of(material, 1, 1))["bright"]
    other = draws_of(material, 1, 1, "patient-by-patient")
    run(other)
    assert len(run.fitted) == 1
    assert run.said == ["pictures: draw 1 of 1"]  # what is of the other order is not in its way
    assert len(list(run.engine.folder.glob("*.npz"))) == 2
    assert all(map(same, first, run(draws_of(material, 1, 1))["bright"]))
    assert run.fitted == []
    # Nor does one take the place of the other where someone renames the file.
    variant = run.toy
    kept = run.engine.path(variant, draws_of(material, 1, 1)[0])
    kept.replace(run.engine.path(variant, other[0]))
    run(other)
    assert len(run.fitted) == 1
    assert "stored with another order of drawing" in run.said[0]


def other_bank(run, draw, patch):
    bank = draw.material.bank
    sentences = (*bank.normal, "one more sentence")
    changed = SignBank(bank.name, bank.modality, sentences, bank.categories)
    return Draw(Material(draw.material.data, changed), 1, 0), "bank"


def other_data(run, draw, patch):
    file = draw.material.table.files[0]
    Image.fromarray(np.zeros((48, 48), np.uint8)).save(file)
    return Draw(Material(draw.material.data, draw.material.bank), 1, 0), "data set"


def other_backbone(run, draw, patch):
    backbone = load_backbone(patch.clip(seed=9))
    run.engine = dataclasses.replace(run.engine, backbone=backbone)
    return draw, "backbone"


def other_size(run, draw, patch):
    backbone = load_backbone(patch.clip(), image_size=24)
    run.engine = dataclasses.replace(run.engine, backbone=backbone)
    return draw, "preprocessing"


def other_version(run, draw, patch):
    patch.setattr(module, "__version__", "0.0.0")
    return draw, "version of sdmad"


def other_question(run, draw, patch):
    run.engine = dataclasses.replace(run.engine, general_only=True)
    return draw, "question"


def with_maps(run, draw, patch):
    run.engine = dataclasses.replace(run.engine, maps=True)
    return draw, "choice about maps"


@pytest.mark.parametrize(
    "change",
    [
        *(other_bank, other_data, other_backbone, other_size),
        *(other_version, other_question, with_maps),
    ],
)
def test_a_change_leads_to_a_new_computation_and_is_said(
    run, material, monkeypatch, make_clip, change
):
    draw = Draw(material, 1, 0)
    run([draw])
    monkeypatch.clip = make_clip
    changed, told = change(run, draw, monkeypatch)
    run([changed])
    assert len(run.fitted) == 1
    said, *_ = run.said
    assert f"stored with another {told}; computed again" in said
    assert "bright-1shot-0.npz" in said
    run([changed])
    assert (run.said, run.fitted) == ([], [])


def test_settings_that_changed_in_the_code_lead_to_a_new_computation(run, material, tiny_backbone):
    draw, probe = Draw(material, 1, 0), load_system("linear-probe")
    engine = run.engine
    (before,) = engine.run([Variant(probe)], [draw], "x")["linear-probe"]
    recipe = dataclasses.replace(probe.recipe, published=LinearProbeSettings(regularisation=9.0))
    (after,) = engine.run([Variant(dataclasses.replace(probe, home=recipe))], [draw], "x")[
        "linear-probe"
    ]
    assert "stored with another value of its settings; computed again" in run.said[1]
    assert not same(before, after)


@pytest.mark.parametrize("spoil", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b"no zip"])
def test_a_damaged_file_is_computed_again_and_said(run, material, spoil):
    draw = Draw(material, 1, 0)
    (first,) = run([draw])["bright"]
    path = run.engine.path(run.toy, draw)
    path.write_bytes(spoil(path.read_bytes()))
    (again,) = run([draw])["bright"]
    assert len(run.fitted) == 1
    assert "cannot be read" in run.said[0]
    assert str(path) in run.said[0]
    assert same(first, again)


def test_a_group_says_to_the_bit_what_each_system_says_alone(
    run, material, tiny_backbone, tmp_path, one_epoch
):
    names = ("clip-signs", "linear-probe", "sd-mad-printed", "sd-mad")
    draw = Draw(material, 1, 0)
    together = run.engine.run(variants_of(names), [draw], "x")
    apart = Engine(tiny_backbone, tmp_path / "apart", run.said.append)
    for variant in variants_of(names):
        assert same(apart.run([variant], [draw], "x")[variant.key][0], together[variant.key][0])


def test_only_what_is_missing_of_a_group_is_run(run, material):
    draw, others = Draw(material, 1, 0), variants_of(["clip-signs"])
    run.engine.run(others, [draw], "x")
    assert list(run([draw], *others)) == ["bright", "clip-signs"]
    run([draw], *others)
    assert run.fitted == []


class Killed:
    """Lets some batches be scored, then interrupts as Ctrl-C does."""

    def __init__(self, monkeypatch, batches):
        self.scored, self.left = [], batches
        true_scoring = module.score_together

        def scoring(detectors, images, backbone, progress):
            if self.left == 0:
                raise KeyboardInterrupt
            self.left -= 1
            self.scored.append(len(images))
            return true_scoring(detectors, images, backbone, progress)

        monkeypatch.setattr(module, "score_together", scoring)


def test_a_large_draw_that_was_killed_goes_on_with_the_next_piece(
    run, material, tiny_backbone, tmp_path, monkeypatch
):
    monkeypatch.setattr(module, "PIECE", 4)
    draw = Draw(material, 1, 0)
    whole = Run(tmp_path / "whole", tiny_backbone)([draw])["bright"][0]
    killed = Killed(monkeypatch, 2)
    with pytest.raises(KeyboardInterrupt):
        run([draw])
    assert killed.scored == [4, 4]
    killed.left, killed.scored = -1, []
    (resumed,) = run([draw])["bright"]
    assert sum(killed.scored) == len(draw.rows) - 8
    assert same(whole, resumed)
    assert [path.name for path in run.engine.folder.iterdir()] == ["bright-1shot-0.npz"]


def test_pieces_of_another_bank_are_not_taken_up(run, material, monkeypatch):
    monkeypatch.setattr(module, "PIECE", 4)
    draw = Draw(material, 1, 0)
    killed = Killed(monkeypatch, 2)
    with pytest.raises(KeyboardInterrupt):
        run([draw])
    killed.left, killed.scored = -1, []
    changed, _ = other_bank(run, draw, monkeypatch)
    run([changed])
    assert sum(killed.scored) == len(draw.rows)
    assert sum("stored with another bank; computed again" in said for said in run.said) == 2


def test_maps_are_judged_where_that_is_asked(tiny_backbone, tmp_path):
    material = open_material("phantom-oct", None, None, tmp_path, lambda _: None, 40)
    draw = Draw(material, 1, 0)
    without = Run(tmp_path / "without", tiny_backbone)([draw])["bright"][0]
    assert (without.pixels, without.patient_pixels) == ({}, None)
    run = Run(tmp_path / "with", tiny_backbone, maps=True)
    (made,), (kept,) = run([draw])["bright"], run([draw])["bright"]
    assert run.fitted == []
    for part in ("normal", "abnormal", "called"):
        ours, theirs = (getattr(o.patient_pixels, part) for o in (kept, made))
        np.testing.assert_array_equal(ours, theirs)
    assert kept.patient_pixels.patients == made.patient_pixels.patients
    assert set(kept.patient_pixels.patients) == set(kept.scored.patients)
    assert kept.pixels == made.pixels
    whole = kept.patient_pixels.metrics(np.ones((len(kept.patient_pixels.patients), 1)))
    for metric, value in kept.pixels.items():
        assert whole[metric][0] == pytest.approx(value, abs=2e-3)


def test_the_fingerprint_is_plain_and_stands_in_the_file(run, material):
    draw = Draw(material, 1, 0)
    run([draw])
    with np.load(run.engine.path(run.toy, draw)) as stored:
        about = json.loads(str(stored["about"]))
    assert about["fingerprint"] == run.engine.fingerprint(run.toy, draw)
    assert {"version of sdmad", "data set", "bank", "backbone", "seed"} <= set(about["fingerprint"])
