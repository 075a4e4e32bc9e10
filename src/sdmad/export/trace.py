"""A torch module as a graph of torch's operations, for any number of images."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from sdmad.errors import ModelError

MOST_IMAGES = 1 << 16


@torch.no_grad()
def traced(module: nn.Module, example: Tensor) -> ExportedProgram:
    """Trace a module of one input whose first axis may have any length.

    Args:
        module: takes one tensor.
        example: an input with two or more images.

    Raises:
        ModelError: if it does something else for another number of images.
    """
    images = Dim("images", min=1, max=MOST_IMAGES)
    try:
        with quiet_torch():
            return torch.export.export(
                module.eval(), (example,), dynamic_shapes=({0: images},), strict=False
            )
    except RuntimeError as error:
        raise ModelError(
            "this backbone's image tower cannot be made a graph for any number of images "
            f"({type(error).__name__} in torch.export); CLIP's and SigLIP's can"
        ) from error


@contextlib.contextmanager
def quiet_torch() -> Iterator[None]:
    """Keep torch from warning of its own deprecated calls and of packages that are not here."""
    loggers = [logging.getLogger(name) for name in ("torch", "torch.onnx")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
