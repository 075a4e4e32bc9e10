import json
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from sdmad import SDMAD, SDMADConfig
from sdmad.data.images import content_hash
from sdmad.detector.manifest import file_hash
from sdmad.errors import InputError, ModelError
from sdmad.export import verify
from sdmad.export.calibration import choose
from sdmad.export.exporting import check_request, export_model, resizing
from sdmad.export.files import GRAPHS, read_description
from sdmad.export.runtime import ExportedModel, compiled
from tests.conftest import draw_pictures


@pytest.fixture
def folder(pictures, tmp_path):
    """The support images as files; their hashes are others than those of the arrays."""
    folder = tmp_path / "support"
    folder.mkdir()
    for i, picture in enumerate(pictures[0]):
        Image.fromarray(picture).save(folder / f"{i:02d}.png")
    return folder


def mixture():
    """Twenty images, colour and grey, of many sizes: more than a batch."""
    images = draw_pictures(14, seed=7)[0]
    images[3] = np.kron(images[3], np.ones((2, 3), np.uint8))
    images += list(verify.random_images(32, 1))[:6]
    return images


def test_an_export_scores_as_its_model_in_order(exported, fitted):
    images = mixture()
    expected, found = fitted.score_images(images), ExportedModel.load(exported).score_images(images)
    assert (found.decisions == expected.decisions).all()
    assert (found.unfamiliar == expected.unfamiliar).all()
    for name in ("scores", "abnormality", "similarity", "anchor_similarity"):
        assert getattr(found, name) == pytest.approx(getattr(expected, name), abs=1e-4), name


def test_raw_pixels_of_any_size_are_enough(exported, fitted):
    model = ExportedModel.load(exported)
    image = np.kron(draw_pictures(1, seed=9)[0][0], np.ones((3, 2), np.uint8))
    assert model.run(image[None, :, :, None]).scores == pytest.approx(
        fitted.score_images([image]).scores, abs=5e-3
    )
    deep = image.astype(np.uint16) * 16 + 100
    low, high = deep.min(), deep.max()
    assert model.run(deep[None, :, :, None], low, high).scores == pytest.approx(
        fitted.score_images([deep]).scores, abs=1e-2
    )


def test_an_image_does_not_depend_on_the_others(exported):
    model, images = ExportedModel.load(exported), mixture()
    alone = model.score_images(images[:1]).scores
    assert model.score_images(images).scores[:1] == pytest.approx(alone, abs=1e-5)


def test_explanations_are_the_models(exported, fitted):
    image = draw_pictures(1, seed=3)[0]
    model = ExportedModel.load(exported)
    (found,), expected = model.explanations(model.score_images(image)), fitted.explain(image[0])
    assert model.categories == fitted.categories
    for mine, theirs in zip(found.categories, expected.categories, strict=True):
        assert (mine.category, mine.found) == (theirs.category, theirs.found)
        assert mine.deciding_sign.sentence == theirs.deciding_sign.sentence
        assert [s.kept for s in mine.signs] == [s.kept for s in theirs.signs]


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((1, 4, 4, 2), np.uint8),
        np.zeros((1, 4, 4, 1), np.float32),
        np.zeros((0, 4, 4, 1), np.uint8),
    ],
)
def test_other_pixels_are_refused(openvino_export, pixels):
    with pytest.raises(InputError, match="pixels must"):
        ExportedModel.load(openvino_export).run(pixels)


def test_the_check_is_written_and_nothing_of_the_images(exported, fitted):
    manifest = json.loads((exported / "export.json").read_text(encoding="utf-8"))
    random = manifest["check"]["random"]
    assert random["images"] == 3 * len(verify.RANDOM_SIZES)
    assert 0 < random["cosine"] <= manifest["check"]["tolerance"]["cosine"]
    assert manifest["check"]["given"] is None
    assert manifest["base_weights_sha256"] == fitted.backbone_.weights_hash
    assert "support" not in (exported / "config.json").read_text(encoding="utf-8")


@pytest.mark.parametrize("damage", ["truncated", "missing", "altered", "unlisted", "format"])
def test_damage_is_found_before_anything_runs(openvino_export, tmp_path, damage):
    copy = shutil.copytree(openvino_export, tmp_path / "copy")
    manifest = json.loads((copy / "export.json").read_text())
    name = "model.bin"
    if damage == "truncated":
        (copy / name).write_bytes((copy / name).read_bytes()[:-1])
    elif damage == "missing":
        (copy / name).unlink()
    elif damage == "altered":
        name = "bank.yaml"
        (copy / name).write_text((copy / name).read_text().replace("ring", "rang"))
    elif damage == "unlisted":
        del manifest["files"][name]
        (copy / "export.json").write_text(json.dumps(manifest))
    else:
        name = "format"
        (copy / "config.json").write_text('{"format": 99}')
        manifest["files"]["config.json"] = file_hash(copy / "config.json")
        (copy / "export.json").write_text(json.dumps(manifest))
    with pytest.raises(ModelError, match=name):
        ExportedModel.load(copy)


