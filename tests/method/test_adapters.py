"""Shift adapters (Eq. 1 and 2), where they sit, and the tower that carries them."""

import math
from fractions import Fraction
from itertools import pairwise

import pytest
import torch
from torch import nn

from sdmad.backbones import load_backbone
from sdmad.method.adapters import (
    PAPER_IMAGE_BLOCKS,
    AdaptedTower,
    ShiftAdapter,
    adapted_blocks,
)


def adapter_2d(activation: str = "leaky_relu") -> ShiftAdapter:
    """lambda 0.8; W1 = [[1, 0], [0, 1]], W2 = [[2, 0], [1, 1]]."""
    adapter = ShiftAdapter(2, bottleneck=1.0, lam=0.8, activation=activation)
    with torch.no_grad():
        adapter.down.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
        adapter.up.weight.copy_(torch.tensor([[2.0, 0.0], [1.0, 1.0]]))
    return adapter


def test_equations_1_and_2_by_hand():
    # f = (1, -2). W1 f = (1, -2), leaky(.01): (1, -.02).
    # W2 (1, -.02) = (2, 1 - .02) = (2, .98), leaky: the same.
    # Eq. 2: .8 (1, -2) + .2 (2, .98) = (1.2, -1.404).
    torch.testing.assert_close(
        adapter_2d()(torch.tensor([[1.0, -2.0]])), torch.tensor([[1.2, -1.404]])
    )


def test_the_outer_activation_of_equation_1_applies():
    # f = (-1, 0). W1 f = (-1, 0) -> (-.01, 0). W2 -> (-.02, -.01) -> (-.0002, -.0001).
    # .8 (-1, 0) + .2 (-.0002, -.0001) = (-.80004, -.00002).
    torch.testing.assert_close(
        adapter_2d()(torch.tensor([[-1.0, 0.0]])), torch.tensor([[-0.80004, -0.00002]])
    )


def test_other_activations_by_hand():
    # Identity: W2 W1 (1, -2) = (2, -1); .8 (1, -2) + .2 (2, -1) = (1.2, -1.8).
    torch.testing.assert_close(
        adapter_2d("identity")(torch.tensor([[1.0, -2.0]])), torch.tensor([[1.2, -1.8]])
    )

    # GELU(x) = x Phi(x): a = (gelu(1), gelu(-2)); (2 a0, a0 + a1); once more; blend.
    def gelu(x):
        return x * 0.5 * (1 + math.erf(x / math.sqrt(2)))

    a0, a1 = gelu(1.0), gelu(-2.0)
    expected = [0.8 * 1 + 0.2 * gelu(2 * a0), 0.8 * -2 + 0.2 * gelu(a0 + a1)]
    torch.testing.assert_close(
        adapter_2d("gelu")(torch.tensor([[1.0, -2.0]])), torch.tensor([expected])
    )


def test_decision_sizes_bottleneck_three_quarters_no_bias_lambda_point_eight():
    adapter = ShiftAdapter(1024)
    assert {name: tuple(p.shape) for name, p in adapter.named_parameters()} == {
        "down.weight": (768, 1024),  # MVFA: 768 of 1024; no bias
        "up.weight": (1024, 768),
    }
    assert adapter.lam == 0.8
    assert isinstance(adapter.activation, nn.LeakyReLU)
    assert adapter.activation.negative_slope == 0.01


def test_decision_pytorch_default_initialisation():
    torch.manual_seed(3)
    adapter = ShiftAdapter(8)
    torch.manual_seed(3)
    down, up = nn.Linear(8, 6, bias=False), nn.Linear(6, 8, bias=False)
    assert torch.equal(adapter.down.weight, down.weight)
    assert torch.equal(adapter.up.weight, up.weight)


def test_decision_a_zero_second_layer_still_gives_lambda_times_f():
    adapter = ShiftAdapter(3, lam=0.8)
    nn.init.zeros_(adapter.up.weight)
    features = torch.randn(4, 3)
    torch.testing.assert_close(adapter(features), 0.8 * features)
    # It is not dead, as ReLU would be: the second layer gets a gradient (TRIAL, point 6).
    adapter(features).sum().backward()
    assert adapter.up.weight.grad is not None
    assert adapter.up.weight.grad.abs().sum() > 0


def test_lambda_one_is_the_plain_block_and_zero_the_adapter_alone():
    features = torch.randn(5, 2, dtype=torch.float64)
    adapter = adapter_2d().double()
    adapter.lam = 1.0
    assert torch.equal(adapter(features), features)
    adapter.lam = 0.0

    def leaky(x):
        return torch.where(x > 0, x, 0.01 * x)

    w1, w2 = adapter.down.weight, adapter.up.weight
    torch.testing.assert_close(adapter(features), leaky(leaky(features @ w1.T) @ w2.T))


@pytest.mark.parametrize("shape", [(2,), (3, 2), (4, 3, 2)])
def test_the_shape_is_kept(shape):
    assert adapter_2d()(torch.randn(shape)).shape == shape


