import numpy as np
import pytest
import torch

from sdmad.baselines.components.published import is_published, unstandardised, with_gelu
from sdmad.errors import InputError


def test_published_flaws_are_announced():
    assert not is_published("none", "X", "flaws")
    with pytest.warns(UserWarning, match='X with compat="published": flaws'):
        assert is_published("published", "X", "flaws")
    with pytest.raises(InputError, match="none or published"):
        is_published("yes", "X", "flaws")


def test_gelu_replaces_quick_gelu_in_a_copy_that_shares_the_weights(tiny_backbone):
    assert tiny_backbone.activation == "quick_gelu"
    pixels = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    before = tiny_backbone.encode_image(pixels), tiny_backbone.encode_text(["a ring"])
    changed = with_gelu(tiny_backbone)
    assert changed.activation == "gelu"
    assert changed.image.patch.weight is tiny_backbone.image.patch.weight
    assert not torch.allclose(changed.encode_image(pixels), before[0])
    assert not torch.allclose(changed.encode_text(["a ring"]), before[1])
    assert torch.equal(tiny_backbone.encode_image(pixels), before[0])  # the original is as it was
    assert with_gelu(changed) is changed


def test_pixels_return_to_unit_range(tiny_backbone):
    image = np.full((32, 32), 51, np.uint8)
    image[:, 16:] = 102
    pixels = unstandardised(tiny_backbone.preprocessing([image]), tiny_backbone)
    expected = torch.from_numpy(image / 255).float().expand(1, 3, 32, 32)
    torch.testing.assert_close(pixels, expected)
