"""OpenVINO's form of the graph: building, quantising, saving and running it.

What stands before the tower is built here from OpenVINO's own operations and stays in float32
whatever the precision of the tower: OpenVINO's own Pillow-like resize takes seconds for an image of
a megapixel.
"""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import openvino.opset13 as ops
import torch
from numpy.typing import NDArray
from torch import nn

from sdmad.detector.sign_detector import SignDetector
from sdmad.export.files import GRAPHS
from sdmad.export.graph import OUTPUTS, Scoring, adapted_image
from sdmad.export.pillow import resamples_tall_first
from sdmad.export.runtime import Run, compiled
from sdmad.export.trace import quiet_torch, traced
from sdmad.progress import track


def preprocessing_model(size: int, tall_first: bool) -> ov.Model:
    """Raw pixels to squares, as :class:`~sdmad.data.preprocessing.Preprocessing` makes them.

    Inputs ``pixels`` (uint16, ``(n, H, W, C)`` with C 1 or 3), ``black`` and ``white`` (float32,
    ``(n,)``); output: brightness ``(n, 3, size, size)``, float32, whole numbers from 0 to 255.

    Args:
        size: side of the square in pixels.
        tall_first: whether Pillow resamples the rows of a tall image before its columns.
    """
    pixels = ops.parameter([-1, -1, -1, -1], np.uint16, name="pixels")
    black = ops.parameter([-1], np.float32, name="black")
    white = ops.parameter([-1], np.float32, name="white")
    shown = _shown(ops.convert(pixels, "f32"), black, white)
    shape = ops.shape_of(pixels, output_type="i32")
    count, height, width = (ops.gather(shape, _whole(axis), _whole(0)) for axis in range(3))
    beyond = ops.subtract(height, _whole(size))  # the rule of sdmad.export.pillow.rows_come_first
    beside = ops.multiply(ops.subtract(width, _whole(size)), _whole(2))
    tall = ops.greater(beyond, ops.maximum(beside, _whole(0)))
    tall = ops.logical_and(tall, ops.constant(np.array(tall_first)))
    first, second = ops.select(tall, height, width), ops.select(tall, width, height)
    turned = ops.transpose(shown, _choose(tall, [0, 3, 2, 1], [0, 3, 1, 2]))
    once = _round(ops.matmul(turned, _weights(first, size), False, True))
    twice = _round(ops.matmul(_weights(second, size), once, False, False))
    squares = ops.transpose(twice, _choose(tall, [0, 1, 3, 2], [0, 1, 2, 3]))
    colours = ops.concat([ops.reshape(count, _whole([1]), False), _whole([3, size, size])], 0)
    result = ops.result(ops.broadcast(squares, colours, broadcast_spec="BIDIRECTIONAL"))
    return ov.Model([result], [pixels, black, white], "preprocessing")


def resizing(size: int) -> Run:
    """:func:`preprocessing_model` alone, with the output ``squares``."""
    model = preprocessing_model(size, resamples_tall_first())
    for value in (*model.inputs, *model.outputs):
        value.get_tensor().set_names({value.get_node().get_friendly_name()})
    model.outputs[0].get_tensor().set_names({"squares"})
    return compiled(model)


def _shown(values: Any, black: Any, white: Any) -> Any:
    """Grey values to whole 8-bit brightness; where black and white coincide, white above them."""
    axes = _whole([1, 2, 3])
    low, high = ops.unsqueeze(black, axes), ops.unsqueeze(white, axes)
    span = ops.subtract(high, low)
    flat = ops.equal(span, _real(0))
    above = ops.subtract(values, low)
    bright = ops.divide(above, ops.select(flat, _real(1), span))
    bright = ops.select(flat, ops.convert(ops.greater(above, _real(0)), "f32"), bright)
    return ops.round(ops.multiply(ops.clamp(bright, 0.0, 1.0), _real(255)), "half_to_even")


