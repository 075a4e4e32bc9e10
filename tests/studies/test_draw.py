"""A draw, and systems that are fitted and scored on it together."""

import dataclasses
import types
import warnings
from typing import get_args

import numpy as np
import pytest

from sdmad import SDMADConfig, load_backbone
from sdmad.baselines.registry import load_system
from sdmad.baselines.zero_shot import ZeroShotCLIP
from sdmad.choices import DrawOrder
from sdmad.evaluation.protocols import evaluate_scored
from sdmad.studies import draw as module
from sdmad.studies.draw import (
    ORDERS,
    PAPER_SYSTEMS,
    Draw,
    Variant,
    draws_of,
    fit_variants,
    own_warnings,
    plain_settings,
    score_together,
    variants_of,
)


@pytest.fixture
def draw(material):
    return Draw(material, 1, 0)


@pytest.fixture
def trainings(monkeypatch, one_epoch):
    """An entry a training of adapters."""
    import sdmad.detector.sdmad as detector

    true_training, seen = detector.train_adapters, []

    def counted(*given):
        seen.append(given[4])
        return true_training(*given)

    monkeypatch.setattr(detector, "train_adapters", counted)
    return seen


def fit(variants, draw, backbone):
    return {one.variant.key: one.detector for one in fit_variants(variants, draw, backbone)}


def test_the_drawn_patients_are_not_judged(draw):
    table = draw.material.table
    keys = table.patient_keys()
    drawn = {keys[i] for i in draw.support.indices}
    rest = [file for file, key in zip(table.files, keys, strict=True) if key not in drawn]
    assert list(draw.files) == rest
    assert len(rest) == 24 - 2 * len(drawn)
    assert not drawn & {keys[row] for row in draw.rows}


def test_the_order_of_drawing_is_the_draws(material, monkeypatch):
    asked = []
    monkeypatch.setattr(module, "draw_support", lambda *given: asked.append(given[1:]))
    for draw in (*draws_of(material, 3, 1), *draws_of(material, 3, 1, "patient-by-patient")):
        assert draw.support is None
    assert asked == [(3, 0, "round-robin"), (3, 0, "patient-by-patient")]
    assert set(ORDERS) == set(get_args(DrawOrder))


def test_whom_judged_images_are_of_is_told(draw):
    table, rows = draw.material.table, draw.rows
    assert draw.people == f"{len(rows)} images of {len(rows) // 2} patients"  # two of each

    def told(patients):
        data = types.SimpleNamespace(table=dataclasses.replace(table, patients=patients))
        other = Draw(types.SimpleNamespace(table=data.table), 1, 0)
        other.__dict__["rows"] = rows
        return other.people

    some = [who if row != rows[0] else "" for row, who in enumerate(table.patients)]
    assert told(tuple(some)).endswith("patients and 1 image of an unknown patient")
    assert told(None).startswith(f"{len(rows)} images of unknown patients, resampled one by one")


def test_how_many_patients_the_shots_are_of_is_told(draw):
    table = draw.material.table
    first = {name: rows[:1] for name, rows in draw.support.served.items()}
    support = dataclasses.replace(draw.support, served=first, notes=("short",))
    told = ", ".join(f"{name} 1" for name in first)
    made = dataclasses.replace(draw)
    made.__dict__["support"] = support
    assert made.notes == ("short", f"patients behind the shots: {told}")
    unknown = dataclasses.replace(table, patients=None)
    assert support.patients_told(unknown) == ""


def test_every_system_is_fitted_in_the_order_that_is_asked(draw, tiny_backbone, trainings):
    found = fit(variants_of(PAPER_SYSTEMS), draw, tiny_backbone)
    assert tuple(found) == PAPER_SYSTEMS
    assert found["clip-names"].bank.sentences[0] == "picture with ring"
    assert found["clip-signs"].kept_signs.all()
    assert found["sd-mad-printed"].config == SDMADConfig.paper()
    assert found["sd-mad-unselected"].config == SDMADConfig.paper(selection="none")
    assert found["sd-mad-unselected"].kept_signs.all()
    assert found["sd-mad"].config == SDMADConfig()
    assert len(trainings) == 2  # that of the paper serves both rules
    for one in score_together(found, draw.files, tiny_backbone).values():
        assert one.scores.scores.shape == (len(draw.files), 3)
        evaluation = evaluate_scored(draw.labelled(one.scores), draw.material.bank.names, 0)
        assert 0 <= evaluation.mean_auroc <= 1