def test_a_graph_that_is_not_the_model_is_refused(fitted, exported, pictures, monkeypatch):
    model = ExportedModel.load(exported)
    resize = resizing(model.description.runtime, model.description.preprocessing.size)
    assert verify.check(fitted, model, resize).random.changed == 0
    right = model._run
    model._run = lambda inputs: {n: v + (n == "scores") * 0.02 for n, v in right(inputs).items()}
    with pytest.raises(ModelError, match=r"not the model.*0\.02"):
        verify.check(fitted, model, resize)


def test_nothing_is_left_of_a_refused_export(fitted, openvino_export, tmp_path, monkeypatch):
    def copied(*arguments):
        for name in GRAPHS["openvino"]:
            shutil.copy(openvino_export / name, arguments[-1])

    monkeypatch.setattr("sdmad.export.exporting._write_graph", copied)
    monkeypatch.setitem(verify.TOLERANCES, "float32", verify.Tolerance(cosine=0, score=0))
    with pytest.raises(ModelError, match="Nothing was written"):
        export_model(fitted, tmp_path / "export", "openvino")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("precision", "target"), [("bfloat16", "here"), ("int8", "here"), ("int8", "any")]
)
def test_lower_precision_stays_near_the_model(fitted, folder, tmp_path, precision, target):
    pytest.importorskip("openvino", reason="needs the extra sdmad[openvino]")
    pytest.importorskip("nncf", reason="needs the extra sdmad[openvino]")
    told = []
    written = export_model(
        fitted, tmp_path / "export", "openvino", precision, folder, target=target, say=told.append
    )
    assert [line.split()[0] for line in told] == ["making", "reading"]
    assert written.check.given.images == 12
    assert 1e-4 < written.check.given.cosine <= verify.TOLERANCES[precision].cosine
    assert "none of the 12 images" in written.notes[0]  # files, where the model had arrays
    assert read_description(tmp_path / "export").precision == precision
    sizes = {p.name: p.stat().st_size for p in (tmp_path / "export").iterdir()}
    weights = sum(p.numel() for p in fitted.backbone_.image.parameters())
    assert sizes["model.bin"] < 3 * weights  # four bytes a weight in float32
    manifest = json.loads((tmp_path / "export" / "export.json").read_text(encoding="utf-8"))
    assert manifest["target"] == target
    if target == "any":
        check_that_no_sum_can_be_cut_off(tmp_path / "export")
    ExportedModel.load(tmp_path / "export")  # runs here at least


def check_that_no_sum_can_be_cut_off(folder):
    """255 * 64 * 2 stays below 2 ** 15, and OpenVINO computes what the graph says."""
    from openvino import Core

    from benchmarks.int8_targets import exact

    assert read_description(folder).weight_bits == 7
    model = Core().read_model(folder / "model.xml")
    constants = [op.data for op in model.get_ops() if op.get_type_name() == "Constant"]
    largest = [np.abs(v.astype(int)).max() for v in constants if v.dtype == np.int8]
    assert 60 < max(largest) <= 64
    products = [op for op in model.get_ops() if op.get_type_name() in PRODUCTS]
    assert {op.get_type_name() for op in products} == set(PRODUCTS)
    assert not any(all(is_quantised(op.input_value(side)) for side in (0, 1)) for op in products)
    shades = {"black": np.zeros(1, np.float32), "white": np.full(1, 255, np.float32)}
    runs = [compiled(one) for one in (model, exact(model))]
    for image in draw_pictures(4, seed=5)[0]:
        pixels = image[None, :, :, None].astype(np.uint16)
        found, expected = (run({"pixels": pixels, **shades})["similarity"] for run in runs)
        assert found == pytest.approx(expected, abs=0.01)  # .03 to .09 where sums are cut off


PRODUCTS = ("MatMul", "ScaledDotProductAttention")


def is_quantised(value):
    node = value.get_node()
    while node.get_type_name() in ("Reshape", "Transpose"):
        node = node.input_value(0).get_node()
    return node.get_type_name() == "FakeQuantize"


def test_support_images_are_known_by_their_hashes(fitted, folder, monkeypatch):
    known = tuple(content_hash(folder / name) for name in ("03.png", "05.png"))
    monkeypatch.setattr(fitted, "state_", replace(fitted.state_, support_hashes=known))
    given = choose(folder, fitted)
    assert [file.name for file in given.files] == ["03.png", "05.png"]
    assert given.support
    assert given.note.startswith("2 of the model's 2 support images")


