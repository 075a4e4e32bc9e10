import h5py
import numpy as np
import pytest

from sdmad.data.sets import BMAD, FastMRIPlus
from sdmad.data.sets.folders import ORIGINS
from sdmad.errors import InputError
from sdmad.phantoms.cases import load_modality
from tests.trees import (
    tree_cases,
    write_bmad_tree,
    write_fastmri_plus_tree,
    write_oct17_tree,
)


def test_categories_take_turns():
    modality = load_modality("brain")  # six categories and two normal images a round
    cases = list(tree_cases(modality, 20, 3))
    assert len(cases) == 20
    for pool in (True, False):
        shown = {name for case in cases if case.pool == pool for name in case.categories}
        assert shown == set(modality.categories)
        assert any(not case.categories for case in cases if case.pool == pool)
    assert all(len(case.categories) <= 1 for case in cases if case.pool)
    assert any(len(case.categories) == 2 for case in cases if not case.pool)
    # the fifth patient, 4, has two images with the same findings
    fifth = [case for case in cases if case.patient == 4]
    assert len(fifth) == 2
    assert fifth[0].categories == fifth[1].categories
    assert (fifth[0].image != fifth[1].image).any()
    for case in cases:
        assert set(case.masks) == set(case.categories)


def test_the_seed_decides():
    modality = load_modality("oct")
    first, same, other = (
        np.stack([case.image for case in tree_cases(modality, 3, seed)]) for seed in (1, 1, 2)
    )
    assert (first == same).all()
    assert (first != other).any()


@pytest.mark.parametrize(("images", "seed"), [(0, 0), (1, -1)])
def test_numbers_out_of_range(images, seed):
    with pytest.raises(InputError, match="images must be at least 1"):
        next(tree_cases(load_modality("oct"), images, seed))


def test_volumes_are_stored_upside_down(tmp_path):
    data = FastMRIPlus(write_fastmri_plus_tree(tmp_path, 8), 5)
    row = next(iter(data.boxes))
    with h5py.File(str(data.table.files[row]).removesuffix("#5"), "r") as file:
        stored = file["reconstruction_rss"][5]
    shown = np.asarray(data.image(row), dtype=float)
    assert np.corrcoef(stored[::-1].ravel(), shown.ravel())[0, 1] > 0.99
    assert np.corrcoef(stored.ravel(), shown.ravel())[0, 1] < 0.99


def test_oct_files_are_named_as_kermany_names_them(tmp_path):
    write_oct17_tree(tmp_path, 12)
    names = [path.name for path in tmp_path.rglob("*.jpeg")]
    assert len(names) == 12
    assert {name.split("-")[0] for name in names} == {"CNV", "DME", "DRUSEN", "NORMAL"}
    assert len(list((tmp_path / "val").rglob("*.jpeg"))) >= 4


LAYOUTS = {
    "brain": ("valid/Ungood/img", "test/Ungood/label"),
    "liver": ("valid/img/ungood", "test/label/ungood"),
    "resc": ("val/ungood/img", "test/ungood/label"),
    "oct2017": ("val/Ungood/img", None),
    "rsna": ("val/Ungood/img", None),
    "camelyon16": ("valid/Ungood/img", None),
}


@pytest.mark.parametrize("origin", ORIGINS, ids=lambda origin: origin.key)
def test_bmad_is_laid_out_each_sets_own_way(tmp_path, origin):
    top = write_bmad_tree(tmp_path / f"{origin.mvfa}_AD" / "inner", origin.key, 32)
    if origin.folders:
        top = top.rename(top.with_name(origin.folders[-1]))
    else:
        top = top.rename(top.with_name(origin.key.upper()))
    pictures, masks = LAYOUTS[origin.key]
    assert any((top / pictures).iterdir())
    assert masks is None or any((top / masks).iterdir())
    data = BMAD(tmp_path, origin.key)
    assert data.top == top
    assert len(data) == 32
    assert set(data.table.splits) == {"train", "valid", "test"}
    assert data.has_masks == origin.masks
    abnormal = int(np.argmax(data.table.labels[:, 0]))
    assert not origin.masks or data.mask(abnormal).any()