def _weights(length: Any, size: int) -> Any:
    """Weights of Pillow's bicubic filter with antialiasing, ``(size, length)``.

    Args:
        length: of the axis that is resampled, int32 scalar.
        size: the wanted length.
    """
    wide = ops.maximum(length, _whole(size))
    centres = ops.multiply(_odd(_whole(size)), length)  # in units of half a pixel over ``size``
    places = ops.multiply(_odd(length), _whole(size))
    apart = ops.subtract(ops.unsqueeze(places, _whole(0)), ops.unsqueeze(centres, _whole(1)))
    scale = ops.convert(ops.multiply(wide, _whole(2)), "f32")
    weights = _bicubic(ops.abs(ops.divide(ops.convert(apart, "f32"), scale)))
    return ops.divide(weights, ops.reduce_sum(weights, _whole([1]), True))


def _odd(length: Any) -> Any:
    """1, 3, 5 and so on, ``length`` of them."""
    places = ops.range(_whole(0), length, _whole(1), "i32")
    return ops.add(ops.multiply(places, _whole(2)), _whole(1))


def _round(values: Any) -> Any:
    """To whole numbers from 0 to 255, half up, as Pillow rounds after each axis."""
    return ops.clamp(ops.floor(ops.add(values, _real(0.5))), 0.0, 255.0)


def _bicubic(distance: Any) -> Any:
    """Keys' cubic kernel with a = -1/2 at distances from 0."""
    near = _polynomial(distance, (1.5, -2.5, 0.0, 1.0))
    far = _polynomial(distance, (-0.5, 2.5, -4.0, 2.0))
    beyond = ops.select(ops.less(distance, _real(2)), far, _real(0))
    return ops.select(ops.less(distance, _real(1)), near, beyond)


def _polynomial(x: Any, coefficients: tuple[float, ...]) -> Any:
    value = _real(coefficients[0])
    for coefficient in coefficients[1:]:
        value = ops.add(ops.multiply(value, x), _real(coefficient))
    return value


def _choose(condition: Any, yes: list[int], no: list[int]) -> Any:
    return ops.select(condition, _whole(yes), _whole(no))


def _whole(value: int | list[int]) -> Any:
    return ops.constant(np.array(value, np.int32))


def _real(value: float) -> Any:
    return ops.constant(np.array(value, np.float32))


def converted(module: nn.Module, shape: Sequence[int], name: str) -> ov.Model:
    """Convert a torch module of one input.

    Args:
        module: in evaluation mode.
        shape: of the input for one image.
        name: of the input.
    """
    program = traced(module, torch.zeros(2, *shape))
    with quiet_torch():
        model = ov.convert_model(program)
    _own_weights(model)
    model.reshape([-1, *shape])
    model.inputs[0].get_tensor().set_names({name})
    return model


def _own_weights(model: ov.Model) -> None:
    """Copy the bfloat16 constants, whose memory is torch's and goes with the torch module."""
    for constant in model.get_ops():
        if constant.get_type_name() == "Constant" and constant.get_element_type() == ov.Type.bf16:
            copy = ov.op.Constant(constant.get_tensor_view(), shared_memory=False)
            copy.set_friendly_name(constant.get_friendly_name())
            constant.output(0).replace(copy.output(0))


def joined(first: ov.Model, second: ov.Model) -> ov.Model:
    """Feed the one output of a model into the one input of another."""
    (source,), (target,) = first.get_results(), second.get_parameters()
    target.output(0).replace(source.input_value(0))
    return ov.Model(second.get_results(), first.get_parameters())


def build(
    detector: SignDetector,
    precision: str,
    squares: Sequence[NDArray[np.float32]] = (),
    bits: int | None = None,
) -> ov.Model:
    """The whole graph of a detector.

    Args:
        detector: fitted, in float32.
        precision: ``float32``, ``bfloat16`` (the tower alone) or ``int8`` (its products alone).
        squares: for int8, images to calibrate on, ``(3, S, S)``, brightness from 0 to 255.
        bits: for int8, of the weights, as :func:`sdmad.export.machine.weight_bits` gives them.
    """
    size = detector.backbone_.preprocessing.size
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    image = converted(adapted_image(detector, dtype), (3, size, size), "squares")
    if precision == "int8":
        full = detector.backbone_.image.full_precision
        image = quantised(image, squares, bits, [f"tower_{part}_" for part in full])
    scores = Scoring(detector)
    scoring = converted(scores, (scores.length,), "features")
    before = preprocessing_model(size, resamples_tall_first())
    whole = joined(before, joined(image, scoring))
    for output, name in zip(whole.outputs, OUTPUTS, strict=True):
        output.get_tensor().set_names({name})
    for parameter in whole.get_parameters():
        parameter.output(0).get_tensor().set_names({parameter.get_friendly_name()})
    whole.validate_nodes_and_infer_types()
    return whole


