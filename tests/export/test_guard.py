"""Graphs that a stranger has altered, their hashes with them."""

import hashlib
import json
import shutil

import numpy as np
import pytest

from sdmad.errors import ModelError
from sdmad.export import guard
from sdmad.export.runtime import ExportedModel
from tests.conftest import draw_pictures


@pytest.fixture
def onnx_copy(onnx_export, tmp_path):
    return shutil.copytree(onnx_export, tmp_path / "onnx")


@pytest.fixture
def openvino_copy(openvino_export, tmp_path):
    return shutil.copytree(openvino_export, tmp_path / "openvino")


def forge(folder, name, content):
    """Alter a file and its hash with it."""
    (folder / name).write_bytes(content)
    manifest = json.loads((folder / "export.json").read_text(encoding="utf-8"))
    manifest["files"][name] = hashlib.sha256(content).hexdigest()
    (folder / "export.json").write_text(json.dumps(manifest), encoding="utf-8")


def refused(folder, message):
    with pytest.raises(ModelError, match=message) as caught:
        ExportedModel.load(folder)
    assert "\n" not in str(caught.value)


def alter_onnx(folder, change):
    import onnx

    model = onnx.load(folder / "model.onnx", load_external_data=False)
    change(model)
    forge(folder, "model.onnx", model.SerializeToString())


@pytest.mark.parametrize(
    "place", ["../secret.data", "/etc/hostname", "./model.onnx.data", "other.data"]
)
def test_weights_outside_the_export_are_not_read(onnx_copy, place):
    def elsewhere(model):
        tensor = next(t for t in model.graph.initializer if t.external_data)
        next(entry for entry in tensor.external_data if entry.key == "location").value = place

    alter_onnx(onnx_copy, elsewhere)
    refused(onnx_copy, f"model.onnx: names weights elsewhere \\({place}\\)")


def test_weights_elsewhere_are_found_in_every_corner(onnx_copy):
    """In a branch, an attribute, a sparse tensor."""
    import onnx
    from onnx import TensorProto, helper

    def lying():
        tensor = TensorProto(name="t", data_type=1, dims=[1], data_location=1)
        tensor.external_data.add(key="location", value="/etc/hostname")
        return tensor

    original = (onnx_copy / "model.onnx").read_bytes()
    sparse = onnx.SparseTensorProto(values=lying())
    graph = helper.make_graph([], "inner", [], [], initializer=[lying()])
    nodes = [
        helper.make_node("Constant", [], ["x"], value=lying()),
        helper.make_node("Constant", [], ["x"], sparse_value=sparse),
        helper.make_node("If", ["c"], ["x"], then_branch=graph, else_branch=graph),
    ]
    for node in nodes:
        forge(onnx_copy, "model.onnx", original)
        alter_onnx(onnx_copy, lambda model, node=node: model.graph.node.append(node))
        refused(onnx_copy, "names weights elsewhere")
    forge(onnx_copy, "model.onnx", original)
    alter_onnx(onnx_copy, lambda model: model.graph.sparse_initializer.append(sparse))
    refused(onnx_copy, "names weights elsewhere")


@pytest.mark.parametrize(
    ("operator", "domain", "message"),
    [
        ("Loop", "", r"holds a loop \(Loop\)"),
        ("Scan", "", "holds a loop"),
        ("Run", "com.someone", "holds an operator of com.someone"),
        ("EPContext", "com.microsoft", "holds an operator of com.microsoft"),
    ],
)
def test_loops_and_foreign_operators_are_refused(onnx_copy, operator, domain, message):
    from onnx import helper

    node = helper.make_node(operator, [], ["x"], domain=domain)
    alter_onnx(onnx_copy, lambda model: model.graph.node.append(node))
    refused(onnx_copy, message)


def test_functions_are_refused(onnx_copy):
    alter_onnx(onnx_copy, lambda model: model.functions.add(name="f", domain="g"))
    refused(onnx_copy, "holds functions")


@pytest.mark.parametrize(
    "content", [b"", b"\x08", b"\x3a\xff\xff\xff\xff\x0f", b"\x0b" * 50, b"\xff" * 50]
)
def test_what_is_no_graph_is_told(onnx_copy, content):
    forge(onnx_copy, "model.onnx", content)
    refused(onnx_copy, "no readable ONNX|onnx cannot run it")


def test_deep_nesting_is_refused(onnx_copy):
    """A graph in an attribute of a node of a graph, and so on."""
    inner = b""
    for _ in range(200):
        for tag in (0x32, 0x2A, 0x0A):  # attribute.g, node.attribute, graph.node
            inner = bytes([tag]) + _length(inner) + inner
    forge(onnx_copy, "model.onnx", b"\x3a" + _length(inner) + inner)
    refused(onnx_copy, "nested too deeply")


def _length(content):
    found, left = bytearray(), len(content)
    while True:
        found.append(left & 127 | (128 if left > 127 else 0))
        left >>= 7
        if not left:
            return bytes(found)


