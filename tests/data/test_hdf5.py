import sys

import h5py
import numpy as np
import pytest

from sdmad.data.images import ImageError, content_hash, read_image, volume_slices

pytestmark = [
    pytest.mark.filterwarnings("ignore::sdmad.data.intensity.IntensityWarning"),
    pytest.mark.filterwarnings("ignore::sdmad.data.intensity.PartWarning"),
]

VOLUME = (np.arange(16 * 6 * 4).reshape(16, 6, 4) % 97 * 1e-6).astype(np.float32)


def save(path, volume=VOLUME, key="reconstruction_rss", **options):
    with h5py.File(path, "w") as file:
        file.create_dataset(key, data=volume, **options)
        file.create_dataset("kspace", data=np.zeros((2, 2), np.complex64))
        file.attrs["patient_id"] = "Secret"
    return path


def shown(values):
    values = values.astype(np.float64)
    return np.rint((values - values.min()) / np.ptp(values) * 255)


@pytest.fixture
def file(tmp_path):
    return tmp_path / "brain.h5"


def test_slices_are_flipped_up_down(file):
    save(file)
    assert volume_slices(file) == 16
    for index in (0, 5, 10, 15):
        image = np.asarray(read_image(f"{file}#{index}"))
        np.testing.assert_array_equal(image, shown(VOLUME[index][::-1]))
    np.testing.assert_array_equal(np.asarray(read_image(file)), shown(VOLUME[8][::-1]))


def test_a_mark_at_the_bottom_of_the_stored_array_is_shown_at_the_top(file):
    volume = np.zeros((3, 6, 4))
    volume[1, 5, 2] = 1
    image = np.asarray(read_image(save(file, volume)))
    assert np.argwhere(image).tolist() == [[0, 2]]


def test_windows(file):
    save(file, VOLUME * 1e6)
    image = np.asarray(read_image(f"{file}#2", (40, 60)))
    expected = np.clip((VOLUME[2][::-1] * 1e6 - 39.5) / 59 + 0.5, 0, 1) * 255
    np.testing.assert_allclose(image, expected, atol=0.51)


@pytest.mark.parametrize("options", [{"compression": "gzip"}, {"chunks": (1, 6, 4)}, {}])
def test_storage_does_not_matter(file, options):
    save(file, key="reconstruction_esc", **options)
    np.testing.assert_array_equal(np.asarray(read_image(f"{file}#3")), shown(VOLUME[3][::-1]))


def test_root_sum_of_squares_goes_first(file):
    save(file)
    with h5py.File(file, "a") as opened:
        opened["reconstruction_esc"] = VOLUME[:, ::-1]
    np.testing.assert_array_equal(np.asarray(read_image(file)), shown(VOLUME[8][::-1]))


def test_content_decides_not_the_name(file):
    save(file).rename(file.with_suffix(".png"))
    assert read_image(file.with_suffix(".png")).size == (4, 6)


def test_hashes_of_slices(file):
    save(file)
    assert content_hash(f"{file}#8") == content_hash(file)
    assert len({content_hash(f"{file}#{index}") for index in range(16)}) == 16
    with pytest.raises(ImageError, match="holds 16 slices, 0 to 15; there is no slice 16"):
        read_image(f"{file}#16")


# ---- what must be refused


def test_missing_key_lists_what_is_there(file):
    with h5py.File(file, "w") as opened:
        opened["kspace"] = np.zeros((2, 2))
        opened["ismrmrd_header"] = "Secret"
    expected = (
        r"brain\.h5: HDF5 without reconstruction_rss or reconstruction_esc .*; "
        r"its keys: 'ismrmrd_header', 'kspace'$"
    )
    with pytest.raises(ImageError, match=expected):
        read_image(file)
    with h5py.File(file, "w") as opened:
        for number in range(15):
            opened[f"key{number:02}" + "x" * 60] = 1
    with pytest.raises(ImageError, match=r"'key00x+', .* and 5 more$") as error:
        read_image(file)
    assert len(str(error.value)) < 900
    with h5py.File(file, "w"):
        pass
    with pytest.raises(ImageError, match="its keys: none"):
        read_image(file)


