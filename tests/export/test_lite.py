"""The embedded backbone in fewer bits: its trunk stays in float32, and the check lets it go."""

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("openvino", reason="needs the extra sdmad[openvino]")

from openvino import Core, Type

from sdmad import SDMAD, SignBank, load_backbone
from sdmad.backbones.efficientnet import FoldedConv
from sdmad.export.exporting import export_model
from sdmad.phantoms.cases import draw_cases, load_modality

IN_TRANSFORMER = 4 * 4 + 2  # four products a block; the projection of the image and of patches


@pytest.fixture(scope="module")
def cases():
    return list(draw_cases(load_modality("oct"), 12, seed=3))


@pytest.fixture(scope="module")
def detector(cases):
    bank = SignBank.load("oct")
    labels = [[float(name in case.categories) for name in bank.names] for case in cases]
    backbone = load_backbone("lite", 96)
    return SDMAD(bank, backbone).fit([case.image for case in cases], np.array(labels))


@pytest.fixture
def folder(cases, tmp_path):
    folder = tmp_path / "support"
    folder.mkdir()
    for i, case in enumerate(cases):
        Image.fromarray(case.image).save(folder / f"{i:02d}.png")
    return folder


def are_narrow(model, *kinds):
    """Of each product of some kinds: is it in bfloat16, or are its weights whole numbers?"""
    nodes = [node for node in model.get_ops() if node.get_type_name() in kinds]
    weights = [node.input_value(1).get_node().get_type_name() for node in nodes]
    return [
        node.get_output_element_type(0) == Type.bf16 or weight == "Multiply"  # by their scale
        for node, weight in zip(nodes, weights, strict=True)
    ]


@pytest.mark.parametrize("precision", ["bfloat16", "int8"])
def test_the_transformer_alone_is_in_fewer_bits(detector, folder, tmp_path, precision):
    if precision == "int8":
        pytest.importorskip("nncf", reason="needs the extra sdmad[openvino]")
    written = export_model(detector, tmp_path / "export", "openvino", precision, folder)
    assert written.check.given.images == 12  # and within the tolerance, or it were refused
    model = Core().read_model(tmp_path / "export" / "model.xml")
    convolutions = are_narrow(model, "Convolution", "GroupConvolution")
    in_trunk = [m for m in detector.backbone_.image.trunk.modules() if isinstance(m, FoldedConv)]
    assert len(convolutions) == len(in_trunk) + 1  # what makes tokens of the maps
    assert sum(convolutions) == 1
    assert sum(are_narrow(model, "MatMul")) == IN_TRANSFORMER
