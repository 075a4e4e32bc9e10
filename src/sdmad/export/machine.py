"""Does OpenVINO on this machine add products of 8-bit numbers exactly?

x86 processors with VNNI (or AMX) add them in 32 bits, and so do ARM's. Older x86 ones add them two
by two in 16 bits, where 255 * 127 + 255 * 127 stops at 32767. A graph whose weights keep to 7 bits
and that multiplies no two activations in int8 cannot get there: 255 * 64 * 2 = 32640.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from sdmad.choices import ExportTarget
from sdmad.errors import InputError
from sdmad.export.files import TARGETS

LENGTH, ROWS = 64, 64


@cache
def exact_int8() -> bool:
    """Multiply the largest 8-bit numbers in OpenVINO and look whether the sums are right.

    Measured and not read from the processor's name: what counts is which of its instructions
    OpenVINO uses, in this process, on whatever system. Takes a few hundredths of a second, once.

    Returns:
        Whether products with weights and products of two activations both came out right.
    """
    from openvino import Core

    model = _products()
    ready = Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    found = ready([np.full((1, ROWS, LENGTH), 255, np.float32)])
    right = (255 * 127 * LENGTH, 127 * 127 * LENGTH)
    return all(np.allclose(found[i], value, rtol=1e-3) for i, value in enumerate(right))


def _products() -> object:
    """Activations times weights of 127, and activations of 127 times themselves, in int8."""
    import openvino as ov
    import openvino.opset13 as ops

    def quantised(values: object, low: float, high: float) -> object:
        ends = [ops.constant(np.array(end, np.float32)) for end in (low, high)]
        return ops.fake_quantize(values, *ends, *ends, int(high - low) + 1)

    values = ops.parameter([-1, -1, LENGTH], np.float32)
    weights = ops.convert(ops.constant(np.full((LENGTH, LENGTH), 127, np.int8)), "f32")
    scaled = ops.multiply(weights, ops.constant(np.array(1, np.float32)))
    with_weights = ops.matmul(quantised(values, 0, 255), scaled, False, True)
    activations = quantised(values, -127, 127)
    together = ops.matmul(activations, activations, False, True)
    return ov.Model([ops.result(with_weights), ops.result(together)], [values], "products")


def check_target(target: str) -> None:
    """Refuse a name that is no target.

    Raises:
        InputError: if it is none of :data:`~sdmad.export.files.TARGETS`.
    """
    if target not in TARGETS:
        raise InputError(f"target must be {' or '.join(TARGETS)}, got {target!r}")


def weight_bits(precision: str, target: ExportTarget) -> int | None:
    """How many bits the weights of a graph may use.

    Args:
        precision: ``float32``, ``bfloat16`` or ``int8``.
        target: ``here`` or ``any``.

    Returns:
        Of int8, 8 for a machine that adds such products exactly and 7 for any; else None.
    """
    if precision != "int8":
        return None
    return 8 if target == "here" and exact_int8() else 7
