"""ONNX's form of the graph, for ONNX Runtime: building and saving it."""

from __future__ import annotations

import contextlib
import errno
import io
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from sdmad.detector.sign_detector import SignDetector
from sdmad.export.files import GRAPHS
from sdmad.export.graph import OUTPUTS, WholeGraph
from sdmad.export.pillow import resamples_tall_first
from sdmad.export.runtime import Run, session
from sdmad.export.trace import quiet_torch, traced

OPSET = 20
SMALL = 1024
"""Tensors of fewer bytes stay in ``model.onnx``; the others go beside it."""


def build(detector: SignDetector) -> onnx.ModelProto:
    """The whole graph of a detector, in float32.

    Args:
        detector: fitted, in float32.
    """
    size = detector.backbone_.preprocessing.size
    program = traced(WholeGraph(detector), torch.zeros(2, 3, size, size))
    with contextlib.redirect_stdout(io.StringIO()), quiet_torch():
        exported = torch.onnx.export(
            program,
            dynamo=True,
            opset_version=OPSET,
            input_names=["squares"],
            output_names=list(OUTPUTS),
            verbose=False,
        )
    assert exported is not None
    model = exported.model_proto
    before = preprocessing_graph(size, resamples_tall_first())
    nodes = [*before.node, *model.graph.node]
    for field, values in (
        (model.graph.node, nodes),
        (model.graph.input, list(before.input)),
        (model.graph.initializer, [*before.initializer, *model.graph.initializer]),
    ):
        del field[:]
        field.extend(values)
    return model


def preprocessing_graph(size: int, tall_first: bool) -> onnx.GraphProto:
    """Raw pixels to squares, as :class:`~sdmad.data.preprocessing.Preprocessing` makes them.

    Inputs ``pixels`` (uint16, ``(n, H, W, C)`` with C 1 or 3), ``black`` and ``white`` (float32,
    ``(n,)``); output ``squares``: brightness ``(n, 3, size, size)``, float32, whole numbers from 0
    to 255. Resize with antialiasing on uint8 rounds after each axis, as Pillow does.

    Args:
        size: side of the square in pixels.
        tall_first: whether Pillow resamples the rows of a tall image before its columns.
    """
    node = helper.make_node
    nodes = [
        node("Cast", ["pixels"], ["in.values"], to=TensorProto.FLOAT),
        node("Unsqueeze", ["black", "in.axes"], ["in.low"]),
        node("Unsqueeze", ["white", "in.axes"], ["in.high"]),
        node("Sub", ["in.high", "in.low"], ["in.span"]),
        node("Equal", ["in.span", "in.zero"], ["in.flat"]),
        node("Where", ["in.flat", "in.one", "in.span"], ["in.divisor"]),
        node("Sub", ["in.values", "in.low"], ["in.above"]),
        node("Div", ["in.above", "in.divisor"], ["in.share"]),
        node("Greater", ["in.above", "in.zero"], ["in.lit"]),
        node("Cast", ["in.lit"], ["in.step"], to=TensorProto.FLOAT),
        node("Where", ["in.flat", "in.step", "in.share"], ["in.bright"]),
        node("Clip", ["in.bright", "in.zero", "in.one"], ["in.clipped"]),
        node("Mul", ["in.clipped", "in.full"], ["in.scaled"]),
        node("Round", ["in.scaled"], ["in.rounded"]),
        node("Cast", ["in.rounded"], ["in.bytes"], to=TensorProto.UINT8),
        node("Transpose", ["in.bytes"], ["in.planes"], perm=[0, 3, 1, 2]),
        node("Shape", ["in.planes"], ["in.height"], start=2, end=3),
        node("Shape", ["in.planes"], ["in.width"], start=3, end=4),
        node("Sub", ["in.height", "in.size"], ["in.beyond"]),  # pillow.rows_come_first
        node("Sub", ["in.width", "in.size"], ["in.wider"]),
        node("Mul", ["in.wider", "in.two"], ["in.twice"]),
        node("Max", ["in.twice", "in.none"], ["in.beside"]),
        node("Greater", ["in.beyond", "in.beside"], ["in.taller"]),
        node("And", ["in.taller", "in.tall_first"], ["in.rows_first"]),
        node("Squeeze", ["in.rows_first"], ["in.tall"]),
        node(
            "If",
            ["in.tall"],
            ["in.resized"],
            then_branch=helper.make_graph(
                [
                    node("Transpose", ["in.planes"], ["in.turned"], perm=[0, 1, 3, 2]),
                    _resize("in.turned", "in.turned_square"),
                    node("Transpose", ["in.turned_square"], ["in.then"], perm=[0, 1, 3, 2]),
                ],
                "tall",
                [],
                [_value("in.then", TensorProto.UINT8, [None] * 4)],
            ),
            else_branch=helper.make_graph(
                [_resize("in.planes", "in.else")],
                "wide",
                [],
                [_value("in.else", TensorProto.UINT8, [None] * 4)],
            ),
        ),
        node("Cast", ["in.resized"], ["in.real"], to=TensorProto.FLOAT),
        node("Expand", ["in.real", "in.colours"], ["squares"]),
    ]
    constants = {
        "in.axes": np.array([1, 2, 3]),
        "in.zero": np.float32(0),
        "in.one": np.float32(1),
        "in.full": np.float32(255),
        "in.tall_first": np.array([tall_first]),
        "in.size": np.array([size]),
        "in.two": np.array([2]),
        "in.none": np.array([0]),
        "in.sizes": np.array([size, size]),
        "in.colours": np.array([1, 3, size, size]),
    }
    return helper.make_graph(
        nodes,
        "preprocessing",
        [
            _value("pixels", TensorProto.UINT16, ["images", "height", "width", "channels"]),
            _value("black", TensorProto.FLOAT, ["images"]),
            _value("white", TensorProto.FLOAT, ["images"]),
        ],
        [_value("squares", TensorProto.FLOAT, ["images", 3, size, size])],
        [numpy_helper.from_array(np.asarray(v), name) for name, v in constants.items()],
    )


def resizing(size: int) -> Run:
    """:func:`preprocessing_graph` alone."""
    graph = preprocessing_graph(size, resamples_tall_first())
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
    return session(model.SerializeToString())


def _resize(source: str, target: str) -> onnx.NodeProto:
    return helper.make_node(
        "Resize",
        [source, "", "", "in.sizes"],
        [target],
        mode="cubic",
        cubic_coeff_a=-0.5,
        antialias=1,
        exclude_outside=1,
        axes=[2, 3],
    )


def _value(name: str, kind: int, shape: list[str | int | None]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def save(model: onnx.ModelProto, folder: Path) -> None:
    """Write ``model.onnx`` and, beside it, the weights; a file of protobuf ends at 2 GB."""
    name, weights = GRAPHS["onnx"]
    try:
        onnx.save_model(
            model, folder / name, save_as_external_data=True, location=weights, size_threshold=SMALL
        )
    except onnx.checker.ValidationError as error:  # its word for a file that cannot be opened
        told = f"cannot be written ({error})"
        raise OSError(errno.EIO, told, str(folder / weights)) from error
    (folder / weights).chmod((folder / name).stat().st_mode)  # onnx leaves it to its owner alone
