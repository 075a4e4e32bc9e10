import pytest
import torch
from torch import nn

from sdmad import SDMAD, SDMADConfig
from sdmad.backbones import load_backbone
from sdmad.detector import frozen
from sdmad.detector.frozen import FrozenStore, room_for

CPU = torch.device("cpu")


class Counted:
    """Computes tokens, and counts how often."""

    def __init__(self, numbers=100):
        self.calls, self.numbers = 0, numbers

    def __call__(self):
        self.calls += 1
        return torch.zeros(self.numbers), None


def test_the_same_inputs_are_computed_once():
    store, compute, tower = FrozenStore(), Counted(), nn.Linear(1, 1)
    inputs = torch.arange(6.0)
    first = store.get(tower, 2, inputs, compute)
    assert store.get(tower, 2, inputs.clone(), compute) is first
    assert compute.calls == 1
    for other in (
        lambda: store.get(tower, 3, inputs, compute),
        lambda: store.get(tower, 2, inputs + 1, compute),
        lambda: store.get(tower, 2, inputs.view(2, 3), compute),
        lambda: store.get(nn.Linear(1, 1), 2, inputs, compute),
    ):
        before = compute.calls
        other()
        assert compute.calls == before + 1


def test_the_least_recently_used_goes_first():
    store, compute, tower = FrozenStore(kept=1000), Counted(100), nn.Linear(1, 1)  # 400 bytes each
    inputs = [torch.full((1,), float(i)) for i in range(3)]
    store.get(tower, 1, inputs[0], compute)
    store.get(tower, 1, inputs[1], compute)
    store.get(tower, 1, inputs[0], compute)
    store.get(tower, 1, inputs[2], compute)  # the second goes
    assert compute.calls == 3
    store.get(tower, 1, inputs[0], compute)
    assert compute.calls == 3
    store.get(tower, 1, inputs[1], compute)
    assert compute.calls == 4


def test_what_is_larger_than_the_store_is_not_kept():
    store, compute, tower = FrozenStore(kept=100), Counted(100), nn.Linear(1, 1)
    for _ in range(2):
        store.get(tower, 1, torch.zeros(1), compute)
    assert compute.calls == 2


def test_large_tokens_lie_in_a_mapped_file_without_a_name(monkeypatch, tmp_path):
    monkeypatch.setattr(frozen, "IN_MEMORY", 1000)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    tokens = room_for((10, 100), torch.float32, CPU)
    tokens[3] = 7
    assert tokens.shape == (10, 100)
    assert tokens[3].sum() == 700
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "none"))  # small ones need no file
    assert room_for((2, 2), torch.bfloat16, CPU).dtype == torch.bfloat16
    with pytest.raises(FileNotFoundError):
        room_for((10, 100), torch.float32, CPU)


def test_a_fit_from_mapped_tokens_is_the_same_fit(monkeypatch, small_bank, tiny_clip, pictures):
    config = SDMADConfig(epochs=2)
    plain = SDMAD(small_bank, load_backbone(tiny_clip), config).fit(*pictures)
    monkeypatch.setattr(frozen, "IN_MEMORY", 1000)
    mapped = SDMAD(small_bank, load_backbone(tiny_clip), config).fit(*pictures)
    assert [e.loss for e in plain.log_] == [e.loss for e in mapped.log_]


def test_a_sweep_runs_the_frozen_blocks_once(monkeypatch, small_bank, tiny_clip, pictures):
    backbone, counts = load_backbone(tiny_clip), []
    true_embed = backbone.image.embed
    monkeypatch.setattr(backbone.image, "embed", lambda p: counts.append(len(p)) or true_embed(p))
    for lam in (0.5, 0.8):
        SDMAD(small_bank, backbone, SDMADConfig.paper(epochs=1, lam=lam)).fit(*pictures)
    assert sum(counts) == len(pictures[0])
