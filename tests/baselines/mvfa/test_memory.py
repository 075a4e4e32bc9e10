import pytest
import torch

from sdmad.baselines.mvfa.memory import augment, nearest_distance


def test_an_image_becomes_eleven():
    images = torch.arange(2 * 3 * 8 * 8, dtype=torch.float32).reshape(2, 3, 8, 8)
    many = augment(images)
    assert many.shape == (22, 3, 8, 8)
    assert torch.equal(many[:2], images)
    assert torch.equal(many[18:20], images.flip(-1))
    assert torch.equal(many[20:], images.flip(-2))
    turned = augment(images, angles=(90.0,), shift=0.25)  # a quarter of half of 8 is one pixel
    torch.testing.assert_close(turned[2:4], images.rot90(1, (2, 3)), atol=1e-3, rtol=1e-4)
    torch.testing.assert_close(turned[4:6, :, :-1, :-1], images[:, :, 1:, 1:])
    flat = augment(torch.ones(1, 1, 8, 8))
    torch.testing.assert_close(flat, torch.ones_like(flat))  # mirrored at the edges, not darkened


def test_the_distance_is_to_the_nearest_stored_token():
    memory = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    features = torch.tensor([[0.6, 0.8], [-1.0, 0.0], [0.0, -1.0]])
    assert nearest_distance(features, memory).tolist() == pytest.approx([0.2, 0.0, 1.0])
