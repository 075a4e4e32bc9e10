import gzip
import io

import nibabel as nib
import numpy as np
import pytest
from nibabel.orientations import axcodes2ornt, inv_ornt_aff, ornt_transform

from sdmad.data import nifti
from sdmad.data.nifti_maps import like_slice
from sdmad.data.plane import ImageError

RAS = np.random.default_rng(0).integers(-500, 1500, (5, 6, 7)).astype(np.int16)
AFFINE = np.array([[2, 0.1, 0, -30], [-0.1, 3, 0.2, 20], [0, -0.2, 4, 7], [0, 0, 0, 1.0]])


def oriented(codes):
    """The same patient, slightly tilted, stored in another order of axes."""
    transform = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(codes))
    data = nib.orientations.apply_orientation(RAS, transform)
    return data, AFFINE @ inv_ornt_aff(transform, RAS.shape)


def loaded(content):
    return nib.Nifti1Image.from_bytes(gzip.decompress(content))


@pytest.mark.parametrize("codes", ["RAS", "LPS", "LAS", "ASR", "PIL", "SAL", "IRP"])
@pytest.mark.parametrize("place", [0, 4, None])
def test_a_map_lies_where_its_slice_lies(tmp_path, codes, place):
    data, affine = oriented(codes)
    path = tmp_path / "scan.nii.gz"
    image = nib.Nifti1Image(data, affine)
    image.header.set_xyzt_units("mm", "sec")
    image.header["descrip"] = b"Jane Doe"
    nib.save(image, path)
    with nifti.opened(path) as file:
        shown = file.plane(place, 10**6, "auto").values.astype(np.float64)
    content = like_slice(path, place, shown / 1000)
    found = nib.as_closest_canonical(loaded(content))
    index = 3 if place is None else place
    assert found.shape == (5, 6, 1)
    np.testing.assert_allclose(found.get_fdata()[..., 0], RAS[..., index] / 1000, rtol=1e-6)
    start = AFFINE @ [0, 0, index, 1]
    np.testing.assert_allclose(found.affine[:, 3], start, atol=1e-4)
    np.testing.assert_allclose(found.affine[:3, :3], AFFINE[:3, :3], atol=1e-5)
    assert found.header.get_data_dtype() == np.float32
    assert found.header.get_xyzt_units()[0] == "mm"
    assert b"Jane" not in gzip.decompress(content)


def test_a_picture_of_two_dimensions(tmp_path):
    path = tmp_path / "flat.nii"
    nib.save(nib.Nifti1Image(RAS[..., 2], np.eye(4)), path)
    with nifti.opened(path) as file:
        shown = file.plane(None, 10**6, "auto").values.astype(np.float32)
    found = loaded(like_slice(path, None, shown))
    np.testing.assert_array_equal(found.get_fdata()[..., 0], RAS[..., 2])


def test_the_same_map_gives_the_same_bytes_and_another_shape_is_refused(tmp_path):
    path = tmp_path / "scan.nii"
    nib.save(nib.Nifti1Image(RAS, np.eye(4)), path)
    values = np.zeros((6, 5), np.float32)
    assert like_slice(path, 1, values) == like_slice(path, 1, values)
    with gzip.open(io.BytesIO(like_slice(path, 1, values))) as stream:
        assert len(stream.read()) == 352 + 4 * 30
    with pytest.raises(ImageError, match=r"slices are 6 x 5, the map is \(5, 6\)"):
        like_slice(path, 1, values.T)
