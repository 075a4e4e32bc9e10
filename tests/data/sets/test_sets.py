import numpy as np
import pytest
from PIL import Image

from sdmad.data.sets import BMAD, DATA_SETS, MVFA, FastMRIPlus, TableData, open_data_set
from sdmad.data.sets.base import Box, box_mask
from sdmad.errors import InputError


def test_every_name_opens(tmp_path):
    (tmp_path / "labels.csv").write_text("file,labels\na,Mass\n")
    for name in DATA_SETS:
        assert open_data_set(name, tmp_path).name == name


def test_other_names(tmp_path):
    assert isinstance(open_data_set("mvfa-Retina_RESC", tmp_path), MVFA)
    assert isinstance(open_data_set("bmad-histopathology", tmp_path), BMAD)
    assert open_data_set("OCT17", tmp_path).name == "oct17"
    data = open_data_set("fastmri-plus", tmp_path, 10)
    assert isinstance(data, FastMRIPlus)
    assert data.slice_index == 10


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("oct", 0), "no data set 'oct'; did you mean 'oct17'"),
        (("qwertz", None), "no data set 'qwertz'; there are chestxray8, oct17"),
        (("bmad", None), "no data set 'bmad'"),
        (("fastmri-knee", None), "no data set 'fastmri-knee'"),
        (("bmad-knee", None), "BMAD has no set 'knee'"),
        (("oct17", 3), "oct17 has no slices; only fastmri-plus"),
    ],
)
def test_mistakes(tmp_path, arguments, message):
    name, index = arguments
    with pytest.raises(InputError, match=message):
        open_data_set(name, tmp_path, None if name == "oct" else index)


def test_boxes_are_cut_at_the_edge():
    mask = box_mask([Box("", -3, -2, 4, 3), Box("", 3, 1, 50, 50), Box("", 90, 90, 2, 2)], (3, 5))
    assert mask.astype(int).tolist() == [[1, 0, 0, 0, 0], [0, 0, 0, 1, 1], [0, 0, 0, 1, 1]]


def test_a_users_table_with_masks(tmp_path):
    for name in ("a", "b", "c"):
        Image.new("L", (6, 4)).save(tmp_path / f"{name}.png")
    (tmp_path / "labels.csv").write_text("file,labels\na.png,Mass|Cyst\nb.png,normal\nc.png,Cyst\n")
    data = TableData(tmp_path)
    assert data.mask(0) is None
    (tmp_path / "masks" / "a").mkdir(parents=True)
    for x, sign in enumerate(("round", "bright")):
        mask = np.zeros((4, 6), dtype=bool)
        mask[1, x] = True
        Image.fromarray(mask).save(tmp_path / "masks" / "a" / f"{sign}.png")
    data = TableData(tmp_path / "labels.csv")
    assert np.argwhere(data.mask(0)).tolist() == [[1, 0], [1, 1]]
    assert data.mask(1).shape == (4, 6)
    assert not data.mask(1).any()
    assert data.mask(2) is None
    assert data.table.categories == ("Cyst", "Mass")
    with pytest.raises(InputError, match="no such file; give the label table"):
        TableData(tmp_path / "masks")
