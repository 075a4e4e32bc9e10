"""Trunks of timm: its own outputs, and weights that are missing, pickled or of another network."""

import json
import struct

import pytest
import safetensors.torch
import timm
import torch

from sdmad.baselines.components.trunk import IMAGENET_MEAN, load_trunk, preprocessing_of
from sdmad.data.preprocessing import Preprocessing
from sdmad.errors import InputError, ModelError, WeightsMissingError

SMALL = "test_resnet"


def write(path, name=SMALL, seed=0, counters=True):
    """A whole network of timm with random weights and statistics, classifier included."""
    torch.manual_seed(seed)
    state = timm.create_model(name, pretrained=False).state_dict()
    state = {
        k: torch.rand_like(v) + 0.5 if "running_var" in k else v
        for k, v in state.items()
        if counters or "num_batches_tracked" not in k
    }
    safetensors.torch.save_file({k: v.contiguous() for k, v in state.items()}, path)
    return state


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "model.safetensors"
    write(path)
    return path


@pytest.mark.parametrize(
    ("name", "levels"), [(SMALL, (-1,)), (SMALL, (1, 3)), ("test_efficientnet", (1, 2, 3))]
)
def test_feature_maps_are_timms_own(tmp_path, name, levels):
    state = write(tmp_path / "w.safetensors", name)
    trunk = load_trunk(name, tmp_path / "w.safetensors", levels)
    theirs = timm.create_model(name, pretrained=False, features_only=True, out_indices=levels)
    theirs.load_state_dict(state, strict=False)
    pixels = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        found, expected = trunk(pixels), theirs.eval()(pixels)
    assert trunk.channels == tuple(theirs.feature_info.channels())
    for mine, their in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, their)


def test_it_is_frozen_and_ends_behind_its_last_level(file):
    trunk = load_trunk(SMALL, file, (1,))
    assert not trunk.training
    assert not any(p.requires_grad for p in trunk.parameters())
    whole = load_trunk(SMALL, file, (-1,))
    assert sum(p.numel() for p in trunk.parameters()) < sum(p.numel() for p in whole.parameters())


def test_a_file_without_the_counters_will_do(tmp_path, file):
    write(tmp_path / "w.safetensors", counters=False)
    pixels = torch.randn(1, 3, 32, 32)
    one, two = (load_trunk(SMALL, p, (-1,)) for p in (file, tmp_path / "w.safetensors"))
    assert torch.equal(one(pixels)[0], two(pixels)[0])


def test_published_networks():
    """ResNet-18 at 448 px and EfficientNet-B6 at 256 px."""
    resnet = load_trunk("resnet18.tv_in1k", "random", (-1,))
    assert sum(p.numel() for p in resnet.parameters()) == 11_176_512
    efficient = load_trunk("tf_efficientnet_b6.aa_in1k", "random", (1, 2, 3))
    with torch.no_grad():
        assert resnet(torch.zeros(1, 3, 448, 448))[0].shape == (1, 512, 14, 14)
        maps = efficient(torch.zeros(1, 3, 256, 256))
    assert [tuple(m.shape[1:]) for m in maps] == [(40, 64, 64), (72, 32, 32), (200, 16, 16)]
    # The networks whose weights are meant have ImageNet's mean and deviation.
    for name in ("resnet18.tv_in1k", "tf_efficientnet_b6.aa_in1k"):
        assert timm.get_pretrained_cfg(name).mean == IMAGENET_MEAN


def test_random_weights_follow_the_seed():
    pixels = torch.randn(1, 3, 32, 32)
    one, two, other = (load_trunk(SMALL, "random", (-1,), seed)(pixels)[0] for seed in (0, 0, 1))
    assert torch.equal(one, two)
    assert not torch.equal(one, other)


def test_pretrained_weights_come_from_the_hubs_cache(monkeypatch, file):
    asked = []
    monkeypatch.setattr(
        "sdmad.baselines.components.trunk.resolve",
        lambda name, files: asked.append(name) or file.parent,
    )
    pixels = torch.randn(1, 3, 32, 32)
    cached = load_trunk("test_resnet.r160_in1k", "pretrained", (-1,))
    assert asked == ["timm/test_resnet.r160_in1k"]
    assert torch.equal(cached(pixels)[0], load_trunk(SMALL, file, (-1,))(pixels)[0])


def test_missing_weights_say_what_to_get_and_where_to_put_it(monkeypatch, tmp_path):
    with pytest.raises(
        WeightsMissingError,
        match=r"timm/resnet18.tv_in1k: .*not in the cache.*backbone fetch timm/resnet18"
        r".*weights=PATH/model.safetensors",
    ):
        load_trunk("resnet18.tv_in1k", "pretrained", (-1,))
    with pytest.raises(WeightsMissingError, match=r"no file .*nowhere.*timm's resnet18"):
        load_trunk("resnet18", tmp_path / "nowhere.safetensors", (-1,))
    monkeypatch.setattr("sdmad.baselines.components.trunk.resolve", lambda name, files: tmp_path)
    with pytest.raises(WeightsMissingError, match="in the cache without model"):
        load_trunk("resnet18.tv_in1k", "pretrained", (-1,))


def test_weights_that_do_not_fit_are_refused(tmp_path, file):
    with pytest.raises(ModelError, match="does not fit the model"):
        load_trunk("test_efficientnet", file, (1,))
    pickle = tmp_path / "weights.pth"
    pickle.write_bytes(b"\x80\x02")
    with pytest.raises(ModelError, match="no safetensors file"):
        load_trunk(SMALL, pickle, (1,))
    damaged = tmp_path / "damaged.safetensors"
    header = json.dumps({"x": {"dtype": "F32", "shape": [9], "data_offsets": [0, 4]}}).encode()
    damaged.write_bytes(struct.pack("<Q", len(header)) + header)
    with pytest.raises(ModelError, match="no readable safetensors file"):
        load_trunk(SMALL, damaged, (1,))


def test_networks_that_do_not_exist(file):
    with pytest.raises(InputError, match=r"timm has no network 'resnet1.tv_in1k'"):
        load_trunk("resnet1.tv_in1k", file, (1,))
    with pytest.raises(InputError, match="no feature maps"):
        load_trunk(SMALL, file, (9,))


def test_preprocessing_keeps_the_backbones_window(file):
    own = Preprocessing(128, (0.3,) * 3, (0.2,) * 3, normalise_border=False, window="full")
    changed = preprocessing_of(load_trunk(SMALL, file, (1,)), own, 448)
    assert (changed.size, changed.mean) == (448, IMAGENET_MEAN)
    assert (changed.normalise_border, changed.window) == (False, "full")
