import json
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest

from sdmad.data.fewshot import draw_support, read_support, write_support
from sdmad.errors import InputError


def table_of(make_table, rows, header="file,labels,patient"):
    return make_table(header + "\n" + "\n".join(rows) + "\n", files=["0"])


def simple_rows(patients=6, images=2):
    rows, n = [], 0
    for label in ("A", "B", "normal"):
        for patient in range(patients):
            for _ in range(images):
                rows.append(f"{n},{label},{label}{patient}")
                n += 1
    return rows


@pytest.mark.parametrize("seed", range(5))
def test_n_images_a_category_filled_patient_by_patient(make_table, seed):
    table = table_of(make_table, simple_rows())
    support = draw_support(table, 4, seed)
    counts = {name: len(rows) for name, rows in support.served.items()}
    assert counts == {"A": 4, "B": 4, "normal": 4}
    assert list(support.indices) == sorted(sum(support.served.values(), ()))
    for name, rows in support.served.items():
        assert all(table.patients[i].startswith(name) for i in rows)
        # two images each: four shots take two whole patients
        assert len({table.patients[i] for i in rows}) == 2
    assert support.notes == ()
    assert (support.shots, support.seed) == (4, seed)


@pytest.mark.parametrize("seed", range(5))
def test_drawn_patients_leave_the_evaluation(make_table, seed):
    table = table_of(make_table, simple_rows(images=3))
    support = draw_support(table, 1, seed)
    evaluated = {table.patients[i] for i in np.flatnonzero(support.evaluation(table))}
    drawn = {table.patients[i] for i in support.indices}
    assert len(drawn) == 3
    assert evaluated == set(table.patients) - drawn


@pytest.mark.parametrize(("patients", "kept"), [(1, 1), (2, 1), (5, 3), (6, 3)])
def test_half_of_the_patients_rounded_up_stay(make_table, patients, kept):
    rows = [f"{i},A,a{i}" for i in range(patients)] + [f"{i + 100},B,b{i}" for i in range(20)]
    table = table_of(make_table, [*rows, "200,normal,n"])
    support = draw_support(table, 10, 0)
    evaluation = support.evaluation(table)
    assert int((evaluation & (table.labels[:, 0] == 1)).sum()) == kept
    assert len(support.served["A"]) == patients - kept
    assert len(support.served["B"]) == 10
    assert any(
        note.startswith(f"A: {patients - kept} of 10 shots (half of its patients")
        for note in support.notes
    )


def test_a_patient_counts_against_every_category_he_shows(make_table):
    # Both patients of B also have A: one of them at most may be drawn, for whichever category.
    rows = ["0,A,p", "1,B,p", "2,A,q", "3,B,q", *(f"{i},A,a{i}" for i in range(4, 10))]
    table = table_of(make_table, rows)
    for seed in range(20):
        support = draw_support(table, 3, seed)
        assert len({"p", "q"} & {table.patients[i] for i in support.indices}) <= 1
        evaluation = support.evaluation(table)
        assert (evaluation & (table.labels[:, 1] == 1)).any()


def test_several_categories_count_for_each(make_table):
    rows = [f"{i},A|B,p{i}" for i in range(6)] + ["9,normal,n0", "10,normal,n1"]
    support = draw_support(table_of(make_table, rows), 2, 0)
    assert support.served["A"] == support.served["B"]
    assert len(support.served["A"]) == 2
    assert len(support.indices) == 3


def test_single_category_images_go_first_when_another_category_is_full(make_table):
    rows = ["0,B,p0", "1,B,p1", *(f"{i},A|B,p{i}" for i in range(2, 8)), "8,A,p8", "9,A,p9"]
    table = table_of(make_table, rows)
    for seed in range(10):
        support = draw_support(table, 1, seed)
        assert len(support.served["A"]) == len(support.served["B"]) == 1


def test_overfull_category_is_noted(make_table):
    # A has four patients, B sixteen; each A image also shows B, and two A shots are wanted
    rows = [f"{i},A|B|C,p{i}" for i in range(4)] + [f"{i},B|C,p{i}" for i in range(4, 16)]
    rows += [f"{i},C|D,p{i}" for i in range(16, 20)]
    support = draw_support(table_of(make_table, rows), 2, 0)
    counts = {name: len(rows) for name, rows in support.served.items()}
    assert counts == {"A": 2, "B": 2, "C": 4, "D": 2, "normal": 0}
    assert any(note.startswith("C: 4 images") for note in support.notes)
    assert "normal: 0 of 2 shots (it has 0 in all)" in support.notes