@pytest.mark.parametrize(
    ("runtime", "precision", "message"),
    [
        ("onnx", "bfloat16", "no bfloat16 kernels"),
        ("onnx", "int8", "SmoothQuant"),
        ("openvino", "int8", "--calibration"),
        ("tflite", "float32", "openvino or onnx"),
        ("openvino", "float64", "float32, bfloat16, int8"),
    ],
)
def test_what_cannot_be_is_refused_with_its_reason(runtime, precision, message):
    with pytest.raises(InputError, match=message):
        check_request(runtime, precision, None)


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("openvino", ("openvino", "float32", None)),
        ("onnxscript", ("onnx", "float32", None)),
        ("nncf", ("openvino", "int8", "folder")),
    ],
)
def test_a_missing_package_is_named_with_its_extra(monkeypatch, module, arguments):
    for name in {"openvino", "nncf", "onnx", "onnxscript", "onnxruntime"} - {module}:
        monkeypatch.setitem(sys.modules, name, type(sys)(name))
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError, match=rf"{module}.*pip install 'sdmad\[{arguments[0]}\]'"):
        check_request(*arguments)


def test_running_an_export_imports_no_torch_network_reporter_or_converter(exported, tmp_path):
    Image.fromarray(draw_pictures(1)[0][0]).save(tmp_path / "image.png")
    code = (
        "import sys\n"
        f"sys.argv = ['sdmad', 'predict', {str(exported)!r}, {str(tmp_path / 'image.png')!r}]\n"
        "from sdmad.cli.main import run\n"
        "try:\n    run()\n"
        "except SystemExit as end:\n    assert not end.code, end.code\n"
        "heavy = {'torch', 'transformers', 'nncf', 'openvino_telemetry.main', 'openvino.tools.ovc'}"
        "\nassert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
        "if 'openvino' in sys.modules:\n"
        "    from openvino import convert_model\n    assert callable(convert_model)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    assert result.returncode == 0, result.stderr
    assert len(result.stdout.splitlines()) == 2


def test_an_export_gives_the_probabilities_of_its_model(
    small_bank, tiny_backbone, pictures, tmp_path
):
    pytest.importorskip("openvino", reason="needs the extra sdmad[openvino]")
    config = SDMADConfig(epochs=0, image_evidence="cross-modal", decision="odds")
    detector = SDMAD(small_bank, tiny_backbone, config).fit(*pictures)
    export_model(detector, tmp_path / "export", "openvino")
    export, images = ExportedModel.load(tmp_path / "export"), draw_pictures(5, seed=6)[0]
    found = export.at_prevalence(0.1)(export.score_images(images))
    np.testing.assert_allclose(found, detector.predict_proba(images, 0.1), atol=1e-4)
    scored = export.score_images(images)
    np.testing.assert_array_equal(export.answering(0.4)(scored), detector.answering(0.4)(scored))
    assert [c.threshold for c in export.explanations(scored)[0].categories] == [0.0] * 3


def test_an_export_decides_by_the_thresholds_of_its_model(
    small_bank, tiny_backbone, pictures, tmp_path
):
    pytest.importorskip("openvino", reason="needs the extra sdmad[openvino]")
    config = SDMADConfig(epochs=0, image_evidence="cross-modal", decision="support")
    detector = SDMAD(small_bank, tiny_backbone, config).fit(*pictures)
    export_model(detector, tmp_path / "export", "openvino")
    export, images = ExportedModel.load(tmp_path / "export"), draw_pictures(20, seed=6)[0]
    scored, limits = export.score_images(images), detector.head_.limits()
    assert (limits != 0).any()
    np.testing.assert_array_equal(scored.decisions, scored.scores > limits)
    told = export.explanations(scored)[0].categories
    assert [c.threshold for c in told] == pytest.approx(limits)


def test_an_export_without_log_odds_gives_none(openvino_export):
    with pytest.raises(InputError, match="gives no probabilities"):
        ExportedModel.load(openvino_export).at_prevalence(0.1)


def test_a_place_that_is_gone_is_the_systems_refusal(tmp_path):
    from onnx import TensorProto, helper, numpy_helper

    from sdmad.export.onnx import save

    weights = numpy_helper.from_array(np.zeros(5000, np.float32), "weights")
    copied = helper.make_node("Identity", ["weights"], ["same"])
    same = helper.make_tensor_value_info("same", TensorProto.FLOAT, [5000])
    model = helper.make_model(helper.make_graph([copied], "a graph", [], [same], [weights]))
    with pytest.raises(OSError, match="cannot be written") as caught:
        save(model, tmp_path / "gone")
    assert caught.value.filename == str(tmp_path / "gone" / "model.onnx.data")
