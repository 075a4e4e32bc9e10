"""Miniature trees, to be spoilt, and small tables."""

import shutil

import numpy as np
import pytest
from PIL import Image

from tests import trees


@pytest.fixture(scope="session")
def pristine(tmp_path_factory):
    """Folders that no test may alter."""
    root = tmp_path_factory.mktemp("trees")
    trees.write_chestxray8_tree(root / "chestxray8", 40)
    trees.write_oct17_tree(root / "oct17", 16)
    trees.write_fastmri_plus_tree(root / "fastmri-plus", 10)
    trees.write_bmad_tree(root / "brain", "brain", 20)
    return root


@pytest.fixture
def tree(pristine, tmp_path):
    """A copy of one tree."""

    def copy(name):
        return shutil.copytree(pristine / name, tmp_path / name)

    return copy


@pytest.fixture
def write_table(tmp_path):
    """Write pictures of given (label, split, patient, size, format) and their table."""

    def write(rows, header="file,labels,split,patient"):
        rng = np.random.default_rng(5)
        lines = [header]
        for i, (label, split, patient, size, kind) in enumerate(rows):
            pixels = rng.integers(0, 255, (size[1], size[0]), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / f"{i:03d}.{kind}")
            lines.append(f"{i:03d}.{kind},{label},{split},{patient}")
        path = tmp_path / "labels.csv"
        path.write_text("\n".join(lines) + "\n")
        return path

    return write