def test_unknown_labels_are_never_shots(make_table):
    rows = ["0,1,0,a", "1,,1,b", "2,,1,c", "3,1,,d", "4,1,0,e", "5,0,0,f", "6,0,0,g", "7,0,,h"]
    table = table_of(make_table, rows, "file,A,B,patient")
    support = draw_support(table, 4, 0)
    assert set(support.served["A"]) <= {0, 3, 4}
    assert set(support.served["B"]) <= {1, 2}
    assert set(support.served["normal"]) <= {5, 6}
    assert all(support.served.values())


def test_split_pool_only_and_patients_on_both_sides(make_table):
    rows = [
        "0,A,p,train",
        "1,A,p,test",
        "2,A,q,test",
        "3,B,r,train",
        "4,B,s,test",
        "5,normal,n,val",
        "6,normal,m,test",
    ]
    table = table_of(make_table, rows, "file,labels,patient,split")
    support = draw_support(table, 1, 0)
    # p is on both sides: drawn, he leaves the evaluation, and A keeps one of its two patients;
    # r and n are only in the pool and are drawn although no second patient stands in for them
    assert support.indices == (0, 3, 5)
    assert np.flatnonzero(support.evaluation(table)).tolist() == [2, 4, 6]


def test_only_patient_on_both_sides_is_left_to_the_evaluation(make_table):
    rows = ["0,A,p,train", "1,A,p,test", "2,B,r,train", "3,B,s,test"]
    table = table_of(make_table, rows, "file,labels,patient,split")
    support = draw_support(table, 1, 0)
    assert support.served["A"] == ()
    assert support.indices == (2,)
    assert "A: 0 of 1 shots (half of its patients are kept for the evaluation)" in support.notes


def test_category_without_a_positive_in_the_pool(make_table):
    rows = ["0,A,p,train", "1,A,p2,train", "2,B,r,test", "3,A,q,test"]
    table = table_of(make_table, rows, "file,labels,patient,split")
    support = draw_support(table, 2, 0)
    assert support.served == {"A": (0, 1), "B": (), "normal": ()}
    assert "B: 0 of 2 shots (it has 0 in all)" in support.notes


def test_no_category_can_be_filled(make_table):
    table = table_of(make_table, ["0,A,p", "1,normal,q", "2,normal,r"])
    with pytest.raises(InputError, match="no category has an image that can be drawn"):
        draw_support(table, 1, 0)


@pytest.mark.parametrize("header", ["file,labels", "file,labels,patient"])
def test_without_patients_every_image_is_its_own(make_table, header):
    end = "," if header.endswith("patient") else ""
    rows = [f"{i},A{end}" for i in range(4)] + [f"{i},normal{end}" for i in range(4, 8)]
    support = draw_support(table_of(make_table, rows, header), 2, 1)
    assert {name: len(rows) for name, rows in support.served.items()} == {"A": 2, "normal": 2}
    assert support.evaluation(table_of(make_table, rows, header)).sum() == 4


@pytest.mark.parametrize("cell", ["", ",", ",NA"])
def test_images_of_unknown_patients_are_not_called_patients(make_table, cell):
    rows = [f"{i},A{cell}" for i in range(3)] + [f"{i + 10},B{cell}" for i in range(6)]
    header = "file,labels,patient" if cell else "file,labels"
    table = table_of(make_table, [*rows, f"20,normal{cell}"], header)
    support = draw_support(table, 2, 0)
    assert support.patients(table) is None
    assert "A: 1 of 2 shots (half of its images are kept for the evaluation)" in support.notes
    assert "patient" not in " ".join(support.notes)


def test_split_note_is_passed_on(make_table):
    rows = [f"{i},A,val" for i in range(4)]
    support = draw_support(table_of(make_table, rows, "file,labels,split"), 1, 0)
    assert "split column ignored" in support.notes[0]


def test_seed_decides(make_table):
    table = table_of(make_table, simple_rows(patients=20))
    assert draw_support(table, 2, 3) == draw_support(table, 2, 3)
    assert len({draw_support(table, 2, seed).indices for seed in range(6)}) > 1


def test_same_draw_in_other_processes(make_table):
    table = table_of(make_table, simple_rows(patients=20))
    code = (
        "from sdmad.data.table import read_label_table as r\n"
        "from sdmad.data.fewshot import draw_support as d\n"
        f"print(d(r({str(table.path)!r}), 3, 5).indices)"
    )
    answers = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("1", "2")
    }
    assert answers == {str(draw_support(table, 3, 5).indices)}


@pytest.mark.parametrize(
    ("shots", "seed", "message"),
    [
        (0, 0, "shots must be an integer of at least 1, got 0"),
        (1.5, 0, "shots must be"),
        (True, 0, "shots must be"),
        (1, -1, "seed must be an integer of at least 0, got -1"),
    ],
)
def test_bad_arguments(make_table, shots, seed, message):
    table = table_of(make_table, simple_rows())
    with pytest.raises(InputError, match=message):
        draw_support(table, shots, seed)


