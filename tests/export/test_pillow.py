"""Resizing inside the graphs against Pillow's own, over sizes, colours and windows."""

import numpy as np
import pytest
from PIL import Image

from sdmad.data.preprocessing import Preprocessing
from sdmad.data.windows import between
from sdmad.export.pillow import resamples_tall_first, rows_come_first

SIZE = 64
SHAPES = [(64, 64), (64, 30), (10, 64), (200, 90), (90, 200), (70, 66), (300, 300, 3), (33, 20, 3)]
plain = Preprocessing(SIZE, (0, 0, 0), (1, 1, 1), normalise_border=False)


def openvino_graph():
    pytest.importorskip("openvino", reason="needs the extra sdmad[openvino]")
    from sdmad.export.openvino import preprocessing_model
    from sdmad.export.runtime import compiled

    model = preprocessing_model(SIZE, resamples_tall_first())
    model.outputs[0].get_tensor().set_names({"squares"})
    for parameter in model.get_parameters():
        parameter.output(0).get_tensor().set_names({parameter.get_friendly_name()})
    run = compiled(model)
    return lambda inputs: run(inputs)["squares"]


def onnx_graph():
    onnx = pytest.importorskip("onnx", reason="needs the extra sdmad[onnx]")
    runtime = pytest.importorskip("onnxruntime", reason="needs the extra sdmad[onnx]")
    from sdmad.export.onnx import OPSET, preprocessing_graph

    model = onnx.helper.make_model(
        preprocessing_graph(SIZE, resamples_tall_first()),
        opset_imports=[onnx.helper.make_opsetid("", OPSET)],
        ir_version=10,
    )
    onnx.checker.check_model(model)
    session = runtime.InferenceSession(model.SerializeToString())
    return lambda inputs: session.run(None, inputs)[0]


@pytest.fixture(scope="module", params=[openvino_graph, onnx_graph], ids=["openvino", "onnx"])
def graph(request):
    return request.param()


def run(graph, images, black=0, white=255):
    pixels = np.stack([i if i.ndim == 3 else i[..., None] for i in images]).astype(np.uint16)
    shades = [np.full(len(images), v, np.float32) for v in (black, white)]
    return graph({"pixels": pixels, "black": shades[0], "white": shades[1]})


def planes(image):
    square = plain.square(image).astype(np.float32)
    return (
        np.broadcast_to(square, (3, SIZE, SIZE)) if square.ndim == 2 else square.transpose(2, 0, 1)
    )


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_pixels_become_what_pillow_makes_of_them(graph, shape):
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, shape, dtype=np.uint8) for _ in range(2)]
    found = run(graph, images)
    apart = np.abs(found - np.stack([planes(image) for image in images]))
    assert apart.max() <= 1
    assert (apart > 0).mean() < 0.002


@pytest.mark.parametrize("window", [(0, 65535), (1000, 3000.5), (40, 40)])
def test_grey_values_of_16_bits_pass_the_window_first(graph, window):
    values = np.random.default_rng(1).integers(0, 65536, (80, 50), dtype=np.uint16)
    shown = np.rint(between(*window)(values.astype(float)) * 255).astype(np.uint8)
    apart = np.abs(run(graph, [values], *window)[0] - planes(shown))
    assert apart.max() <= 1
    assert (apart > 0).mean() < 0.002


def test_images_of_one_call_have_windows_of_their_own(graph):
    image = np.full((20, 20, 1), 100, np.uint16)
    found = graph(
        {
            "pixels": np.stack([image, image, image]),
            "black": np.array([0, 50, 100], np.float32),
            "white": np.array([200, 250, 300], np.float32),
        }
    )
    assert found[:, 0, 5, 5].tolist() == [128, 64, 0]  # 127.5 to even, 63.75, 0


def test_the_order_of_pillows_passes_is_the_rule_that_the_graphs_follow():
    if not resamples_tall_first():
        pytest.skip("this Pillow always begins with the columns")
    rng = np.random.default_rng(3)
    filtering = Image.Resampling.BICUBIC
    for _ in range(200):
        height, width = (int(side) for side in rng.integers(2, 300, 2))
        image = Image.fromarray(rng.integers(0, 256, (height, width), dtype=np.uint8))
        whole = image.resize((SIZE, SIZE), filtering)
        between_passes = (width, SIZE) if rows_come_first(height, width, SIZE) else (SIZE, height)
        twice = image.resize(between_passes, filtering).resize((SIZE, SIZE), filtering)
        assert whole.tobytes() == twice.tobytes(), (height, width)
