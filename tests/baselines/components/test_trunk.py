"""The trunk that comes with the package; timm's are tested in tests_extras."""

import pytest
import torch

from sdmad import load_backbone
from sdmad.baselines.components.trunk import load_trunk, preprocessing_of
from sdmad.data.preprocessing import Preprocessing
from sdmad.errors import InputError


@pytest.fixture(scope="module")
def pixels():
    return torch.randn(9, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def test_its_maps_are_those_under_the_embedded_backbone(pixels):
    trunk = load_trunk("lite", "pretrained", (1, 2, 3, 4))
    found = trunk(pixels)
    assert trunk.channels == (24, 40, 112, 320)
    assert [tuple(level.shape) for level in found] == [
        (9, 24, 16, 16), (9, 40, 8, 8), (9, 112, 4, 4), (9, 320, 2, 2)
    ]  # fmt: skip
    theirs = load_backbone("lite").image.trunk(pixels)
    for mine, their in zip(found[1:], (theirs.fine, theirs.coarse, theirs.last), strict=True):
        torch.testing.assert_close(mine, their, atol=1e-5, rtol=1e-5)
    assert not trunk.training
    assert not any(weight.requires_grad for weight in trunk.parameters())


def test_the_last_level_and_the_order_of_levels(pixels):
    last = load_trunk("lite", "pretrained", (-1,))
    assert last.channels == (320,)
    turned = load_trunk("lite", "pretrained", (4, 1))(pixels[:2])
    torch.testing.assert_close(last(pixels[:2])[0], turned[0])
    assert turned[1].shape[1] == 24


def test_its_images_have_its_own_mean_in_the_backbones_window():
    own = Preprocessing(128, (0.3,) * 3, (0.2,) * 3, normalise_border=False, window="full")
    changed = preprocessing_of(load_trunk("lite", "pretrained", (-1,)), own, 448)
    # (brightness - 127) / 128 in units of 255
    assert changed.mean == pytest.approx((127 / 255,) * 3)
    assert changed.std == pytest.approx((128 / 255,) * 3)
    assert (changed.size, changed.normalise_border, changed.window) == (448, False, "full")


def test_other_weights_are_refused():
    with pytest.raises(InputError, match="weights of its own; got weights='random'"):
        load_trunk("lite", "random", (-1,))
