import pytest
import torch

from sdmad.baselines.components.nearest import nearest_distance


def test_the_distance_is_to_the_nearest_stored_token():
    memory = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    features = torch.tensor([[0.6, 0.8], [-1.0, 0.0], [0.0, -1.0]])
    assert nearest_distance(features, memory).tolist() == pytest.approx([0.2, 0.0, 1.0])
