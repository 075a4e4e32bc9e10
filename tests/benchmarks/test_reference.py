"""The package against the plain implementation: same losses, same scores, same decisions."""

import numpy as np
import pytest
import torch

from benchmarks.reference import Reference
from sdmad import SDMAD, SDMADConfig


@pytest.fixture(scope="module")
def both(tiny_clip, tiny_backbone, small_bank, pictures):
    images, labels = pictures
    detector = SDMAD(small_bank, tiny_backbone, SDMADConfig.paper(epochs=3), seed=4)
    detector.fit(images, labels)
    blocks = [int(block) for block in detector.image_adapters_]
    signs = list(small_bank.categories.values())
    plain = Reference(str(tiny_clip), blocks, signs, small_bank.normal, seed=4)
    pixels = tiny_backbone.preprocessing(images)
    losses = plain.fit(pixels, torch.tensor(labels), epochs=3, seed=4)
    return detector, plain, pixels, losses


def test_every_epoch_has_the_same_loss(both):
    detector, _, _, losses = both
    np.testing.assert_allclose([epoch.loss for epoch in detector.log_], losses, rtol=1e-4)
    assert losses[-1] < losses[0]


def test_scores_and_decisions_are_the_same(both):
    detector, plain, pixels, _ = both
    scores, found = plain.score(pixels)
    ours = detector.score_pixels(pixels)
    np.testing.assert_allclose(ours.scores, scores.numpy(), atol=1e-4)
    margin = np.abs(plain_margins(plain, pixels))
    sure = margin > 1e-4
    assert sure.mean() > 0.9
    np.testing.assert_array_equal(ours.decisions[sure], found.numpy()[sure])


def plain_margins(plain, pixels):
    with torch.no_grad():
        signs, anchor = plain.text()
        cosines, to_anchor = plain.image(pixels) @ signs.T, plain.image(pixels) @ anchor
    mins = [cosines[:, mine].amin(dim=1) for mine in plain.kept(signs)]
    return (torch.stack(mins, dim=1) - to_anchor[:, None]).numpy()
