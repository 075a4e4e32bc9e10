"""What an epoch is told to have done, and what stands in one."""

import numpy as np
import pytest
import torch

from sdmad import SDMADConfig
from sdmad.detector.training import (
    SignTexts,
    SupportImages,
    build_adapters,
    mean_sign_cosine,
    train_adapters,
)
from sdmad.method.losses import inter_anomaly_loss

STILL = {"learning_rate": 1e-12, "margin": 0.3, "image_text_weight": 0.7}


@pytest.fixture
def trained(small_bank, tiny_backbone, pictures):
    """Train on twelve pictures with a learning rate that moves nothing."""
    labels = torch.tensor(pictures[1], dtype=torch.float32)
    category = torch.tensor(small_bank.category_index)

    def train(**settings):
        config = SDMADConfig.paper(**{**STILL, **settings})
        image, text = build_adapters(tiny_backbone, config, 4)
        texts = SignTexts(small_bank, tiny_backbone, text)
        images = SupportImages(tiny_backbone.preprocessing(pictures[0]), tiny_backbone, image)
        log = train_adapters(images, texts, labels, category, config, seed=4)
        return images, texts, labels, category, log

    return train


def test_a_loss_is_the_mean_over_the_batches(trained):
    images, texts, labels, category, log = trained(batch_size=5, epochs=2)
    text = texts()
    order, expected = torch.Generator().manual_seed(4), []
    with torch.no_grad():
        for _ in range(2):
            parts = [
                float(
                    inter_anomaly_loss(
                        images(rows), text.signs, category, text.anchor, labels[rows], 0.3, 0.7
                    )
                )
                for rows in torch.randperm(12, generator=order).split(5)
            ]
            assert len(parts) == 3
            expected.append(np.mean(parts))
    assert [epoch.loss for epoch in log] == pytest.approx(expected, rel=1e-5)
    assert min(expected) > 0


def test_an_epochs_cosine_is_that_of_its_signs(trained):
    _, texts, _, _, log = trained(epochs=1)
    signs = texts().signs.detach().numpy()
    cosines = [signs[i] @ signs[j] for i in range(6) for j in range(i)]
    assert log[0].sign_cosine == pytest.approx(np.mean(cosines), rel=1e-5)


def test_every_image_is_seen_once_an_epoch(trained):
    images, *_ = trained(batch_size=5, epochs=0)
    assert len(images) == 12
    torch.testing.assert_close(images(torch.tensor([7, 2])), images(slice(0, 12))[[7, 2]])


def test_images_of_later_batches_keep_their_places(tiny_backbone, pictures):
    pixels = tiny_backbone.preprocessing(pictures[0])
    many = torch.cat([pixels, pixels.flip(0), pixels[:9]])  # 33: two whole batches and one more
    tower, _ = build_adapters(tiny_backbone, SDMADConfig(epochs=1), 0)
    with torch.no_grad():
        once = SupportImages(pixels, tiny_backbone, tower)(slice(0, 12))
        found = SupportImages(many, tiny_backbone, tower)(slice(0, 33))
    torch.testing.assert_close(found, torch.cat([once, once.flip(0), once[:9]]))


def test_the_mean_cosine_is_between_different_signs():
    # cosines 0, .6 and .8
    signs = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
    assert mean_sign_cosine(signs) == pytest.approx(1.4 / 3)
    assert mean_sign_cosine(signs[:2]) == 0
    assert mean_sign_cosine(signs[[0, 0]]) == pytest.approx(1)
    assert mean_sign_cosine(signs[:1]) == 0


def test_adapters_sit_where_the_settings_say(tiny_backbone):
    image, text = build_adapters(tiny_backbone, SDMADConfig(epochs=1), 0)
    assert (list(image.adapters), list(text.adapters)) == (["1", "2", "5", "6"], ["4"])
    image, text = build_adapters(
        tiny_backbone, SDMADConfig(epochs=1, image_blocks=(3,), text_blocks=(1, 2)), 0
    )
    assert (list(image.adapters), list(text.adapters)) == (["3"], ["1", "2"])


def test_the_adapters_learn(trained):
    *_, log = trained(learning_rate=1e-3, batch_size=12, epochs=4)
    assert log[-1].loss < 0.99 * log[0].loss  # one batch: without a step all are equal
