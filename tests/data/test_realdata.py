"""The three real sets are read as they lie on the disk, and drawn from."""

import numpy as np
import pytest

from sdmad.data.fewshot import draw_support, read_support, write_support
from sdmad.data.preprocessing import Preprocessing
from sdmad.data.table import read_label_table

CHEST = [
    *("Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Mass", "Nodule", "Pneumonia"),
    *("Pneumothorax", "Consolidation", "Edema", "Emphysema", "Fibrosis", "Pleural-thickening"),
    "Hernia",
]
# categories, positives of each and normal images, counted in the tables with grep
SETS = {
    "oct2017_val32": (["CNV", "DME", "Drusen"], [8, 8, 8], 8),
    "nih_cxr14_64px": (
        CHEST,
        [95, 83, 170, 162, 35, 39, 11, 40, 42, 31, 37, 32, 29, 9],
        150,
    ),
    "brain_mri_tumor4": (["Glioma", "Meningioma", "Pituitary"], [75, 73, 71], 61),
}


@pytest.mark.parametrize("name", SETS)
def test_labels(realdata, name):
    categories, positives, normal = SETS[name]
    table = read_label_table(realdata / name / "labels.csv", categories)
    assert np.nansum(table.labels, axis=0).tolist() == positives
    assert int(table.normal.sum()) == normal
    assert not np.isnan(table.labels).any()
    assert table.missing() == ()
    assert table.notes == ()


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("shots", [1, 4])
def test_draws(realdata, tmp_path, name, shots):
    categories = SETS[name][0]
    table = read_label_table(realdata / name / "labels.csv", categories)
    keys = table.patient_keys()
    for seed in range(5):
        support = draw_support(table, shots, seed)
        evaluation = support.evaluation(table)
        drawn = {keys[i] for i in support.indices}
        assert drawn.isdisjoint(keys[i] for i in np.flatnonzero(evaluation))
        for k, category in enumerate(categories):
            positive = table.labels[:, k] == 1
            assert len(support.served[category]) >= 1
            before = {keys[i] for i in np.flatnonzero(positive & table.pools()[1])}
            after = {keys[i] for i in np.flatnonzero(positive & evaluation)}
            assert 2 * len(after) >= len(before)
    write_support(tmp_path / "s.json", support, table)
    assert read_support(tmp_path / "s.json", table) == support


@pytest.mark.parametrize("name", SETS)
def test_pixels(realdata, name):
    table = read_label_table(realdata / name / "labels.csv")
    preprocessing = Preprocessing(32, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    pixels = preprocessing(table.files[::10])
    assert pixels.shape[1:] == (3, 32, 32)
    assert (pixels.flatten(1).std(dim=1) > 0.05).all()
