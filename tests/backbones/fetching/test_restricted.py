"""What of a pickle is taken, and what is refused; here in the tests' own process."""

import argparse
import io
import os
import pickle
import zipfile

import numpy as np
import pytest
import safetensors.torch
import torch

from sdmad.backbones.fetching.restricted import RefusedError, convert
from tests.backbones.fetching.published import pickled


class Deed:
    """Calls something when it is unpickled."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def converted(tmp_path, content):
    (tmp_path / "weights.bin").write_bytes(content)
    told = convert(tmp_path / "weights.bin", tmp_path / "out.safetensors")
    return told, safetensors.torch.load((tmp_path / "out.safetensors").read_bytes())


def refused(tmp_path, content, message):
    with pytest.raises(RefusedError, match=message):
        converted(tmp_path, content)
    assert not (tmp_path / "out.safetensors").exists()


STATE = {"a.weight": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(3, dtype=torch.int64)}


@pytest.mark.parametrize("layout", [True, False], ids=["zip", "before 1.6"])
def test_a_state_dict(tmp_path, layout):
    told, found = converted(tmp_path, pickled(STATE, _use_new_zipfile_serialization=layout))
    assert told == {"nested": [], "left": []}
    assert found.keys() == STATE.keys()
    assert all(torch.equal(found[name], STATE[name]) for name in STATE)
    assert found["b"].dtype == torch.int64


@pytest.mark.parametrize("key", ["state_dict", "model", "model_state_dict"])
def test_a_training_checkpoint(tmp_path, key):
    state = {f"module.{name}": torch.nn.Parameter(t.float()) for name, t in STATE.items()}
    told, found = converted(tmp_path, pickled({"epoch": 3, key: state, "optimizer": {}}))
    assert told == {"nested": [key, "module."], "left": ["epoch", "optimizer"]}
    assert torch.equal(found["a.weight"], STATE["a.weight"])


def test_a_state_dict_in_a_model_in_a_checkpoint(tmp_path):
    told, found = converted(tmp_path, pickled({"model": {"state_dict": STATE}, "step": 1}))
    assert told["nested"] == ["model", "state_dict"]
    assert found.keys() == STATE.keys()


def test_a_prefix_of_some_names_stays(tmp_path):
    _, found = converted(tmp_path, pickled({"module.a": torch.ones(1), "b": torch.ones(1)}))
    assert sorted(found) == ["b", "module.a"]


def test_tensors_that_share_their_numbers_are_written_apart(tmp_path):
    both = torch.arange(8.0).reshape(2, 4)
    _, found = converted(tmp_path, pickled({"a": both, "b": both, "turned": both.T}))
    assert torch.equal(found["a"], both)
    assert torch.equal(found["b"], both)
    assert torch.equal(found["turned"], both.T)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (argparse.Namespace(lr=1), "argparse.Namespace"),
        (np.float64(3), "numpy._core.multiarray.scalar"),
        (torch.nn.Linear(2, 2), "torch.nn.modules.linear.Linear"),
        (Deed(max, "x"), "max"),
        (Deed(eval, "1"), "eval"),
        (Deed(torch.load, "x"), "torch.serialization.load"),
    ],
)
def test_what_is_no_tensor_is_named(tmp_path, value, kind):
    refused(tmp_path, pickled({"state_dict": STATE, "beside": value}), f"it holds {kind}, and")


@pytest.mark.parametrize("layout", [True, False], ids=["zip", "before 1.6"])
@pytest.mark.parametrize("where", ["top", "beside"])
def test_nothing_in_a_pickle_runs(tmp_path, layout, where):
    deed = Deed(os.mkdir, str(tmp_path / "ran"))
    content = deed if where == "top" else {**STATE, "x": deed}
    refused(tmp_path, pickled(content, _use_new_zipfile_serialization=layout), "it holds .*mkdir")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("protocol", range(6))
def test_nothing_runs_that_torch_did_not_write(tmp_path, protocol):
    refused(
        tmp_path,
        pickle.dumps(Deed(os.mkdir, str(tmp_path / "ran")), protocol),
        "it holds .*mkdir|not written by torch.save",
    )
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "holds a list and no tensors by name"),
        (torch.zeros(2), "holds a Tensor and no tensors|holds a torch.Tensor and no tensors"),
        ({}, "holds a dict and no tensors by name"),
        ({"state_dict": {}, "epoch": 1}, "holds a dict and no tensors by name"),
        ({"epoch": 3}, "epoch is a int; only plain tensors"),
        ({**STATE, "names": ["x"]}, "names is a list; only plain tensors"),
        ({**STATE, 3: torch.zeros(1)}, "a tensor's name is a int"),
        ({**STATE, "x" * 501: torch.zeros(1)}, "a tensor's name is a str that no model has"),
        ({"a": torch.eye(2).to_sparse()}, r"a is no plain tensor \(torch.sparse_coo"),
        ({"a": torch.zeros(2, dtype=torch.complex64)}, "a is no plain tensor .*complex64"),
        ({"a": torch.empty(2, device="meta")}, "a is a tensor without values"),
    ],
    ids=range(11),
)
def test_what_is_no_state_dict(tmp_path, content, message):
    refused(tmp_path, pickled(content), message)


def test_a_tensor_that_says_it_is_larger_than_the_file(tmp_path):
    """A number spread over a million rows and columns: four terabytes, were it written."""
    huge = torch.zeros(1).expand(1_000_000, 1_000_000)
    refused(
        tmp_path, pickled({**STATE, "huge": huge}), r"huge is \[1000000, 1000000\]: its tensors"
    )


def test_many_names_of_one_large_tensor(tmp_path):
    one = torch.zeros(1000, 100)
    refused(tmp_path, pickled({str(i): one for i in range(5)}), "larger than the file")


def test_compressed_parts(tmp_path):
    source, target = io.BytesIO(pickled(STATE)), io.BytesIO()
    with (
        zipfile.ZipFile(source) as given,
        zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as made,
    ):
        for name in given.namelist():
            made.writestr(name, given.read(name))
    refused(tmp_path, target.getvalue(), "compressed parts")


@pytest.mark.parametrize("keep", [10, 300, -200])
def test_a_file_that_is_cut_short(tmp_path, keep):
    with pytest.raises(Exception, match=r".+"):
        converted(tmp_path, pickled(STATE)[:keep])
    assert not (tmp_path / "out.safetensors").exists()
