"""Exports of the small fitted detector, one a session."""

import pytest

from sdmad.export.exporting import export_model


@pytest.fixture(scope="session")
def openvino_export(fitted, tmp_path_factory):
    """OpenVINO, float32; copy it before altering anything."""
    pytest.importorskip("openvino", reason="needs the extra sdmad[openvino]")
    folder = tmp_path_factory.mktemp("exports") / "openvino"
    export_model(fitted, folder, "openvino")
    return folder


@pytest.fixture(scope="session")
def onnx_export(fitted, tmp_path_factory):
    """ONNX, float32; copy it before altering anything."""
    for name in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(name, reason="needs the extra sdmad[onnx]")
    folder = tmp_path_factory.mktemp("exports") / "onnx"
    export_model(fitted, folder, "onnx")
    return folder


@pytest.fixture(scope="session", params=["openvino", "onnx"])
def exported(request):
    """Each of the two."""
    return request.getfixturevalue(f"{request.param}_export")
