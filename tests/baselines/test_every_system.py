"""Every registered system on phantoms with masks, on the embedded backbone, shortly trained."""

import dataclasses

import numpy as np
import pytest

from sdmad import SignBank, load_backbone
from sdmad.baselines.registry import SYSTEMS, Auxiliary, Build, list_systems, load_system
from sdmad.errors import MissingExtraError, WeightsMissingError
from sdmad.phantoms.cases import draw_cases, load_modality

SHORT = {
    "coop": {"epochs": 2},
    "tip-adapter-f": {"epochs": 2},
    "cross-modal": {"steps": 130},
    "ape-t": {"epochs": 2},
    "lp-plus-plus": {"epochs": 2},
    "clap": {"epochs": 2},
    "sd-mad-unselected": {"epochs": 1},
    "sd-mad-printed": {"epochs": 1},
    "sd-mad-searched": {"epochs": 1},
    "sd-mad": {"epochs": 1},
    "inctrl": {"epochs": 1, "steps": 5},
    "dra-imagenet": {"size": 64, "epochs": 1, "steps": 2, "batch_size": 6, "references": 2},
    "bgad-imagenet": {"size": 64, "epochs": 2, "passes": 1, "blocks": 2, "repeats": 2},
    "anomaly-clip": {"epochs": 1},
    "aa-clip": {"text_epochs": 1, "image_epochs": 1, "image_batch": 8},
    "mvfa": {"epochs": 1, "batch_size": 16},
    "sd-mad-mvfa": {"epochs": 1, "batch_size": 16},
}
MISSING = {
    "medclip-names": WeightsMissingError,
    "medclip-ensemble": WeightsMissingError,
    "medclip": WeightsMissingError,
    "dra": MissingExtraError,
    "bgad": MissingExtraError,
    "univad": WeightsMissingError,
}
"""What `make test` has no weights or libraries for; tests_extras have."""

TRAINED = {"ape-t": 250}
"""Whose trained numbers are more than these; the others' are more than 500."""


def whole_masks(cases):
    """Where each is abnormal, of any sign."""
    empty = [np.zeros(case.image.shape, dtype=np.bool_) for case in cases]
    pairs = zip(empty, cases, strict=True)
    return [np.logical_or.reduce([no, *case.masks.values()]) for no, case in pairs]


@pytest.fixture(scope="module")
def oct_phantoms():
    """Ten images, their labels and masks; a normal one and one of each category among them."""
    bank, cases = SignBank.load("oct"), list(draw_cases(load_modality("oct"), 60, 5))
    first = [next(c for c in cases if name in c.categories) for name in bank.names]
    normal = [c for c in cases if not c.categories][:3]
    chosen = [*first, *normal, *[c for c in cases if c.categories][:4]]
    labels = np.array([[float(n in c.categories) for n in bank.names] for c in chosen])
    return bank, [c.image for c in chosen], labels, whole_masks(chosen)


@pytest.fixture(scope="module")
def auxiliary():
    cases = list(draw_cases(load_modality("brain"), 16, 6))
    abnormal = np.array([bool(c.categories) for c in cases])
    assert 2 <= (~abnormal).sum() < 16
    images = tuple(c.image for c in cases)
    return Auxiliary(images, abnormal, tuple(whole_masks(cases)), ("brain MRI",) * 16)


@pytest.mark.parametrize("name", SYSTEMS)
def test_it_runs_on_the_embedded_backbone_with_masks(name, oct_phantoms, auxiliary):
    system = load_system(name)
    bank, images, labels, masks = oct_phantoms
    build = Build(bank, load_backbone("lite"), 0, lambda: auxiliary)
    settings = system.settings_on(build.backbone)
    if name in SHORT:
        settings = dataclasses.replace(settings, **SHORT[name])
    if name in MISSING:
        with pytest.raises(MISSING[name]):
            system.build(build, settings)
        return
    detector = system.build(build, settings).fit(images, labels, masks=masks)
    scored = detector.score_images(images[:4])
    assert scored.scores.shape == scored.decisions.shape == (4, len(bank.names))
    assert np.isfinite(scored.scores).all()
    assert np.isfinite(scored.abnormality).all()
    assert detector.has_maps == system.maps
    if system.maps:
        (found,) = detector.anomaly_maps(images[:1])
        assert found.shape == images[0].shape
        assert np.isfinite(found).all()
        assert found.std() > 0
    learns = name in SHORT or name.startswith("linear-probe")
    least = TRAINED.get(name, 500) if name in SHORT else 0
    assert (detector.trained_parameters > least) == learns
    assert (len(detector.losses) > 0) == (name in SHORT)
    assert np.isfinite(detector.losses).all()


def test_published_settings_are_frozen_and_every_search_keeps_their_class():
    for system in list_systems():
        if system.published is not None:
            with pytest.raises(dataclasses.FrozenInstanceError):
                system.published.epochs = 3
        if system.searched is not None:
            assert type(system.searched) is type(system.published)
