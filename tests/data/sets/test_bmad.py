import numpy as np
import pytest
from PIL import Image

from sdmad.data.sets import BMAD, MVFA
from sdmad.data.sets.folders import find_origin
from sdmad.errors import InputError


def write(path, value=7, size=(20, 10)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size, value).save(path)


@pytest.fixture
def flat(tmp_path):
    """An image-level set."""
    root = tmp_path / "camelyon16_256"
    for name in ("train/good/1", "val/good/1", "val/Ungood/1", "test/good/2", "test/Ungood/3"):
        write(root / f"{name}.png")
    return tmp_path


@pytest.fixture
def masked(tmp_path):
    """A set with masks: one white corner, written as 0/1, 0/255 and as JPEG noise would have it."""
    root = tmp_path / "BraTS2021_slice"
    write(root / "train/good/00003_60.png")
    for split, name in (("valid", "00124_60"), ("test", "00002_60"), ("test", "00002_68")):
        write(root / split / "good/img" / f"1{name}.png")
        write(root / split / "good/label" / f"1{name}.png", 0)
        write(root / split / "Ungood/img" / f"{name}.png")
        write(root / split / "Ungood/label" / f"{name}.png", 0)
    for name, low, high in (
        ("valid/Ungood/label/00124_60", 0, 1),
        ("test/Ungood/label/00002_60", 3, 255),
    ):
        mask = np.full((10, 20), low, dtype=np.uint8)
        mask[:2, :3] = high
        Image.fromarray(mask).save(root / f"{name}.png")
    return tmp_path


def names(table):
    return [
        "/".join(file.parts[-4:] if "img" in file.parts else file.parts[-3:])
        for file in table.files
    ]


@pytest.mark.parametrize("below", ["", "camelyon16_256"])
def test_image_level(flat, below):
    data = BMAD(flat / below, "histopathology")
    table = data.table
    assert data.name == "bmad-camelyon16"
    assert names(table) == [
        "train/good/1.png",
        "val/good/1.png",
        "val/Ungood/1.png",
        "test/good/2.png",
        "test/Ungood/3.png",
    ]
    assert table.categories == ("abnormal",)
    assert table.labels[:, 0].tolist() == [0, 0, 1, 0, 1]
    assert table.normal.tolist() == [True, True, False, True, False]
    assert table.splits == ("train", "valid", "valid", "test", "test")
    assert table.patients is None
    assert not data.has_masks
    assert data.mask(2) is None


def test_masks(masked):
    data = BMAD(masked, "brain")
    table = data.table
    assert names(table)[0] == "train/good/00003_60.png"
    assert names(table)[2] == "valid/Ungood/img/00124_60.png"
    assert table.patients == ("00003", "100124", "00124", "100002", "100002", "00002", "00002")
    assert data.has_masks
    corner = np.zeros((10, 20), dtype=bool)
    corner[:2, :3] = True
    np.testing.assert_array_equal(data.mask(2), corner)
    np.testing.assert_array_equal(data.mask(5), corner)
    assert data.mask(0).shape == (10, 20)
    assert not data.mask(0).any()
    assert not data.mask(6).any()


@pytest.mark.parametrize("name", ["liver", "resc"])
def test_slices_of_a_volume_are_of_one_patient(tmp_path, name):
    for place in ("train/good/1_9", "valid/good/1_9", "test/good/1_9", "test/Ungood/1_12"):
        write(tmp_path / f"{place}.png")
    for place in ("valid/Ungood/2_3", "test/Ungood/10_12", "test/good/x"):
        write(tmp_path / f"{place}.png")
    table = BMAD(tmp_path, name).table
    told = dict(zip(names(table), table.patients, strict=True))
    assert told == {
        "train/good/1_9.png": "train 1",
        "valid/good/1_9.png": "valid 1",
        "valid/Ungood/2_3.png": "valid 2",
        "test/good/1_9.png": "test 1",
        "test/Ungood/1_12.png": "test 1",
        "test/Ungood/10_12.png": "test 10",
        "test/good/x.png": "",
    }


def test_a_mask_that_does_not_fit(masked):
    label = masked / "BraTS2021_slice/valid/Ungood/label/00124_60.png"
    write(label, 255, (20, 11))
    with pytest.raises(InputError, match="the mask has 20 x 11 pixels, its image 20 x 10"):
        BMAD(masked, "brain").mask(2)
    label.write_bytes(label.read_bytes()[:40])
    with pytest.raises(InputError, match=r"00124_60.png: (cut short|damaged|not an image)"):
        BMAD(masked, "brain").mask(2)
    label.unlink()
    with pytest.raises(InputError, match=r"label/00124_60.png: no such file"):
        BMAD(masked, "brain").mask(2)


@pytest.mark.parametrize(
    ("gone", "message"),
    [
        ("test", "neither this folder nor camelyon16 or .* in it holds the folders"),
        ("val", "no folder valid or val; bmad-camelyon16 has train, valid, test"),
        ("test/Ungood", "test: no folder Ungood"),
        ("train/good", "train: no folder good"),
    ],
)
def test_folders_that_lack(flat, gone, message):
    folder = flat / "camelyon16_256" / gone
    folder.rename(flat / "elsewhere")
    with pytest.raises(InputError, match=message):
        _ = BMAD(flat, "camelyon16").table


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("brats2021", "brain"),
        ("Retina_RESC", "resc"),
        ("retina-oct2017", "oct2017"),
        ("chest", "rsna"),
        ("hist_DIY", "liver"),
    ],
)
def test_names(name, key):
    assert find_origin(name).key == key


def test_unknown_name(tmp_path):
    with pytest.raises(InputError, match="BMAD has no set 'knee'; it has brain, liver, resc"):
        BMAD(tmp_path, "knee")


@pytest.mark.parametrize("name", ["brain", "rsna"])
def test_miniature_trees(pristine, name):
    for data in (BMAD(pristine / "bmad", name), MVFA(pristine / "mvfa", name)):
        assert len(data) == (20 if name == "brain" else 40)
        assert data.has_masks == (name == "brain")
        for side in data.table.pools()[:2]:
            assert data.table.normal[side].any()
            assert data.table.labels[side].any()
        for row in range(len(data)):
            mask = data.mask(row)
            if name == "brain":
                assert mask.any() == (not data.table.normal[row])
            else:
                assert mask is None


def test_mvfa(pristine):
    data = MVFA(pristine / "mvfa" / "Brain_AD", "Brain")
    assert data.name == "mvfa-brain"
    assert set(data.table.splits) == {"valid", "test"}
    row = int(np.argmax(data.table.labels[:, 0]))
    assert data.mask_file(row).parent.name == "anomaly_mask"
    with pytest.raises(InputError, match="nor Liver_AD in it holds"):
        _ = MVFA(pristine / "mvfa", "Liver").table
