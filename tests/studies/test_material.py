import numpy as np
import pytest
from PIL import Image

from sdmad.data.sets.table_data import TableData
from sdmad.errors import InputError
from sdmad.phantoms.files import PhantomData
from sdmad.signs import SignBank
from sdmad.studies.material import Material, open_material, phantom_data


def quiet(_):
    pass


def test_the_auxiliary_set_shows_other_modalities(tmp_path):
    material = open_material("phantom-oct", None, None, tmp_path, quiet, 12)
    assert material.modality == "oct"
    small = Material(material.data, material.bank, images=3)
    assert len(small.auxiliary.images) == len(small.auxiliary.masks) == 6
    for abnormal, mask in zip(small.auxiliary.abnormal, small.auxiliary.masks, strict=True):
        assert mask.any() == abnormal


def test_phantom_masks_are_those_of_the_signs(tmp_path):
    data = open_material("phantom-brain", None, None, tmp_path, quiet, 12).data
    assert isinstance(data, PhantomData)
    for row, signs in enumerate(data.signs):
        whole = data.mask(row)
        parts = [data.sign_mask(row, sign) for sign in signs]
        assert whole.any() == bool(signs)
        assert np.array_equal(whole, np.any(parts, axis=0) if parts else whole & False)
        absent = next(s for s in data.modality.signs if s not in signs)
        assert not data.sign_mask(row, absent).any()


def test_a_phantoms_category_has_the_masks_of_its_signs_in_the_banks_order(tmp_path):
    material = open_material("phantom-brain", None, None, tmp_path, quiet, 30)
    bank = material.bank
    names = bank.names[::-1]
    turned = SignBank(
        bank.name, bank.modality, bank.normal, {name: bank.categories[name] for name in names}
    )
    turned = Material(material.data, turned)
    kinds, several = material.data.modality.categories, 0
    for row, signs in enumerate(material.data.signs):
        labels, planes = material.table.labels[row], material.mask(row)
        assert planes.any(axis=(1, 2)).tolist() == (labels == 1).tolist()
        np.testing.assert_array_equal(planes.any(axis=0), material.data.mask(row))
        np.testing.assert_array_equal(turned.mask(row), planes[::-1])
        for plane, name in zip(planes, material.data.table.categories, strict=True):
            other = [sign for sign in signs if sign not in (*kinds[name].own, *kinds[name].shared)]
            mine = [sign for sign in signs if sign not in other]
            if plane.any():
                parts = [material.data.sign_mask(row, sign) for sign in mine]
                np.testing.assert_array_equal(plane, np.any(parts, axis=0))
                several += bool(other)
    assert several  # images whose whole mask is more than a category's


def test_a_set_that_tells_no_categories_apart_has_whole_masks(tmp_path, material):
    folder = material.data.root / "masks" / "000"
    folder.mkdir(parents=True)
    mask = np.zeros((32, 32), dtype=np.uint8)
    mask[3, 4] = 255
    Image.fromarray(mask).save(folder / "anything.png")
    assert material.data.category_masks(0) is None
    assert np.argwhere(material.mask(0)).tolist() == [[3, 4]]


def test_phantoms_are_drawn_once_and_others_where_anything_differs(tmp_path):
    said = []
    for images, seed, style in ((6, 1, "test"), (6, 1, "test"), (5, 1, "test"), (6, 2, "test")):
        data = phantom_data("oct", tmp_path, images, seed, style, said.append)
        assert len(data.table) == images
    assert said == [f"drawing {n} phantoms of retinal OCT, test style" for n in (6, 5, 6)]


def test_the_digest_tells_other_images_and_labels_apart(material):
    def digest():
        return Material(TableData(material.data.path, material.bank.names), material.bank).digest

    before = digest()
    assert before == material.digest
    table = material.data.path.read_text(encoding="utf-8")
    material.data.path.write_text(table.replace("Ring", "Bar", 1), encoding="utf-8")
    assert digest() != before
    material.data.path.write_text(table, encoding="utf-8")
    assert digest() == before
    material.table.files[3].write_bytes(b"shorter")
    assert digest() != before


def test_real_data_needs_a_root(tmp_path):
    with pytest.raises(InputError, match="needs --root"):
        open_material("chestxray8", None, None, tmp_path, quiet)
