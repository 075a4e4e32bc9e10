import torch

from sdmad.baselines.mvfa.memory import augment


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
