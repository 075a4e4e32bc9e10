"""``sdmad backbone``: fetch, convert and list."""

import pytest
import torch

from tests.backbones.fetching.published import as_pickle, parts, pickled
from tests.hub_server import Repository


def test_fetch_convert_and_list(sdmad, hub, tiny_clip, tmp_path):
    """As a person does it, pickles read in a process of their own."""
    hub.repositories["owner/clip"] = as_pickle(tiny_clip)
    done = sdmad("backbone", "fetch", "owner/clip")
    assert done.status == 0
    assert done.out.endswith("owner--clip: give --backbone owner/clip\n")
    assert "owner/clip at 0123456789ab, licence: mit" in done.said
    assert "the process that read them" in done.said
    (tmp_path / "clip.pt").write_bytes(pickled(parts(tiny_clip)[0]))
    done = sdmad("backbone", "convert", tmp_path / "clip.pt", "--out", tmp_path / "out")
    assert done.status == 0
    assert "note: config.json is not there" in done.said
    done = sdmad("backbone", "list")
    assert done.status == 0
    (row,) = (line for line in done.out.splitlines() if "owner/clip" in line)
    assert "fetched" in row
    assert "428" in done.out


def test_fetch_says_what_a_network_is_for(sdmad, hub, tmp_path):
    files = {
        "config.json": b'{"model_type": "dinov2"}',
        "pytorch_model.bin": pickled({"weight": torch.ones(2)}),
    }
    hub.repositories["owner/dino"] = Repository(files)
    done = sdmad("backbone", "fetch", "owner/dino", "--out", tmp_path / "dino")
    assert done.status == 0, done.err
    assert done.out.strip().endswith("dino: dinov2, for the compared systems that take it")


def test_fetch_says_what_is_missing(sdmad, hub):
    done = sdmad("backbone", "fetch", "owner/clip", "--revision", "main")
    assert done.status == 2
    assert "the hub knows no owner/clip" in done.said


@pytest.mark.parametrize("file", ["none.bin", ""])
def test_convert_of_nothing(sdmad, tmp_path, file):
    done = sdmad("backbone", "convert", tmp_path / file, "--out", tmp_path / "out")
    assert done.status == 2