def quantised(
    image: ov.Model,
    squares: Sequence[NDArray[np.float32]],
    bits: int | None,
    full: Sequence[str] = (),
) -> ov.Model:
    """Quantise a tower to int8 after training: NNCF with SmoothQuant (Xiao et al. 2023).

    Args:
        image: squares to embeddings, float32.
        squares: images to calibrate on, ``(3, S, S)``, brightness from 0 to 255.
        bits: of the weights. With 7, products of two activations stay in float32, for these keep
            all of their 8 bits.
        full: how the weights' names begin whose products, and all that they read, stay in float32.
    """
    import nncf
    from nncf.quantization.range_estimator import RangeEstimatorParametersSet

    nncf.set_log_level(logging.ERROR)
    narrow = bits == 7
    fix = nncf.OverflowFix.ENABLE if narrow else None
    kept = {*_feeding(image, full), *(_products_of_activations(image) if narrow else ())}
    with contextlib.redirect_stdout(io.StringIO()):  # its progress bars
        return nncf.quantize(
            image,
            nncf.Dataset(_Watched(squares), lambda square: square[None]),
            model_type=nncf.ModelType.TRANSFORMER,
            subset_size=len(squares),
            ignored_scope=nncf.IgnoredScope(names=sorted(kept)) if kept else None,
            advanced_parameters=nncf.AdvancedQuantizationParameters(
                overflow_fix=fix,
                # The mean of the images' extremes would cut a rare image off.
                activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX,
            ),
        )


def _feeding(model: ov.Model, full: Sequence[str]) -> set[str]:
    """Names of the operations that products with some weights are made of, themselves included.

    Args:
        model: converted.
        full: how the weights' names begin.
    """
    todo = [node for node in model.get_ops() if _multiplies(node, tuple(full))]
    found: set[str] = set()
    while todo:
        node = todo.pop()
        name = node.get_friendly_name()
        if name not in found and node.get_type_name() not in ("Constant", "Parameter"):
            found.add(name)
            todo += [value.get_node() for value in node.input_values()]
    return found


def _multiplies(node: Any, full: tuple[str, ...]) -> bool:
    """Whether a node is a product with a weight whose name begins like that."""
    if node.get_type_name() not in ("Convolution", "MatMul"):
        return False
    return any(name.startswith(full) for name in node.input_value(1).get_tensor().get_names())


def _products_of_activations(model: ov.Model) -> list[str]:
    """Names of the products that have no constant side: those of attention."""
    computed, found = set(), []
    for node in model.get_ordered_ops():
        sources = [value.get_node().get_friendly_name() for value in node.input_values()]
        moving = [name in computed for name in sources]
        name, kind = node.get_friendly_name(), node.get_type_name()
        if any(moving) or kind == "Parameter":
            computed.add(name)
        if kind in ("MatMul", "ScaledDotProductAttention") and all(moving[:2]):
            found.append(name)
    return found


class _Watched:
    """Images that NNCF goes through several times, each time with a progress bar.

    Args:
        squares: the images.
    """

    def __init__(self, squares: Sequence[NDArray[np.float32]]) -> None:
        self._squares = squares

    def __len__(self) -> int:
        return len(self._squares)

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        return track(self._squares, "calibrating")


def save(model: ov.Model, folder: Path) -> None:
    """Write ``model.xml`` and ``model.bin``, no weight in half precision."""
    ov.save_model(model, folder / GRAPHS["openvino"][0], compress_to_fp16=False)
