"""Checkpoints as repositories publish them."""

import io
from pathlib import Path

import safetensors.torch
import torch

from tests.hub_server import Repository


def pickled(content, **settings):
    """What torch.save writes."""
    buffer = io.BytesIO()
    torch.save(content, buffer, **settings)
    return buffer.getvalue()


def parts(folder: Path):
    """A checkpoint's weights, and its other files."""
    files = {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()}
    (name,) = (n for n in files if n.endswith(".safetensors"))
    return safetensors.torch.load(files.pop(name)), files


def as_pickle(folder: Path, name="pytorch_model.bin"):
    """A repository whose weights are a pickle."""
    weights, files = parts(folder)
    return Repository({**files, name: pickled(weights)})
