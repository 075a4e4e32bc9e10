import math

import pytest
import torch

from sdmad.baselines.inctrl.heads import Heads, InCTRLSettings, focal_loss, patch_residuals


def test_residuals_are_distances_to_the_nearest_reference_patch():
    x, y, diagonal = [1.0, 0.0], [0.0, 1.0], [0.6, 0.8]
    query = torch.tensor([[[x, diagonal], [x, x]]])  # one image, two blocks, two patches
    first = torch.tensor([[y, y], [[-1.0, 0.0], y]])
    second = torch.tensor([[diagonal, y], [y, y]])
    found = patch_residuals(query, torch.stack([first, second])[:, None])
    # Block 1: x is nearest to the diagonal (.6), the diagonal to itself; block 2: x to y, twice.
    expected = [(0.5 * (1 - 0.6) + 0.5) / 2, (0 + 0.5) / 2]
    torch.testing.assert_close(found, torch.tensor([expected]))


def test_each_image_may_have_references_of_its_own():
    one, two = torch.tensor([[[1.0, 0.0]]]), torch.tensor([[[0.0, 1.0]]])
    found = patch_residuals(torch.stack([one, two]), torch.stack([one, one])[None])
    torch.testing.assert_close(found, torch.tensor([[0.0], [0.5]]))


@pytest.mark.parametrize(("gamma", "power"), [(2.0, 2), (0.0, 0)])
def test_the_focal_loss(gamma, power):
    found = focal_loss(torch.tensor([0.8, 0.4]), torch.tensor([1.0, 0.0]), gamma)
    expected = -(0.2**power * math.log(0.8) + 0.4**power * math.log(0.6)) / 2
    assert float(found) == pytest.approx(expected, rel=1e-5)


def test_the_focal_loss_is_finite_at_the_ends():
    assert torch.isfinite(focal_loss(torch.tensor([0.0, 1.0]), torch.tensor([1.0, 0.0]), 2.0))


class Total(torch.nn.Module):
    """Stands in for a head; can be followed by hand."""

    def forward(self, values):
        return values.sum(dim=1)


@torch.no_grad()
def test_the_score_is_the_mean_of_the_whole_and_the_worst_patch():
    heads = Heads(4, 3, InCTRLSettings(reduction=2)).eval()
    for layer, value in ((heads.adapter[0], 0.5), (heads.adapter[2], 0.25)):
        torch.nn.init.constant_(layer.weight, value)
    heads.image, heads.whole = Total(), Total()
    embedding = torch.tensor([[0.0, 0.0, 0.6, 0.8]])
    references = torch.tensor([[[1.0, 0.0, 0.0, 0.0]], [[0.0, 0.0, 0.0, 1.0]]])
    residuals, text = torch.tensor([[0.1, 0.3, 0.2]]), torch.tensor([0.9])
    total, image = heads(embedding, references, residuals, text)
    # A class token of sum s becomes 2 s (its scale), then s in each of two, then s / 2 in each of
    # four: references 0.5, image 0.7.
    assert float(image) == pytest.approx(4 * (0.5 - 0.7), rel=1e-5)
    whole = 0.6 + 3 * (0.9 - 0.8)
    assert float(total) == pytest.approx((whole + 0.3) / 2, rel=1e-5)


def test_sizes_as_published():
    heads = Heads(640, 225, InCTRLSettings())
    assert sum(p.numel() for p in heads.adapter.parameters()) == 2 * 640 * 160
    for head, width in ((heads.image, 640), (heads.whole, 225)):
        linear = (width + 1) * 128 + (128 + 1) * 64 + 64 + 1
        assert sum(p.numel() for p in head.parameters()) == linear + 2 * (128 + 64)
