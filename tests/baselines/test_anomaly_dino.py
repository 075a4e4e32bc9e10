import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from sdmad.baselines.anomaly_dino import AnomalyDINO, AnomalyDINOSettings, build_anomaly_dino
from sdmad.baselines.registry import Build
from tests.conftest import draw_picture, draw_pictures


@pytest.fixture(scope="module")
def build(small_bank, tiny_backbone):
    return Build(small_bank, tiny_backbone, 0, lambda: None)


@pytest.fixture(scope="module")
def fitted(build):
    """No test may alter it."""
    return build_anomaly_dino(build).fit(*draw_pictures(24))


def test_an_images_score_is_the_mean_of_its_farthest_patches(tiny_backbone):
    places = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0], [-1.0, 0.0]])
    memory = torch.tensor([[1.0, 0.0]])
    one = AnomalyDINO(tiny_backbone, AnomalyDINOSettings())
    distances, score = one.compare(places, memory)
    assert distances.tolist() == pytest.approx([0.0, 0.4, 1.0, 2.0])
    assert float(score) == pytest.approx(2.0)  # one in a hundred of four: never none
    half = AnomalyDINO(tiny_backbone, AnomalyDINOSettings(top=0.5))
    assert float(half.compare(places, memory)[1]) == pytest.approx(1.5)


def test_the_patches_are_the_towers_with_mean_0_and_length_1(tiny_backbone, pictures):
    pixels = tiny_backbone.preprocessing(pictures[0][:2])
    for block, depth in ((24, 6), (12, 3)):  # of a tower of 6
        one = AnomalyDINO(tiny_backbone, AnomalyDINOSettings(block=block))
        hidden, state = tiny_backbone.image.embed(pixels)
        for index in range(1, depth + 1):
            hidden = tiny_backbone.image.block(index, hidden, state)
        patches = hidden[:, 1:] - hidden[:, 1:].mean(dim=-1, keepdim=True)
        expected = patches / patches.norm(dim=-1, keepdim=True)
        torch.testing.assert_close(one.read(pixels), expected, atol=1e-4, rtol=0)


def test_it_remembers_every_turn_of_the_normal_images(tiny_backbone, pictures):
    pixels = tiny_backbone.preprocessing([draw_picture((), 1), draw_picture((), 2)])
    quarter = AnomalyDINO(tiny_backbone, AnomalyDINOSettings(rotations=4))
    memory = quarter.remember(pixels)
    assert memory.places.shape == (4 * 2 * 16, 32)
    assert memory.owner.reshape(4, 2, 16).unique(dim=2).tolist() == [[[0], [1]]] * 4
    for turn in range(4):
        turned = pixels.rot90(-turn, (2, 3))
        other = pixels.rot90(turn, (2, 3))
        mine = memory.places.reshape(4, 2, 16, 32)[turn]
        apart = [float((mine - quarter.read(t)).abs().max()) for t in (turned, other)]
        assert min(apart) < 1e-3


def test_it_finds_marks_and_where_they_are(fitted):
    assert len(fitted.general.memory_.places) == 8 * 8 * 16
    images, labels = draw_pictures(24, seed=5)
    scored = fitted.score_images(images)
    assert roc_auc_score(labels.any(axis=1), scored.abnormality) > 0.95
    bars = [draw_picture((1,), 700 + i) for i in range(4)]
    columns = np.stack(list(fitted.anomaly_maps(bars))).mean(axis=(0, 1))
    assert columns[4:9].min() > columns[20:].max()


def test_a_score_depends_on_its_image_alone(fitted):
    images = draw_pictures(6, seed=3)[0]
    alone = np.concatenate([fitted.decision_function([image]) for image in images])
    np.testing.assert_allclose(fitted.decision_function(images), alone, atol=1e-4)
