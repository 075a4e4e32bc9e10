"""Fixtures for the data tests."""

import os
from pathlib import Path

import pytest

from sdmad.data.limits import reading_limits
from sdmad.data.table import LabelTable, read_label_table


@pytest.fixture
def realdata() -> Path:
    """The folder with the small real sets, which are not part of the repository."""
    beside = Path(__file__).resolve().parents[3] / "shared" / "realdata"
    folder = Path(os.environ.get("SDMAD_REALDATA", beside))
    if not folder.is_dir():
        pytest.skip(f"no real images at {folder}; set SDMAD_REALDATA to the folder that has them")
    return folder


@pytest.fixture
def here():
    """Files are read in this process, where a test can change a setting and listen."""
    with reading_limits(trusted=True):
        yield


@pytest.fixture
def make_table(tmp_path):
    """Write a CSV and an (empty) file for each image it names, then read it."""

    def make(text: str | bytes, categories=None, files=(), read=True) -> LabelTable | Path:
        data = text.encode() if isinstance(text, str) else text
        path = tmp_path / "labels.csv"
        path.write_bytes(data)
        for name in files:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()
        return read_label_table(path, categories) if read else path

    return make