@pytest.mark.parametrize("activation", ["leaky_relu", "gelu", "identity"])
def test_gradients(activation):
    torch.manual_seed(0)
    adapter = ShiftAdapter(4, activation=activation).double()
    features = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    w1, w2 = adapter.down.weight.detach(), adapter.up.weight.detach()
    inner = adapter.activation(features.detach() @ w1.T)
    # Away from LeakyReLU's kink, or finite differences would straddle it.
    assert (features.detach() @ w1.T).abs().min() > 1e-4
    assert (inner @ w2.T).abs().min() > 1e-4

    def run(x, down, up):
        return torch.func.functional_call(adapter, {"down.weight": down, "up.weight": up}, (x,))

    arguments = (features, w1.clone().requires_grad_(), w2.clone().requires_grad_())
    assert torch.autograd.gradcheck(run, arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"lam": 1.5}, r"lam must lie in \[0, 1\], got 1.5"),
        ({"lam": -0.1}, "lam must lie"),
        ({"lam": math.nan}, "lam must lie"),
        ({"activation": "relu"}, "'gelu', 'identity', 'leaky_relu'.*got 'relu'"),
        ({"bottleneck": 0.0}, "must be positive"),
        ({"bottleneck": -1.0}, "must be positive"),
        ({"bottleneck": math.nan}, "must be positive"),
        ({"width": 0}, "must be positive"),
    ],
)
def test_values_out_of_range_raise(arguments, message):
    with pytest.raises(ValueError, match=message):
        ShiftAdapter(**{"width": 4, **arguments})


def test_a_wrong_width_names_expected_and_actual_shape():
    with pytest.raises(ValueError, match=r"\(\.\.\., 2\), got \(5, 3\)"):
        adapter_2d()(torch.zeros(5, 3))


@pytest.mark.parametrize(
    ("depth", "expected"),
    [
        (24, (6, 8, 18, 24)),  # the paper's text
        (6, (1, 2, 5, 6)),  # 1.5 -> 2, 2, 4.5 -> 5, 6; two at 2, the earlier moves down
        (12, (3, 4, 9, 12)),
        (4, (1, 2, 3, 4)),  # 1, 1.33 -> 1, 3, 4: no room below block 1
        (5, (1, 2, 4, 5)),  # 1.25 -> 1, 1.67 -> 2, 3.75 -> 4, 5
        (7, (1, 2, 5, 7)),  # 1.75 -> 2, 2.33 -> 2, 5.25 -> 5, 7; the earlier moves down
        (10, (2, 3, 8, 10)),  # 2.5 -> 3 (half up), 3.33 -> 3, 7.5 -> 8; the earlier moves down
        (14, (4, 5, 11, 14)),  # 3.5 -> 4 (half up), 4.67 -> 5, 10.5 -> 11
        (32, (8, 11, 24, 32)),  # ViT-H: 8, 10.67 -> 11, 24, 32
        (48, (12, 16, 36, 48)),
    ],
)
def test_decision_layers_fractions_of_the_depth(depth, expected):
    assert adapted_blocks(depth) == expected


def test_decision_layers_mvfa_blocks_are_one_setting_away():
    assert adapted_blocks(24, (6, 12, 18, 24)) == (6, 12, 18, 24)
    assert adapted_blocks(12, (6, 12, 18, 24)) == (3, 6, 9, 12)
    assert adapted_blocks(2, (6,)) == adapted_blocks(1, (6,)) == (1,)
    assert adapted_blocks(24, range(1, 25)) == tuple(range(1, 25))


@pytest.mark.parametrize("depth", range(4, 49))
def test_blocks_of_every_depth_ascend_stay_inside_and_follow_the_rule(depth):
    blocks = adapted_blocks(depth)
    assert blocks[-1] == depth
    assert blocks[0] >= 1
    assert all(a < b for a, b in pairwise(blocks))
    # Exact fractions, rounded half up: floor(x + 1/2).
    exact = [math.floor(Fraction(b * depth, 24) + Fraction(1, 2)) for b in PAPER_IMAGE_BLOCKS]
    if len(set(exact)) == 4:
        assert list(blocks) == exact
    else:
        assert all(abs(a - b) <= 1 for a, b in zip(blocks, exact, strict=True))


def test_too_shallow_a_tower_raises():
    with pytest.raises(ValueError, match="3 blocks cannot hold 4 adapters"):
        adapted_blocks(3)


@pytest.mark.parametrize("blocks", [(8, 6), (6, 6), (0, 6), (6, 25)])
def test_blocks_that_do_not_ascend_in_a_tower_of_24_raise(blocks):
    with pytest.raises(ValueError, match="must ascend from 1 to 24"):
        adapted_blocks(12, blocks)


class CountingTower(nn.Module):
    """Block i multiplies by i + 1; pooling takes the first token as it is."""

    depth, width = 3, 2

    def __init__(self):
        super().__init__()
        self.runs = []

    def block(self, index, hidden, state):
        self.runs.append(index)
        return hidden * (index + 1) + state

    def last_block(self, hidden, state):
        return self.block(self.depth, hidden, state)

    def pool(self, hidden, state):
        return hidden[:, 0]


