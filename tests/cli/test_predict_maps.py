import csv

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from sdmad import SDMAD
from sdmad.detector.base import resize_map

# A step of the 16-bit PNG is 4 / 65535.
HALF_A_STEP = 2 / 65535 + 1e-6


def values(path):
    with Image.open(path) as picture:
        grey = np.asarray(picture)
    assert grey.dtype == np.uint16
    return grey / 65535 * 4 - 2


def listed(folder):
    with (folder / "maps.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def images(tmp_path, pictures):
    """Two pictures of one name in two folders, one of an odd name; two of them wide."""
    folder = tmp_path / "images"
    paths = [folder / "b" / "scan.png", folder / "a" / "scan.png", folder / "a" / "..ü *$.png"]
    for path, picture in zip(paths, pictures[0], strict=False):
        path.parent.mkdir(parents=True, exist_ok=True)
        wide = np.repeat(picture, 3, axis=1) if "ü" not in path.name else picture
        Image.fromarray(wide).save(path)
    return paths


def test_every_image_has_its_maps_in_the_order_of_the_images(sdmad, model_folder, images, tmp_path):
    plain = sdmad("predict", model_folder, *images)
    done = sdmad("predict", model_folder, *images, "--maps", tmp_path / "maps")
    assert (done.status, done.out) == (0, plain.out)
    rows = listed(tmp_path / "maps")
    files = list(dict.fromkeys(row["file"] for row in rows))
    assert files == [str(path) for path in images]
    assert sorted(path.name for path in (tmp_path / "maps").iterdir()) == [
        "000001-scan-png",
        "000002-scan-png",
        "000003-png",
        "maps.csv",
    ]
    written = [row["written"] for row in rows]
    assert len(set(written)) == len(written)
    on_disk = {p.relative_to(tmp_path / "maps").as_posix() for p in tmp_path.glob("maps/*/*")}
    assert on_disk == set(written)


def test_maps_hold_what_the_detector_says_at_the_images_size(sdmad, model_folder, images, tmp_path):
    maps = tmp_path / "maps"
    rule = ("--decision", "mean")
    assert sdmad("predict", model_folder, *images, "--maps", maps, *rule).status == 0
    model, rows = SDMAD.load(model_folder).with_inference(decision="mean"), listed(maps)
    for path in images:
        mine = [row for row in rows if row["file"] == str(path)]
        with Image.open(path) as picture:
            shape = (picture.height, picture.width)
        small = model.patch_maps(model.preprocessing([path]))
        entries = model.explain(path).categories
        assert [row["category"] for row in mine if row["map"] == "category"] == [*model.categories]
        assert [(row["category"], row["sign"]) for row in mine if row["map"] == "sign"] == [
            (entry.category, entry.deciding_sign.sentence) for entry in entries if entry.found
        ]
        for row in mine:
            expected = small.anomaly[0]
            if row["map"] == "category":
                expected = small.categories[0, model.categories.index(row["category"])]
            elif row["map"] == "sign":
                expected = small.signs[0, model.bank_.sentences.index(row["sign"])]
            wanted = resize_map(expected, shape)
            found = values(maps / row["written"])
            np.testing.assert_allclose(found, wanted, atol=HALF_A_STEP)
            assert float(row["lowest"]) == pytest.approx(float(wanted.min()), abs=1e-5)
            assert float(row["highest"]) == pytest.approx(float(wanted.max()), abs=1e-5)
    assert {row["map"] for row in rows} == {"anomaly", "category", "sign"}


def test_a_slice_of_a_volume_gets_nifti_in_its_place(sdmad, model_folder, pictures, tmp_path):
    volume = np.stack(pictures[0][:4], axis=-1).astype(np.int16)
    affine = np.diag([-2.0, 1.0, 5.0, 1.0])
    affine[:3, 3] = 7, 8, 9
    path = tmp_path / "scan.nii.gz"
    nib.save(nib.Nifti1Image(volume, affine), path)
    maps = tmp_path / "maps"
    done = sdmad("predict", model_folder, f"{path}#3", path, "--maps", maps)
    assert done.status == 0, done.err
    rows = [row for row in listed(maps) if row["map"] == "anomaly"]
    assert [row["written"] for row in rows] == [
        "000001-scan-nii-gz-3/anomaly.nii.gz",
        "000002-scan-nii-gz/anomaly.nii.gz",
    ]
    model = SDMAD.load(model_folder)
    for row, index in zip(rows, (3, 2), strict=True):
        found = nib.load(maps / row["written"])
        assert found.shape == (32, 32, 1)
        assert found.affine[:3, 3].tolist() == [7, 8, 9 + 5 * index]
        (expected,) = model.anomaly_maps([f"{path}#{index}"])
        # Shown from the patient's front and right; stored from the back and, here, the right.
        np.testing.assert_allclose(found.get_fdata()[:, ::-1, 0].T, expected, atol=1e-6)


def test_unreadable_images_have_no_maps_and_the_others_keep_their_order(
    sdmad, model_folder, images, tmp_path
):
    images[1].write_text("no image")
    done = sdmad("predict", model_folder, *images, "--maps", tmp_path / "maps")
    assert done.status == 3
    files = [row["file"] for row in listed(tmp_path / "maps") if row["map"] == "anomaly"]
    assert files == [str(images[0]), str(images[2])]


def test_nothing_is_replaced_without_force_and_no_input_ever(
    sdmad, model_folder, images, tmp_path, monkeypatch
):
    def never(*_):
        raise AssertionError("scored before the folder was checked")

    kept = tmp_path / "maps" / "work.txt"
    kept.parent.mkdir()
    kept.write_text("years")
    with monkeypatch.context() as patch:
        patch.setattr(SDMAD, "score", never)
        done = sdmad("predict", model_folder, *images, "--maps", kept.parent)
        assert (done.status, kept.read_text()) == (2, "years")
        assert "--force" in done.err
        for folder in (images[1].parent, model_folder):
            done = sdmad("predict", model_folder, *images, "--maps", folder, "--force")
            assert done.status == 2
            assert "would be lost" in done.err
    assert sdmad("predict", model_folder, *images, "--maps", kept.parent, "--force").status == 0
    assert not kept.exists()
    assert len(listed(kept.parent)) > 0


def test_the_same_maps_twice_are_the_same_bytes(sdmad, model_folder, images, tmp_path):
    for name in ("one", "two"):
        assert sdmad("predict", model_folder, images[0], "--maps", tmp_path / name).status == 0
    for path in (tmp_path / "one").rglob("*.*"):
        assert (
            path.read_bytes()
            == (tmp_path / "two" / path.relative_to(tmp_path / "one")).read_bytes()
        )


def test_a_backbone_without_patches_is_refused_before_any_work(
    sdmad, model_folder, images, tmp_path, monkeypatch
):
    monkeypatch.setattr("sdmad.detector.maps.gives_maps", lambda backbone: False)
    done = sdmad("predict", model_folder, *images, "--maps", tmp_path / "maps")
    assert done.status == 2
    assert "gives no maps" in done.err
    assert not (tmp_path / "maps").exists()
    done = sdmad("explain", model_folder, images[0], "--maps", tmp_path / "maps")
    assert done.status == 2
    assert not (tmp_path / "maps").exists()
