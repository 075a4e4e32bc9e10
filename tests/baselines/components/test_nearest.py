import pytest
import torch

from sdmad.baselines.components import nearest
from sdmad.baselines.components.nearest import nearest_distance, nearest_places


def test_the_distance_is_to_the_nearest_stored_token():
    memory = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    features = torch.tensor([[0.6, 0.8], [-1.0, 0.0], [0.0, -1.0]])
    assert nearest_distance(features, memory).tolist() == pytest.approx([0.2, 0.0, 1.0])


def test_the_nearest_place_over_several_parts(monkeypatch):
    monkeypatch.setattr(nearest, "CHUNK", 2)
    memory = torch.tensor([[0.0, 0.0], [9.0, 9.0], [3.0, 0.0], [0.0, 4.0], [1.0, 0.0]])
    far, which = nearest_places(torch.tensor([[3.0, 4.0], [0.0, 0.0], [2.1, 0.0]]), memory)
    assert far.tolist() == pytest.approx([3.0, 0.0, 0.9])
    assert which.tolist() == [3, 0, 2]
