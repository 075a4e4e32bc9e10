import json

import pytest
from PIL import Image

from tests.conftest import draw_pictures


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for i, picture in enumerate(draw_pictures(5, seed=2)[0]):
        Image.fromarray(picture).save(folder / f"{i}.png")
    return folder


def lines(done):
    assert done.status == 0, done.err
    return [json.loads(line) for line in done.out.splitlines()]


def test_predict_runs_an_export_as_it_runs_a_model(sdmad, model_folder, images, tmp_path):
    pytest.importorskip("openvino", reason="needs the extra sdmad[openvino]")
    graph = tmp_path / "graph"
    done = sdmad("export", model_folder, "--format", "openvino", "--out", graph)
    assert done.status == 0, done.err
    told = done.err.splitlines()
    assert told[0].startswith("reading ")
    assert told[1] == "making the graph: openvino, float32"
    assert told[2] == "reading it back and comparing it with the model"
    assert told[3].startswith("checked on 18 random images")
    assert "0 of 54 decisions changed" in done.err
    (images / "broken.png").write_bytes(b"")
    expected = sdmad("predict", model_folder, images, "--json")
    found = sdmad("predict", graph, images, "--json")
    assert (found.status, expected.status) == (3, 3)
    assert found.err == expected.err
    for mine, theirs in zip(found.out.splitlines(), expected.out.splitlines(), strict=True):
        mine, theirs = json.loads(mine), json.loads(theirs)
        assert mine["file"] == theirs["file"]
        for name, entry in theirs["categories"].items():
            assert mine["categories"][name]["found"] == entry["found"]
            assert mine["categories"][name]["top_sign"] == entry["top_sign"]
            assert mine["categories"][name]["score"] == pytest.approx(entry["score"], abs=1e-3)
    for option in (("--decision", "paper"), ("--backbone", "lite"), ("--precision", "bfloat16")):
        done = sdmad("predict", graph, images, *option)
        assert done.status == 2
        assert f"{option[0]} was settled when the model was exported" in done.err
    done = sdmad("export", model_folder, "--format", "openvino", "--out", graph)
    assert done.status == 2
    assert "--force" in done.err


def test_what_cannot_be_exported_is_refused_before_the_model_is_read(sdmad, tmp_path):
    done = sdmad(
        "export", "nowhere", "--format", "onnx", "--precision", "bfloat16", "--out", tmp_path / "x"
    )
    assert done.status == 2
    assert "no bfloat16 kernels" in done.err
    done = sdmad(
        "export", "nowhere", "--format", "openvino", "--precision", "int8", "--out", tmp_path / "x"
    )
    assert done.status == 2
    assert "--calibration FOLDER" in done.err
    assert not (tmp_path / "x").exists()
