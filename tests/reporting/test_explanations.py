"""Explanations laid over the image."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sdmad import SDMAD, SDMADConfig, SignBank
from sdmad.reporting.explanations import found_overlays
from sdmad.reporting.image_pages import map_pictures

WORDS = {"Ring": ("a round ring", "an open circle"), "Bar": ("a long bar",)}


@pytest.fixture(scope="module")
def detector(tiny_backbone, pictures):
    images, labels = pictures
    bank = SignBank("two", "picture", ("a plain picture",), WORDS)
    return SDMAD(bank, tiny_backbone, SDMADConfig(epochs=0)).fit(images, labels[:, :2])


@pytest.fixture
def explained(detector, pictures, tmp_path) -> tuple[Path, object]:
    """An image in which both categories are found."""
    path = tmp_path / "picture.png"
    Image.fromarray(pictures[0][3]).save(path)
    one = detector.explain(path)
    return path, replace(one, categories=tuple(replace(c, found=True) for c in one.categories))


def test_a_map_is_not_shown_twice_where_one_sign_is_kept(detector, explained):
    anomaly, *found = [overlays for _, _, overlays in found_overlays(detector, *explained)]
    assert [overlay.title for overlay in anomaly] == ["Anomaly map"]
    titles = {tuple(overlay.title for overlay in overlays) for overlays in found}
    assert titles == {("Ring", "Ring, the deciding sign"), ("Bar, the deciding sign",)}
    for overlays in found:
        for one, other in pairwise(overlays):
            assert not np.array_equal(one.values, other.values)


def test_maps_for_the_report_and_for_a_page(detector, explained):
    path, explanation = explained
    image = Image.open(path)
    few, every = map_pictures(detector, path, image, explanation)
    assert sorted(picture.title for picture in few) == ["Bar, the deciding sign", "Ring"]
    titles = [picture.title for picture in every]
    assert titles[0] == "Anomaly map"
    assert sorted(titles[1:]) == ["Bar, the deciding sign", "Ring", "Ring, the deciding sign"]
    nothing = tuple(replace(c, found=False) for c in explanation.categories)
    few, every = map_pictures(detector, path, image, replace(explanation, categories=nothing))
    assert [picture.title for picture in (*few, *every)] == ["Anomaly map", "Anomaly map"]
