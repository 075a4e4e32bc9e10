"""Fixtures of what computes in a server."""

from tests.export.conftest import openvino_export as openvino_export
