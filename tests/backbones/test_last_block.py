"""The last block for the class token alone, and an embedding that is computed once."""

import torch


def test_the_class_token_is_what_the_whole_block_makes_of_it(tiny_backbone):
    tower = tiny_backbone.image
    hidden = torch.randn(3, 5, tower.widths[0], generator=torch.Generator().manual_seed(0))
    whole = tower.block(tower.depth, hidden, None)
    alone = tower.last_block(hidden, None)
    assert alone.shape == (3, 1, tower.widths[0])
    torch.testing.assert_close(alone[:, 0], whole[:, 0])


def test_a_text_tower_runs_its_last_block_whole(tiny_backbone):
    tower = tiny_backbone.text
    hidden, state = tower.embed(tiny_backbone.tokenize(["a ring", "two long bars"]))
    last = tower.last_block(hidden, state)
    torch.testing.assert_close(last, tower.block(tower.depth, hidden, state))


def test_inputs_are_remembered_by_the_very_tensor(tiny_backbone):
    tower = tiny_backbone.image
    pixels, equal = torch.zeros(1, 3, 32, 32), torch.zeros(1, 3, 32, 32)
    with tower.remembering(pixels):
        assert tower.embed(pixels)[0] is tower.embed(pixels)[0]
        assert tower.embed(equal)[0] is not tower.embed(pixels)[0]
        torch.testing.assert_close(tower.embed(equal)[0], tower.embed(pixels)[0])
    assert tower.embed(pixels)[0] is not tower.embed(pixels)[0]
