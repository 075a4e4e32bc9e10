"""Fixtures of the server's tests."""

from tests.export.conftest import openvino_export as openvino_export