def test_links_are_not_followed(tmp_path, file):
    other = save(tmp_path / "other.h5")
    for link in (
        h5py.ExternalLink(str(other), "/reconstruction_rss"),
        h5py.ExternalLink(str(tmp_path / "none.h5"), "/a"),
        h5py.SoftLink("/kspace"),
        h5py.SoftLink("/nowhere"),
    ):
        with h5py.File(file, "w") as opened:
            opened["reconstruction_rss"] = link
        with pytest.raises(ImageError, match="is a link to another place, which is not followed"):
            read_image(file)


def test_virtual_data_sets_are_refused(tmp_path, file):
    other = save(tmp_path / "other.h5")
    layout = h5py.VirtualLayout(shape=VOLUME.shape, dtype="f4")
    layout[:] = h5py.VirtualSource(other, "reconstruction_rss", shape=VOLUME.shape)
    with h5py.File(file, "w") as opened:
        opened.create_virtual_dataset("reconstruction_rss", layout)
    with pytest.raises(ImageError, match="lies in other files, which are not opened"):
        read_image(file)


def test_raw_data_in_other_files_is_refused(tmp_path, file):
    (tmp_path / "secret.bin").write_bytes(bytes(range(96)))
    with h5py.File(file, "w") as opened:
        opened.create_dataset(
            "reconstruction_rss",
            (4, 6, 4),
            "u1",
            external=[(str(tmp_path / "secret.bin"), 0, 96)],
        )
    with pytest.raises(ImageError, match="lies in other files, which are not opened"):
        read_image(file)


@pytest.mark.parametrize(
    ("volume", "message"),
    [
        (VOLUME[0], r"shape \(slice, y, x\), got float32 of shape \(6, 4\)"),
        (VOLUME[None], r"got float32 of shape \(1, 16, 6, 4\)"),
        (VOLUME[:0], r"of shape \(0, 6, 4\)"),
        (VOLUME.astype(np.complex64), "got complex64"),
        (np.full((2, 3, 4), b"abc"), r"got \|S3"),
        (VOLUME[:, :1], "4 x 1 pixels is too small"),
        (np.full((2, 3, 4), np.nan), "holds no finite value"),
    ],
)
def test_arrays_that_are_no_pictures(file, volume, message):
    with pytest.raises(ImageError, match=rf"brain\.h5: .*{message}"):
        read_image(save(file, volume))


def test_object_references_and_groups_are_refused(file):
    with h5py.File(file, "w") as opened:
        data = opened.create_dataset("reconstruction_rss", (2, 3, 4), dtype=h5py.ref_dtype)
        data[0, 0, 0] = opened.ref
    with pytest.raises(ImageError, match="must hold numbers"):
        read_image(file)
    with h5py.File(file, "w") as opened:
        opened.create_group("reconstruction_rss")
    with pytest.raises(ImageError, match="is no array but a group"):
        read_image(file)


def test_sizes_are_judged_before_reading(file):
    with h5py.File(file, "w") as opened:  # nothing is stored: the file is small
        opened.create_dataset("reconstruction_rss", (9, 40_000, 40_000), "f4", chunks=(1, 64, 64))
    assert file.stat().st_size < 10_000
    with pytest.raises(ImageError, match=r"40000 x 40000 is more than .* refused before decoding"):
        read_image(file)
    with h5py.File(file, "w") as opened:
        opened.create_dataset(
            "reconstruction_rss", (500_000, 32, 32), "f4", chunks=(500_000, 32, 32)
        )
    with pytest.raises(ImageError, match=r"stored in chunks of more than .* slice by slice"):
        read_image(file)


@pytest.mark.parametrize("keep", [9, 100, 600, 2000])
def test_cut_short(file, keep):
    save(file, np.random.default_rng(0).random((16, 20, 20)))
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(ImageError, match=r"a damaged HDF5 file, or one cut short; copy") as error:
        read_image(file)
    assert "Secret" not in str(error.value)


def test_missing_h5py_names_the_extra(file, monkeypatch, here):
    save(file)
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ImageError, match=r'needs h5py; .*pip install "sdmad\[hdf5\]"'):
        read_image(file)
