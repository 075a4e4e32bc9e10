"""Muon: orthogonal steps, as PyTorch's own takes them in bfloat16."""

import pytest
import torch

from pretraining.muon import Muon, orthogonalise


@pytest.mark.parametrize("shape", [(8, 8), (32, 8), (8, 32)])
def test_singular_values_come_near_one_and_directions_stay(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    found = orthogonalise(matrix, 5)
    left, values, right = torch.linalg.svd(found, full_matrices=False)
    assert values.min() > 0.3
    assert values.max() < 1.6
    nearest = torch.linalg.svd(matrix, full_matrices=False)
    expected = nearest.U @ nearest.Vh
    cosine = torch.cosine_similarity((left @ right).flatten(), expected.flatten(), dim=0)
    assert cosine > 0.99


def test_steps_are_those_of_torch_up_to_its_bfloat16():
    start = torch.randn((24, 16), generator=torch.Generator().manual_seed(1))
    mine, theirs = (torch.nn.Parameter(start.clone()) for _ in range(2))
    own = Muon([mine], lr=0.1, steps=5)
    torchs = torch.optim.Muon([theirs], lr=0.1, weight_decay=0.01, momentum=0.95, ns_steps=5)
    for step in range(4):
        gradient = torch.randn((24, 16), generator=torch.Generator().manual_seed(10 + step))
        mine.grad, theirs.grad = gradient.clone(), gradient.clone()
        own.step()
        torchs.step()
    moved, expected = mine - start, theirs - start
    assert (moved - expected).norm() / expected.norm() < 0.03


def test_query_key_and_value_are_made_orthogonal_one_by_one():
    gradient = torch.randn((24, 8), generator=torch.Generator().manual_seed(2))
    together = torch.nn.Parameter(torch.zeros(24, 8))
    together.grad = gradient.clone()
    Muon([together], lr=1.0, weight_decay=0.0).step()
    for part in range(3):
        rows = slice(8 * part, 8 * part + 8)
        torch.testing.assert_close(-together[rows], orthogonalise(gradient[rows], 4))
