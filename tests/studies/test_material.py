import numpy as np
import pytest

from sdmad.data.sets.table_data import TableData
from sdmad.errors import InputError
from sdmad.phantoms.files import PhantomData
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
