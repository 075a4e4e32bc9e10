import pytest
import torch
from torch.nn.functional import normalize

from sdmad.baselines.aa_clip.adapters import ImageAdapters, TextAdapters, blend


def leaky(values):
    return torch.where(values > 0, values, 0.01 * values)


def test_an_adapter_is_brought_to_the_length_of_the_token():
    # The adapted token (0, 5) becomes (0, 5) / 5 times the length 10 of (6, 8).
    mixed = blend(torch.tensor([[6.0, 8.0]]), torch.tensor([[0.0, 5.0]]), 0.1)
    assert mixed.flatten().tolist() == pytest.approx([5.4, 8.2])


def test_the_text_tower_is_adapted_and_its_projection_replaced(tiny_backbone):
    torch.manual_seed(0)
    tower = tiny_backbone.text
    adapters = TextAdapters(tower, 1, 16, 0.1)
    ids = tiny_backbone.tokenize(["ab", "a bar"])
    hidden, state = tower.embed(ids)
    hidden = tower.block(1, hidden, state)
    hidden = blend(hidden, leaky(hidden @ adapters.layers[0].weight.T), 0.1)
    for index in (2, 3, 4):
        hidden = tower.block(index, hidden, state)
    last = tower.norm_after(hidden[torch.arange(2), state.end])
    expected = normalize(leaky(last @ adapters.projection.weight.T), dim=1)
    torch.testing.assert_close(adapters(ids), expected)


def test_the_image_tower_is_adapted_and_read_at_its_levels(tiny_backbone, pictures):
    torch.manual_seed(0)
    tower = tiny_backbone.image
    adapters = ImageAdapters(tower, 2, (2, 6), 16, 0.1)
    pixels = tiny_backbone.preprocessing(pictures[0][:2])
    hidden, state = tower.embed(pixels)
    normed = {}
    for index in range(1, 7):
        hidden = tower.block(index, hidden, state)
        if index <= 2:
            hidden = blend(hidden, leaky(hidden @ adapters.layers[index - 1].weight.T), 0.1)
        normed[index] = tower.norm_after(hidden[:, 1:])
    levels, whole = adapters(pixels)
    for found, block, project in zip(levels, (2, 6), adapters.levels, strict=True):
        torch.testing.assert_close(found, normalize(normed[block] @ project.weight.T, dim=-1))
    expected = normalize(normed[6] @ adapters.whole.weight.T, dim=-1).mean(dim=1)
    torch.testing.assert_close(whole, expected)