def test_a_shared_training_says_to_the_bit_what_one_alone_says(draw, tiny_backbone, trainings):
    names = ("sd-mad-unselected", "sd-mad-printed")
    both = fit(variants_of(names), draw, tiny_backbone)
    assert len(trainings) == 1
    together = score_together(both, draw.files, tiny_backbone)
    for name in names:
        single = fit(variants_of([name]), draw, tiny_backbone)
        alone = score_together(single, draw.files, tiny_backbone)
        for field in dataclasses.fields(alone[name].scores):
            ours, theirs = (getattr(s[name].scores, field.name) for s in (together, alone))
            np.testing.assert_array_equal(ours, theirs)
    kept = both["sd-mad-printed"].kept_signs
    assert kept.any()
    assert not kept.all()


def test_what_belongs_to_training_is_trained_anew(draw, tiny_backbone, trainings):
    printed, own = load_system("sd-mad-printed"), load_system("sd-mad")
    fit(
        [
            Variant(printed),
            Variant(printed, SDMADConfig.paper(lam=0.5), "another lambda"),
            Variant(own),
            Variant(own, SDMADConfig(selection="paper"), "its probe was fitted with the signs"),
        ],
        draw,
        tiny_backbone,
    )
    assert [(one.lam, one.image_evidence, one.selection) for one in trainings] == [
        *((0.8, "none", "paper"), (0.5, "none", "paper")),
        *((0.8, "cross-modal", "none"), (0.8, "cross-modal", "paper")),
    ]


def test_variants_of_one_system_have_files_of_their_own():
    system = load_system("sd-mad-printed")
    stems = {Variant(system, SDMADConfig.paper(lam=lam), str(lam)).stem for lam in (0.2, 0.4)}
    assert len(stems | {Variant(system).stem}) == 3
    assert Variant(system).stem == "sd-mad-printed"


def test_systems_that_are_scored_together_say_what_each_says_alone(fitted, material, make_clip):
    files = material.table.files
    other = ZeroShotCLIP(fitted.bank_, load_backbone(make_clip(seed=5), image_size=24))
    found = score_together({"fitted": fitted, "other": other}, files, fitted.backbone_)
    for name, system in (("fitted", fitted), ("other", other)):
        alone = system.decision_function(files)
        np.testing.assert_allclose(found[name].scores.scores, alone, atol=1e-5)
    assert not np.allclose(found["fitted"].scores.scores, found["other"].scores.scores)


def test_images_are_read_once_for_all_that_prepare_them_alike(fitted, draw, monkeypatch):
    read, true_reading = [], type(fitted.preprocessing).__call__
    monkeypatch.setattr(
        type(fitted.preprocessing),
        "__call__",
        lambda self, images: read.append(len(images)) or true_reading(self, images),
    )
    score_together({"one": fitted, "same": fitted}, draw.files, fitted.backbone_)
    assert sum(read) == len(draw.files)


def test_own_warnings_are_kept_once_and_those_of_libraries_dropped():
    with own_warnings() as notes:
        for _ in range(2):
            warnings.warn_explicit("it collapsed", UserWarning, str(module.PACKAGE / "x.py"), 1)
        warnings.warn_explicit("a library's own", UserWarning, "/elsewhere/x.py", 1)
    assert notes == ["it collapsed"]


def test_what_comes_before_the_first_block_is_computed_once_for_all(fitted, draw, monkeypatch):
    backbone, asked = fitted.backbone_, []
    true_patches = type(backbone.image).patches
    monkeypatch.setattr(
        type(backbone.image),
        "patches",
        lambda self, inputs: asked.append(len(inputs)) or true_patches(self, inputs),
    )
    bare = ZeroShotCLIP(fitted.bank_, backbone)
    found = score_together({"fitted": fitted, "bare": bare}, draw.files, backbone)
    assert sum(asked) == len(draw.files)
    monkeypatch.undo()
    np.testing.assert_array_equal(
        found["bare"].scores.scores, bare.decision_function(list(draw.files))
    )
    assert "embed" not in vars(backbone.image)


def test_a_setting_that_joined_later_changes_what_is_kept_only_where_it_changes_anything():
    before = plain_settings(SDMADConfig())
    assert "trunk_weight" not in before
    assert before["prior_weight"] == "fitted"
    assert plain_settings(SDMADConfig(trunk_weight="fitted")) == {
        **before, "trunk_weight": "fitted",
    }  # fmt: skip
    assert plain_settings(None) is None
