"""Miniature trees of each data set, written once."""

import shutil

import pytest

from tests import trees


@pytest.fixture(scope="session")
def pristine(tmp_path_factory):
    """Folders that no test may alter."""
    root = tmp_path_factory.mktemp("trees")
    trees.write_chestxray8_tree(root / "chestxray8", 40)
    trees.write_oct17_tree(root / "oct17", 24)
    trees.write_fastmri_plus_tree(root / "fastmri-plus", 16)
    for name, images in (("brain", 20), ("rsna", 40)):
        trees.write_bmad_tree(root / "bmad" / name, name, images)
        trees.write_mvfa_tree(root / "mvfa", name, images)
    return root


@pytest.fixture
def tree(pristine, tmp_path):
    """A copy of one tree, to be spoilt."""

    def copy(name):
        return shutil.copytree(pristine / name, tmp_path / name)

    return copy
