"""Which images a threshold comes from; the figures of maps are tested with the engine."""

import numpy as np

from sdmad.data.sets.table_data import TableData
from sdmad.data.table import parse_label_table
from sdmad.signs import SignBank
from sdmad.studies import map_scores
from sdmad.studies.draw import Draw
from sdmad.studies.material import Material


class Unread(TableData):
    """A table whose images nobody reads."""

    @property
    def table(self):
        return parse_label_table(self.path)


def test_a_threshold_for_dice_comes_from_both_kinds_and_from_nobody_judged(monkeypatch, tmp_path):
    monkeypatch.setattr(map_scores, "VALIDATION", 8)
    monkeypatch.setattr(map_scores, "OF_EACH", 3)
    labels = np.array([[0.0]] * 12 + [[1.0]] * 12)
    split = ["train"] * 10 + ["test"] * 2 + ["train"] * 10 + ["test"] * 2
    patients = [f"P{i}" for i in range(24)]
    patients[11] = "P1"  # judged, and in the pool as row 1
    lines = [
        f"{i}.png,{'Lesion' if label else 'normal'},{side},{patient}"
        for i, (label, side, patient) in enumerate(zip(labels[:, 0], split, patients, strict=True))
    ]
    path = tmp_path / "labels.csv"
    path.write_text("\n".join(["file,labels,split,patient", *lines]), encoding="utf-8")
    bank = SignBank("lesions", "picture", ("a picture",), {"Lesion": ("a lesion",)})
    draw = Draw(Material(Unread(path), bank), 1, 0)
    rows = map_scores.validation_rows(draw)
    drawn = set(draw.support.indices)
    free = [i for i in range(10) if i != 1 and i not in drawn]
    abnormal = [i for i in range(12, 22) if i not in drawn][:3]
    assert rows == sorted([*free[:5], *abnormal])
