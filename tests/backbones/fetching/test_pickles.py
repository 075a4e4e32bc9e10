"""Pickles are read in a process of their own."""

import os
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch

from sdmad import processes
from sdmad.backbones.fetching import pickles
from sdmad.backbones.fetching.pickles import convert_weights
from sdmad.errors import ModelError
from tests.backbones.fetching.published import pickled
from tests.backbones.fetching.test_restricted import STATE, Deed


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "weights.pth"
    path.write_bytes(pickled({"model": STATE, "epoch": 1}))
    return path


def test_tensors_come_out_of_the_process(file, tmp_path):
    done = convert_weights(file, tmp_path / "out.safetensors")
    found = safetensors.torch.load((tmp_path / "out.safetensors").read_bytes())
    assert done.names == ("a.weight", "b")
    assert (done.nested, done.left) == (("model",), ("epoch",))
    assert done.network in (processes.WITHOUT_NETWORK, processes.REFUSED_NETWORK)
    assert torch.equal(found["a.weight"], STATE["a.weight"])


def test_nothing_of_the_file_runs(file, tmp_path):
    file.write_bytes(pickled({**STATE, "x": Deed(os.mkdir, str(tmp_path / "ran"))}))
    with pytest.raises(ModelError, match=f"^{file}: it holds .*mkdir, and only plain tensors"):
        convert_weights(file, tmp_path / "out.safetensors")
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "out.safetensors").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems hold no such limit")
def test_a_small_file_that_asks_for_much_memory(file, tmp_path):
    """The restricted loader knows bytearray, and a call of it with a number."""
    file.write_bytes(pickled({**STATE, "x": Deed(bytearray, 4 << 30)}))
    with pytest.raises(ModelError, match="takes more memory to read than a file of its size may"):
        convert_weights(file, tmp_path / "out.safetensors")


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "empty"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
            "Git LFS's pointer",
        ),
        (b"<html>404</html>", r"not written by torch.save, or it is damaged, or no checkpoint"),
        (b"hello", r"damaged, or no checkpoint"),
    ],
)
def test_a_file_that_holds_no_weights(file, tmp_path, content, what):
    file.write_bytes(content)
    with pytest.raises(ModelError, match=rf"^{file}.* {what}.*: download it again"):
        convert_weights(file, tmp_path / "out.safetensors")


def test_a_file_that_may_not_be_read(file, tmp_path, monkeypatch):
    file.write_bytes(pickled(STATE))

    def refuse(self, *arguments, **settings):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(ModelError, match=f"^{file} cannot be read .*Permission denied"):
        convert_weights(file, tmp_path / "out.safetensors")


def test_a_file_that_takes_for_ever(file, tmp_path, monkeypatch):
    monkeypatch.setattr(pickles, "SECONDS", 0)
    with pytest.raises(ModelError, match="not read within 0 s, and given up"):
        convert_weights(file, tmp_path / "out.safetensors")


@pytest.mark.parametrize("end", ["os.kill(os.getpid(), 9)", "os._exit(0)", "print('{')"])
def test_a_file_that_ends_the_process(file, tmp_path, monkeypatch, end):
    monkeypatch.setattr(pickles, "PROGRAM", f"import os; {end}")
    with pytest.raises(ModelError, match=r"the process that read it ended \(status"):
        convert_weights(file, tmp_path / "out.safetensors")


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_an_archive_of_code_is_not_even_begun(tmp_path, monkeypatch):
    monkeypatch.setattr(pickles, "_ask", None)
    module = torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2))
    torch.jit.save(module, tmp_path / "ViT.pt")
    with pytest.raises(ModelError, match="is a TorchScript archive"):
        convert_weights(tmp_path / "ViT.pt", tmp_path / "out.safetensors")