def test_write_and_read(make_table, tmp_path):
    table = table_of(make_table, simple_rows())
    support = draw_support(table, 2, 0)
    write_support(tmp_path / "s.json", support, table)
    assert read_support(tmp_path / "s.json", table) == support
    files = json.loads((tmp_path / "s.json").read_text())["served"]["A"]
    assert files == [str(i) for i in support.served["A"]]  # the names as in the table


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "x"}, "not a support set"),
        ({"shots": "2"}, "shots and seed must be integers"),
        ({"served": {"A": "0"}}, "expected a list of names, got '0'"),
        ({"served": {"A": ["none"]}}, "none is not in"),
        ({"served": {"Q": ["0"]}}, r"'Q' is no category of the table \(A, B\)"),
        ({"served": {"B": ["0"]}}, "0 is not labelled B in .*, row 2"),
        ({"served": {"normal": ["0"]}}, "0 is not labelled normal"),
        ({"served": {"A": []}}, "names no image"),
    ],
)
def test_read_refuses(make_table, tmp_path, change, message):
    table = table_of(make_table, simple_rows())
    path = tmp_path / "s.json"
    write_support(path, draw_support(table, 2, 0), table)
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(InputError, match=message):
        read_support(path, table)


def test_read_missing_or_damaged(make_table, tmp_path):
    table = table_of(make_table, simple_rows())
    with pytest.raises(InputError, match="no such file"):
        read_support(tmp_path / "none.json", table)
    (tmp_path / "s.json").write_text("{")
    with pytest.raises(InputError, match="is not readable JSON"):
        read_support(tmp_path / "s.json", table)


def split_rows(patients=5, images=4):
    """Patients of A with several images each on the train side, others on the test side."""
    rows = [f"{p * images + i},A,a{p},train" for p in range(patients) for i in range(images)]
    rows += [f"{100 + p},A,b{p},test" for p in range(4)]
    rows += [f"{200 + p},normal,n{p},{'train' if p < 6 else 'test'}" for p in range(10)]
    return rows


def counts(table, support, name):
    return sorted(Counter(table.patients[i] for i in support.served[name]).values())


@pytest.mark.parametrize("seed", range(5))
def test_patients_who_cost_nothing_give_one_image_before_a_second(make_table, seed):
    table = table_of(make_table, split_rows(), "file,labels,patient,split")
    assert counts(table, draw_support(table, 4, seed), "A") == [1, 1, 1, 1]
    assert counts(table, draw_support(table, 12, seed), "A") == [2, 2, 2, 3, 3]
    older = draw_support(table, 4, seed, "patient-by-patient")
    assert counts(table, older, "A") == [4]
    assert draw_support(table, 4, seed).patients(table) == {"A": 4, "normal": 4}
    assert older.patients(table) == {"A": 1, "normal": 4}


@pytest.mark.parametrize(("patients", "spread"), [(19, [2]), (20, [1, 1])])
def test_in_one_pool_patients_are_spared_until_there_are_plenty(make_table, patients, spread):
    rows = [f"{p * 3 + i},A,a{p}" for p in range(patients) for i in range(3)]
    rows += [f"{900 + p},normal,n{p}" for p in range(40)]
    table = table_of(make_table, rows)
    assert counts(table, draw_support(table, 2, 0), "A") == spread


def test_shots_of_one_patient_are_told(make_table):
    table = table_of(make_table, split_rows(patients=1), "file,labels,patient,split")
    assert "A: all 3 shots are of one patient" in draw_support(table, 3, 0).notes
    assert draw_support(table, 1, 0).notes == ()
    unknown = table_of(make_table, [r.rsplit(",", 1)[0] for r in simple_rows()], "file,labels")
    drawn = draw_support(unknown, 2, 0)
    assert drawn.patients(unknown) is None
    assert drawn.notes == ()


def test_a_patient_who_gave_an_image_to_another_category_comes_later(make_table):
    rows = ["0,A|B,p,train", "1,B,p,train", "2,B,q,train", "3,A,r,test", "4,B,s,test"]
    rows += ["5,normal,t,train", "6,normal,u,test"]
    table = table_of(make_table, rows, "file,labels,patient,split")
    drawn = draw_support(table, 2, 0)
    assert set(drawn.served["B"]) == {0, 2}


def test_a_support_set_that_is_no_small_file_is_refused(make_table, tmp_path, monkeypatch):
    table = table_of(make_table, simple_rows())
    with pytest.raises(InputError, match="not a regular file"):
        read_support("/dev/zero", table)
    monkeypatch.setattr("sdmad.data.fewshot.MAX_SUPPORT", 10)
    (tmp_path / "s.json").write_text("{" + " " * 10 + "}")
    with pytest.raises(InputError, match="larger than 10 bytes"):
        read_support(tmp_path / "s.json", table)
