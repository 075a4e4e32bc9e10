"""Every system on CLIP towers of its published size, random weights: `make test-sizes`, minutes.

DRA's and BGAD's networks at their sizes are in tests_extras.
"""

import dataclasses

import numpy as np
import pytest
import torch

from benchmarks.random_clip import write_random_checkpoint
from sdmad import SignBank, load_backbone
from sdmad.baselines.registry import Auxiliary, Build, load_system
from sdmad.baselines.univad.masks import Gate
from sdmad.phantoms.cases import draw_cases, load_modality

PATCHES = {240: 17, 518: 37}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A random checkpoint of a kind, written once."""
    written = {}

    def get(kind):
        if kind not in written:
            folder = tmp_path_factory.mktemp("clip")
            write_random_checkpoint(folder, kind)
            written[kind] = folder
        return written[kind]

    return get


def phantoms(modality, normal, abnormal, seed=3):
    """Images of a modality, which are abnormal, and where."""
    cases = list(draw_cases(load_modality(modality), 100, seed))
    chosen = [c for c in cases if not c.categories][:normal]
    chosen += [c for c in cases if c.categories][:abnormal]
    empty = np.zeros(chosen[0].image.shape, bool)
    masks = [np.logical_or.reduce([empty, *c.masks.values()]) for c in chosen]
    truth = np.array([bool(c.categories) for c in chosen])
    return [c.image for c in chosen], truth, masks


def build(backbone):
    images, truth, masks = phantoms("brain", 2, 2)
    auxiliary = Auxiliary(tuple(images), truth, tuple(masks), ("brain MRI",) * 4)
    bank = SignBank("one", "retinal OCT", ("a normal retina",), {"Lesion": ("a dark cyst",)})
    return Build(bank, backbone, 0, lambda: auxiliary)


def run(name, backbone, normal, abnormal, **changes):
    """One detector of any anomaly, trained as little as can be; the scores and map of one image."""
    system, asked = load_system(name), build(backbone)
    settings = system.published
    if changes:
        settings = dataclasses.replace(settings, **changes)
    detector = system.build(asked, settings)
    if hasattr(detector, "forget_categories"):
        detector.forget_categories()
    images, truth, masks = phantoms("oct", normal, abnormal)
    detector.fit(images, truth[:, None].astype(float), masks=masks)
    scored = detector.score_images(images[:1])
    assert np.isfinite(scored.abnormality).all()
    if system.maps:
        (found,) = detector.anomaly_maps(images[:1])
        assert found.shape == images[0].shape
        assert np.isfinite(found).all()
    return detector


@pytest.mark.parametrize("name", ["mvfa", "sd-mad-mvfa"])
def test_mvfa(checkpoint, name):
    """4 shots: 44 x 290 vectors a layer, 8 adapters of 12.58 million numbers."""
    backbone = load_backbone(checkpoint("ViT-L/14"), 240)
    detector = run(name, backbone, 4, 4, epochs=0)
    mvfa = detector.mvfa if name == "sd-mad-mvfa" else detector.general
    assert [tuple(stored.shape) for stored in mvfa.memory_] == [(44, 290, 768)] * 4
    assert mvfa.tower_.blocks == (6, 12, 18, 24)
    assert detector.trained_parameters == 12_582_912
    assert mvfa.map_pixels(torch.zeros(1, 3, 240, 240)).shape == (1, 240, 240)


def test_anomaly_clip(checkpoint):
    backbone = load_backbone(checkpoint("ViT-L/14"), 518)
    detector = run("anomaly-clip", backbone, 1, 1, epochs=1)
    prompts = detector.general.trained.prompts_
    assert prompts.context.shape == (2, 12, 768)
    assert prompts.deep.shape == (8, 4, 768)
    assert detector.general.trained.side == PATCHES[518]


def test_aa_clip(checkpoint):
    backbone = load_backbone(checkpoint("ViT-L/14"), 518)
    detector = run("aa-clip", backbone, 1, 1, text_epochs=1, image_epochs=0)
    expected = 6 * 1024**2 + 5 * 1024 * 768 + 4 * 768**2
    assert detector.trained_parameters == expected
    assert detector.general.map_pixels(torch.zeros(1, 3, 518, 518)).shape == (1, 518, 518)


@pytest.mark.parametrize("name", ["winclip", "winclip-few"])
def test_winclip(checkpoint, name):
    backbone = load_backbone(checkpoint("ViT-B/16-plus-240"))
    detector = run(name, backbone, 4, 1)
    assert [len(m) for m in detector.general.members] == [196, 169]
    assert detector.general.map_pixels(torch.zeros(1, 3, 240, 240)).shape == (1, 15, 15)


def test_inctrl(checkpoint):
    backbone = load_backbone(checkpoint("ViT-B/16-plus-240"))
    detector = run("inctrl", backbone, 4, 1, epochs=1, steps=2, batch_size=4)
    assert detector.general.reader.function.blocks == (7, 9, 11)
    assert detector.general.references_.patches.shape == (4, 3, 225, 896)


@torch.no_grad()
def test_univad(checkpoint):
    """One thing in one normal image and in one judged image; SAM-HQ is given the box."""
    backbone = load_backbone(checkpoint("ViT-L/14"), 448)
    names = dict.fromkeys(("detector", "segmenter", "dense", "context"), "random")
    system, asked = load_system("univad"), build(backbone)
    one_thing = {"whole": 1.0, "least": -1.0}  # whatever a mask of random weights covers
    settings = dataclasses.replace(system.published, **names, **one_thing)
    detector = system.build(asked, settings).general
    models = detector.normal.models
    values = torch.rand(2, 3, 448, 448, generator=torch.Generator().manual_seed(0))
    found = models.finder.boxes(values[0])
    assert found.shape[1] == 4
    assert len(found) <= 900
    assert models.context(values[:1]).shape == (1, 56, 56, 384)
    box = torch.tensor([[0.25, 0.25, 0.75, 0.75]])
    models.finder.boxes = lambda _: box
    detector.fit(values, torch.tensor([False, True]), [None, None])
    seen = detector.normal.known.seen
    assert detector.normal.known.components.gate is Gate.SINGLE
    assert seen.clip.levels.shape == (1, 4, 1024, 1024)
    assert seen.clip.local.shape == (1, 1024, 768)
    assert seen.dense.shape == (1, 1, 1024, 1536)
    query = values[1:]
    assert detector.map_pixels(query).shape == (1, 448, 448)
    assert detector.map_pixels(query).isfinite().all()
    assert detector.score_pixels(query).isfinite().all()