def test_each_adapter_works_on_its_own_block_by_hand():
    # Identity activation, W1 = W2 = I: f_ada = f, so lam f + (1 - lam) f = f; with W2 = 3 I and
    # lam .5 an adapter multiplies by .5 + .5 * 3 = 2. Adapters after blocks 1 and 3 of a tower
    # that multiplies by 2, 3, 4: f -> 2f -> (adapter) 4f -> 12f -> 48f -> (adapter) 96f.
    def doubling():
        adapter = ShiftAdapter(2, bottleneck=1.0, lam=0.5, activation="identity")
        with torch.no_grad():
            adapter.down.weight.copy_(torch.eye(2))
            adapter.up.weight.copy_(3 * torch.eye(2))
        return adapter

    tower = AdaptedTower(CountingTower(), {3: doubling(), 1: doubling()})
    hidden = torch.tensor([[[1.0, -1.0]]])
    frozen = tower.frozen_part(hidden.requires_grad_(), 0.0)
    torch.testing.assert_close(frozen, torch.tensor([[[2.0, -2.0]]]))
    assert not frozen.requires_grad
    assert tower.tower.runs == [1]
    torch.testing.assert_close(tower(frozen, 0.0), torch.tensor([[96.0, -96.0]]))
    assert tower.tower.runs == [1, 2, 3]


def test_the_state_reaches_every_block():
    tower = AdaptedTower(CountingTower(), {})
    # No adapter: 1 -> 2 + s -> 3 (2 + s) + s -> 4 (6 + 4 s) + s = 24 + 17 s; s = 10: 194.
    hidden = torch.ones(1, 1, 2)
    torch.testing.assert_close(
        tower(tower.frozen_part(hidden, 10.0), 10.0), torch.tensor([[194.0, 194.0]])
    )


@pytest.mark.parametrize("block", [0, 4, -1])
def test_an_adapter_outside_the_tower_raises(block):
    with pytest.raises(ValueError, match=r"blocks 1 to 3, no block"):
        AdaptedTower(CountingTower(), {block: ShiftAdapter(2)})


@pytest.fixture(scope="module")
def backbone(tiny_clip):
    return load_backbone(tiny_clip)


def embedded(backbone, which):
    """A tower, its embedded input and state, and the plain tower's output."""
    generator = torch.Generator().manual_seed(1)
    if which == "image":
        tower = backbone.image
        inputs = torch.randn(3, 3, 32, 32, generator=generator)
    else:
        tower = backbone.text
        inputs = backbone.tokenize(["a small bright focus", "mass", "two words"])
    with torch.no_grad():
        hidden, state = tower.embed(inputs)
        return tower, hidden, state, tower(inputs)


@pytest.mark.parametrize("which", ["image", "text"])
def test_lambda_one_equals_the_plain_tower(backbone, which):
    tower, hidden, state, plain = embedded(backbone, which)
    adapters = {b: ShiftAdapter(tower.widths[0], lam=1.0) for b in (2, tower.depth)}
    adapted = AdaptedTower(tower, adapters)
    result = adapted(adapted.frozen_part(hidden, state), state)
    torch.testing.assert_close(result, plain, rtol=0, atol=1e-6)


@pytest.mark.parametrize("which", ["image", "text"])
@pytest.mark.parametrize("blocks", [(1,), (2, 4), (4,)])
def test_frozen_part_and_forward_equal_a_run_in_one_piece(backbone, which, blocks):
    tower, hidden, state, plain = embedded(backbone, which)
    torch.manual_seed(0)
    adapters = {block: ShiftAdapter(tower.widths[0]) for block in blocks}
    adapted = AdaptedTower(tower, adapters)
    with torch.no_grad():
        result = adapted(adapted.frozen_part(hidden, state), state)
        for index in range(1, tower.depth + 1):
            hidden = tower.block(index, hidden, state)
            if index in adapters:
                hidden = adapters[index](hidden)
        expected = tower.pool(hidden, state)
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-6)
    assert not torch.allclose(result, plain, atol=1e-3)  # the adapters do something
    torch.testing.assert_close(result.norm(dim=1), torch.ones(3))


@pytest.mark.parametrize("which", ["image", "text"])
def test_only_the_adapters_get_gradients(backbone, which):
    tower, hidden, state, plain = embedded(backbone, which)
    adapters = {block: ShiftAdapter(tower.widths[block - 1]) for block in (2, 4)}
    adapted = AdaptedTower(tower, adapters)
    frozen = adapted.frozen_part(hidden, state)
    assert not frozen.requires_grad
    (adapted(frozen, state) * plain).sum().backward()
    for parameter in adapted.adapters.parameters():
        assert parameter.grad is not None
        assert parameter.grad.abs().sum() > 0
    assert all(p.grad is None and not p.requires_grad for p in tower.parameters())
    assert {n for n, p in adapted.named_parameters() if p.requires_grad} == {
        f"adapters.{block}.{layer}.weight" for block in (2, 4) for layer in ("down", "up")
    }
