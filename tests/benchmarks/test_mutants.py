"""Mutants: each one change of what a module does, none of what it says."""

import ast

import benchmarks.mutants as study
from benchmarks.mutants import mutants

MODULE = '''
"""A module."""


def share(part: list[int], whole=2) -> float:
    """Of the whole."""
    if not part:
        raise ValueError(f"{1 + 1} parts")
    return max(part, key=abs) / whole - 1
'''


def test_every_mutant_is_one_change():
    plain = ast.unparse(ast.parse(MODULE))
    changed = {name: ast.unparse(make()) for name, make in mutants(MODULE)}
    gone = {name: set(plain.splitlines()) - set(new.splitlines()) for name, new in changed.items()}
    assert sorted(changed) == sorted(
        [
            "5:0 share gives 0.0",
            "5:33 2 to 3",
            "7:4 condition False",
            "7:7 without Not",
            "8:8 deleted",
            "9:11 Sub to Add",
            "9:11 Div to Mult",
            "9:11 without key",
            "9:11 max to min",
            "9:40 1 to 2",
        ]
    )
    assert all(len(lines) == 1 for name, lines in gone.items() if "gives" not in name)
    assert "max(part) / whole - 1" in changed["9:11 without key"]
    assert "if part:" in changed["7:7 without Not"]


def test_operators_that_begin_at_one_place_are_told_apart():
    names = {name: ast.unparse(make()) for name, make in mutants("a + b + c")}
    assert names == {"1:0 Add to Sub": "a + b - c", "1:0 Add to Sub (2)": "a - b + c"}


def test_a_module_meets_its_own_tests_first():
    module = study.SOURCE / "sdmad" / "method" / "losses.py"
    first, second, *others = study.tests_of(module, wide=False)
    assert first == str(module)
    assert second.endswith("tests/method/test_losses.py")
    assert set(others) < set(study.tests_of(module, wide=True))