def test_more_memory_than_a_trial_may_take_is_refused(onnx_copy, monkeypatch):
    """32 GB in forty bytes of a graph."""
    from onnx import TensorProto, helper

    monkeypatch.setattr(guard, "MAX_MEMORY", 1 << 30)

    def grow(model):
        shape = helper.make_tensor("huge", TensorProto.INT64, [1], [1 << 33])
        model.graph.initializer.append(shape)
        scores = next(o for o in model.graph.output if o.name == "scores")
        model.graph.node.append(helper.make_node("ConstantOfShape", ["huge"], ["zeros"]))
        model.graph.node.append(helper.make_node("ReduceSum", ["zeros"], ["sum"], keepdims=0))
        last = next(node for node in model.graph.node if "scores" in node.output)
        last.output[list(last.output).index("scores")] = "before"
        model.graph.node.append(helper.make_node("Add", ["before", "sum"], [scores.name]))

    alter_onnx(onnx_copy, grow)
    refused(onnx_copy, "onnx cannot run it|cannot score a picture")


def test_a_graph_that_does_not_end_is_left(onnx_copy, monkeypatch):
    import time

    monkeypatch.setattr(guard, "MAX_SECONDS", 0.2)
    monkeypatch.setattr("sdmad.export.runtime.open_graph", lambda *_: time.sleep(5))
    refused(onnx_copy, "does not come to an end")


def test_outputs_that_do_not_fit_the_bank_are_refused_when_an_export_is_loaded(onnx_copy):
    from onnx import helper

    def swap(model):
        last = next(node for node in model.graph.node if "abnormality" in node.output)
        last.output[list(last.output).index("abnormality")] = "before"
        twice = helper.make_node("Concat", ["before", "before"], ["abnormality"], axis=0)
        model.graph.node.append(twice)

    alter_onnx(onnx_copy, swap)
    refused(onnx_copy, r"gives float32 \[2\] as abnormality, not numbers \[1\]|cannot score")


ENTITY = b'<?xml version="1.0"?>\n<!DOCTYPE net [<!ENTITY x SYSTEM "file:///etc/hostname">]>\n'


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (ENTITY, "names a document type or an entity"),
        (b'<!DOCTYPE net SYSTEM "http://127.0.0.1/x.dtd">', "names a document type"),
        (b"<net", "no readable XML"),
    ],
)
def test_entities_are_refused(openvino_copy, head, message):
    content = (openvino_copy / "model.xml").read_bytes()
    forge(openvino_copy, "model.xml", head + content.partition(b"?>")[2])
    refused(openvino_copy, message)


def test_loops_in_xml_are_refused(openvino_copy):
    content = (openvino_copy / "model.xml").read_bytes()
    forge(openvino_copy, "model.xml", content.replace(b'type="Add"', b'type="Loop"', 1))
    refused(openvino_copy, "holds a loop")


def test_weights_beyond_the_files_end_are_refused(openvino_copy):
    content = (openvino_copy / "model.xml").read_bytes()
    assert b'offset="0"' in content
    forge(openvino_copy, "model.xml", content.replace(b'offset="0"', b'offset="999999999999"'))
    refused(openvino_copy, "openvino cannot run it")


@pytest.mark.parametrize(
    "changes",
    [
        {"runtime": ["onnx"]},
        {"runtime": "../onnx"},
        {"precision": "float16"},
        {"precision": 10**400},
        {"decision": 3},
        {"decision": "all"},
        {"keep": 3},
        {"keep": [1] * 6},
        {"preprocessing": {"size": 1 << 40, "mean": [0, 0, 0], "std": [1, 1, 1]}},
        {"calibration": {"slope": 10**400, "shift": 0, "prevalence": [0.5] * 3}},
        {"calibration": {"slope": 1, "shift": 0, "prevalence": [2.0] * 3}},
        {"calibration": [1]},
        {"weight_bits": 3},
    ],
    ids=range(13),
)
def test_values_of_another_type_or_range_are_refused(onnx_copy, changes):
    config = json.loads((onnx_copy / "config.json").read_text(encoding="utf-8"))
    forge(onnx_copy, "config.json", json.dumps({**config, **changes}).encode())
    refused(onnx_copy, "files do not fit together|an export of format")


def test_files_that_no_export_has_are_not_hashed(onnx_copy, monkeypatch):
    monkeypatch.setattr("sdmad.export.files.MAX_FILE", 100)
    refused(onnx_copy, "larger than 100 bytes")


def test_the_trial_leaves_no_limit_behind(onnx_copy):
    import resource

    before = resource.getrlimit(resource.RLIMIT_AS)
    model = ExportedModel.load(onnx_copy)
    assert resource.getrlimit(resource.RLIMIT_AS) == before
    assert np.isfinite(model.score_images(draw_pictures(1)[0][:1]).scores).all()
