import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch.nn.functional import interpolate

from sdmad.backbones import Tower
from sdmad.baselines.components.patch_maps import (
    gaussian_blur,
    patches_a_side,
    support_masks,
    to_pixels,
)
from sdmad.errors import InputError


def test_the_grid_is_counted_behind_the_class_token(tiny_backbone):
    assert patches_a_side(tiny_backbone, "X") == 4  # 32 pixels in patches of 8


def test_a_tower_without_a_class_token_is_refused(tiny_backbone):
    class Bare(Tower):
        depth, widths = 1, (8,)

        def embed(self, inputs):
            return torch.zeros(len(inputs), 16, 8), None

        def block(self, index, hidden, state):
            return hidden

        def pool(self, hidden, state):
            return hidden[:, 0]

    import copy

    changed = copy.copy(tiny_backbone)
    changed.__dict__["image"] = Bare()
    changed.__dict__["image"].weight = torch.nn.Parameter(torch.zeros(1))
    with pytest.raises(InputError, match="X needs an image tower with a class token"):
        patches_a_side(changed, "X")


@pytest.mark.parametrize("corners", [True, False])
def test_spreading_is_torchs_bilinear_interpolation(corners):
    patches = torch.randn(3, 16, generator=torch.Generator().manual_seed(1))
    wide = interpolate(
        patches.reshape(3, 1, 4, 4), size=(10, 10), mode="bilinear", align_corners=corners
    )
    torch.testing.assert_close(to_pixels(patches, 10, corners=corners), wide[:, 0])


def test_the_blur_is_scipys():
    maps = torch.randn(2, 12, 12, generator=torch.Generator().manual_seed(2))
    expected = gaussian_filter(maps.numpy(), (0, 1.3, 1.3), mode="nearest", truncate=4)
    np.testing.assert_allclose(gaussian_blur(maps, 1.3).numpy(), expected, atol=1e-5)
    assert gaussian_blur(maps, 0.0) is maps


def test_masks_are_given_for_normal_images_and_for_those_that_have_one():
    mask = np.zeros((4, 4), bool)
    mask[:2, :2] = True
    abnormal = torch.tensor([True, True, False, False])
    found, given = support_masks([mask, None, None, mask], abnormal, 2)
    assert found.tolist()[0] == [[1, 0], [0, 0]]
    assert not found[1:].any()  # an image that shows only other kinds is normal throughout
    assert given.tolist() == [True, False, True, True]
