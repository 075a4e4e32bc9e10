"""Exports: a fitted detector as one graph for OpenVINO or ONNX Runtime, checked as it is written.

``files`` (the directory) and ``runtime`` (running one) import neither torch nor transformers;
``exporting`` makes one with ``graph``, ``trace``, ``openvino``, ``onnx``, ``calibration`` and
``verify``.

OpenVINO's converter and NNCF report their use over the network where the package
``openvino_telemetry`` lets them; an empty module in its place keeps them silent.
"""

import sys
from types import ModuleType

sys.modules.setdefault("openvino_telemetry", ModuleType("openvino_telemetry"))
