"""Which faults would the tests not notice: small changes to a module, each against its tests.

    python -m benchmarks.mutants --out out/mutants.jsonl method detector evaluation
    python -m benchmarks.mutants --out out/mutants.jsonl --again --wide  # the survivors once more
    python -m benchmarks.mutants --out out/mutants.jsonl --count         # the table, runs nothing

A mutant is one change: a comparison, an operator, a constant, a pair such as min and max, a
condition, a keyword left out, a statement deleted, a function that gives nothing. Messages,
annotations and docstrings stay. Each runs in a process of its own, forked from one that has
imported what the package needs; there the module ``sdmad/X/y.py`` is compiled with the change, and
its doctests, ``tests/X/test_y.py`` and the tests in ``tests/X`` that name it run until one fails.
``--wide`` takes all of ``tests/X`` and every test file that names the module. A run goes on where
it was stopped; give ``OMP_NUM_THREADS=1``.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import copy
import gc
import importlib
import json
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src"
HELPERS = ("transformers.models.clip", "sklearn.model_selection", "scipy.stats", "tests.conftest")

COMPARISONS = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
OPERATORS = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Div,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}
PAIRS = [
    ("min", "max"),
    ("any", "all"),
    ("amin", "amax"),
    ("argmin", "argmax"),
    ("minimum", "maximum"),
    ("mean", "sum"),
    ("floor", "ceil"),
    ("ones", "zeros"),
    ("ones_like", "zeros_like"),
    ("sorted", "list"),
    ("nanmin", "nanmax"),
]
SWAPS = {a: b for pair in PAIRS for a, b in (pair, pair[::-1]) if a != "list"}
NOTHING = {"bool": "False", "float": "0.0", "int": "0", "str": "''", "list": "[]", "tuple": "()"}

KILLS: Counter[str] = Counter()
"""How many mutants each test killed."""

Change = Callable[[ast.AST], None]
Step = tuple[str, int | None]
"""A field of a node and, where it is a list, the place in it."""


def _set(name: str, value: object) -> Change:
    return lambda node: setattr(node, name, value)


def _changes(node: ast.AST) -> Iterator[tuple[str, Change]]:
    """What may be changed at a node itself, with a name for each change."""
    match node:
        case ast.Compare(ops=ops):
            for i, op in enumerate(ops):
                new = COMPARISONS[type(op)]
                changed = [*ops[:i], new(), *ops[i + 1 :]]
                yield f"{type(op).__name__} to {new.__name__}", _set("ops", changed)
        case ast.BinOp(op=op) | ast.AugAssign(op=op) if type(op) in OPERATORS:
            new = OPERATORS[type(op)]
            yield f"{type(op).__name__} to {new.__name__}", _set("op", new())
        case ast.BoolOp(op=op):
            new = ast.Or if isinstance(op, ast.And) else ast.And
            yield f"{type(op).__name__} to {new.__name__}", _set("op", new())
        case ast.Constant(value=bool(value)):
            yield f"{value} to {not value}", _set("value", not value)
        case ast.Constant(value=int() | float() as value):
            yield f"{value} to {value + 1}", _set("value", value + 1)
        case ast.Name(id=name) if name in SWAPS:
            yield f"{name} to {SWAPS[name]}", _set("id", SWAPS[name])
        case ast.Attribute(attr=name) if name in SWAPS:
            yield f"{name} to {SWAPS[name]}", _set("attr", SWAPS[name])
        case ast.IfExp(test=test):
            yield "branches swapped", _set("test", ast.UnaryOp(ast.Not(), test))
        case ast.If():
            yield "condition False", _set("test", ast.Constant(False))
        case ast.Call(keywords=keywords):
            for i, keyword in enumerate(keywords):
                if keyword.arg and keyword.arg not in ("strict", "encoding"):
                    rest = keywords[:i] + keywords[i + 1 :]
                    yield f"without {keyword.arg}", _set("keywords", rest)
        case ast.FunctionDef(returns=returns, name=name, body=body) if (
            name != "__init__" and ast.unparse(body[-1]) != "..."
        ):
            said = ast.unparse(returns).split("[")[0] if returns else ""
            value = NOTHING.get(said, "None")
            yield f"{name} gives {value}", _set("body", ast.parse(f"return {value}").body)


def _replacements(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """What may stand in a node's place."""
    match node:
        case ast.UnaryOp(op=op, operand=operand) if not isinstance(operand, ast.Constant):
            yield f"without {type(op).__name__}", operand
        case ast.Expr(value=ast.Call()) | ast.AugAssign() | ast.Raise():
            yield "deleted", ast.Pass()
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]):
            yield "deleted", ast.Pass()


def _children(node: ast.AST) -> Iterator[tuple[Step, ast.AST]]:
    """The parts of a node that count: no annotation, no message, no docstring."""
    skipped = {"annotation", "returns", "exc", "cause", "decorator_list", "type_params"}
    if isinstance(node, ast.Assert | ast.JoinedStr | ast.Import | ast.ImportFrom):
        return
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "warnings.warn":
        return
    for name, value in ast.iter_fields(node):
        if name in skipped:
            continue
        if isinstance(value, ast.AST):
            yield (name, None), value
        elif isinstance(value, list):
            for place, item in enumerate(value):
                if isinstance(item, ast.AST):
                    yield (name, place), item


def _walk(node: ast.AST, path: tuple[Step, ...] = ()) -> Iterator[tuple[tuple[Step, ...], ast.AST]]:
    yield path, node
    for step, child in _children(node):
        yield from _walk(child, (*path, step))


def _put(tree: ast.AST, path: tuple[Step, ...], new: ast.AST | None, change: Change) -> None:
    node, parent = tree, tree
    for name, place in path:
        parent, node = node, getattr(node, name) if place is None else getattr(node, name)[place]
    if new is None:
        change(node)
    elif path[-1][1] is None:
        setattr(parent, path[-1][0], new)
    else:
        getattr(parent, path[-1][0])[path[-1][1]] = ast.copy_location(new, node)


def _one(source: str, path: tuple[Step, ...], new: ast.AST | None, change: Change) -> ast.Module:
    tree = ast.parse(source)
    _put(tree, path, copy.deepcopy(new), change)
    return ast.fix_missing_locations(tree)


def mutants(source: str) -> Iterator[tuple[str, Callable[[], ast.Module]]]:
    """Every mutant of a module: a name that tells its line, and what gives the changed module."""
    told = Counter[str]()
    for path, node in _walk(ast.parse(source)):
        found = [(name, None, change) for name, change in _changes(node)]
        found += [(name, new, lambda _: None) for name, new in _replacements(node)]
        for name, new, change in found:
            place = f"{getattr(node, 'lineno', 0)}:{getattr(node, 'col_offset', 0)} {name}"
            told[place] += 1  # the sums of a + b + c begin at one place
            if told[place] > 1:
                place += f" ({told[place]})"
            yield place, partial(_one, source, path, new, change)


class Mutated(SourceFileLoader):
    """Loads one module from a changed tree; also a finder for ``sys.meta_path``."""

    def __init__(self, name: str, path: Path, tree: ast.Module) -> None:
        super().__init__(name, str(path))
        self.tree = tree

    def get_code(self, fullname: str) -> Any:  # noqa: ARG002
        """The changed code; no cached one."""
        return compile(self.tree, self.path, "exec")

    def find_spec(self, name: str, *_: object) -> ModuleSpec | None:
        """The spec of the module itself, of no other."""
        return spec_from_file_location(name, self.path, loader=self) if name == self.name else None


def tests_of(path: Path, wide: bool) -> list[str]:
    """The test files that a module's mutants meet, its own first."""
    tests = ROOT / "tests"
    room, dotted = path.parent.name, f"sdmad.{path.parent.name}.{path.stem}"
    own, naming, others = [], [], []
    for test in sorted((tests / room).glob("test_*.py")):
        if test.stem == f"test_{path.stem}" or test.stem.startswith(f"test_{path.stem}_"):
            own.append(test)
        else:
            (naming if dotted in test.read_text() else others).append(test)
    if wide or not own + naming:
        naming += others
    if wide:
        elsewhere = [p for p in sorted(tests.rglob("test_*.py")) if p.parent.name != room]
        naming += [p for p in elsewhere if dotted in p.read_text()]
    return [str(path), *map(str, own + naming)]


class KillersFirst:
    """A pytest plugin: tests that killed most mutants run first; the one that fails is told."""

    def __init__(self, kills: Counter[str], tell: int) -> None:
        self.kills, self.tell = kills, tell

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        """Sort; tests that killed none keep their order."""
        items.sort(key=lambda item: -self.kills[item.nodeid])

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Pass the name of a failed test on."""
        if report.failed:
            os.write(self.tell, report.nodeid.encode() + b"\n")


def killer(name: str, path: Path, tree: ast.Module, tests: list[str], limit: int) -> str | None:
    """The test that fails on a mutant, None if all pass within a limit in seconds."""
    told, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.setsid()
        signal.alarm(limit)
        with Path(os.devnull).open("w") as nowhere:
            os.dup2(nowhere.fileno(), 1)
            os.dup2(nowhere.fileno(), 2)
        sys.meta_path.insert(0, Mutated(name, path, tree))
        try:  # before pytest, which would load a file that it is given by a loader of its own
            importlib.import_module(name)
        except Exception:
            os._exit(1)
        pytest = importlib.import_module("pytest")
        options = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *tests]
        os._exit(int(pytest.main(options, plugins=[KillersFirst(KILLS, tell)])))
    os.close(tell)
    status = os.waitpid(pid, 0)[1]
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    with os.fdopen(told) as stream:
        failed = stream.readline().strip()
    if os.waitstatus_to_exitcode(status) in (0, 5):  # 5: there is no test at all
        return None
    KILLS[failed] += bool(failed)
    return failed or ("no end" if os.WIFSIGNALED(status) else "no import")


def _warm(modules: list[tuple[str, Path]]) -> None:
    """Import what the modules and tests need, then forget the package and the tests."""
    for name in [*HELPERS, "pytest", *(name for name, _ in modules)]:
        importlib.import_module(name)
    package = sys.modules["sdmad"].__file__ or ""
    assert Path(package).is_relative_to(SOURCE), package
    for name in [n for n in sys.modules if n.split(".")[0] in ("sdmad", "tests")]:
        del sys.modules[name]
    gc.collect()
    gc.freeze()  # what a fork shares stays shared


def _table(entries: dict[tuple[str, str], dict[str, Any]]) -> str:
    lines = ["| Module | Mutants | Run | Killed | Survived |", "|---|---:|---:|---:|---:|"]
    sums = [0, 0, 0, 0]
    for module in sorted({m for m, _ in entries}):
        mine = [e for (m, _), e in entries.items() if m == module]
        left = sum(e["survived"] for e in mine)
        row = [mine[0]["of"], len(mine), len(mine) - left, left]
        sums = [a + b for a, b in zip(sums, row, strict=True)]
        lines.append(f"| `{module}` | " + " | ".join(map(str, row)) + " |")
    return "\n".join([*lines, "| all | " + " | ".join(map(str, sums)) + " |"])


def main() -> None:
    """Run mutants and say which survive."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("rooms", nargs="*", help="method, detector/head, ...")
    parser.add_argument("--out", type=Path, required=True, help="a line of JSON a mutant")
    parser.add_argument("--sample", type=int, default=40, help="mutants a module at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=int, default=90, help="seconds a mutant")
    parser.add_argument("--wide", action="store_true", help="more tests")
    parser.add_argument("--again", action="store_true", help="the survivors in --out once more")
    parser.add_argument("--count", action="store_true", help="print the table only")
    given = parser.parse_args()
    entries: dict[tuple[str, str], dict[str, Any]] = {}
    if given.out.is_file():
        for line in given.out.read_text().splitlines():
            entry = json.loads(line)
            entries[entry["module"], entry["mutant"]] = entry
    if not given.count:
        _run(given, entries)
    print(_table(entries))
    for (module, mutant), entry in sorted(entries.items()):
        if entry["survived"]:
            print(f"{module}:{mutant}\n    {entry['line']}")


def _run(given: argparse.Namespace, entries: dict[tuple[str, str], dict[str, Any]]) -> None:
    paths = []
    for room in given.rooms or sorted({m.removeprefix("sdmad.") for m, _ in entries}):
        place = SOURCE / "sdmad" / room.replace(".", "/")
        paths += sorted(place.glob("*.py")) if place.is_dir() else [place.with_suffix(".py")]
    modules = [
        (".".join(p.relative_to(SOURCE).with_suffix("").parts), p)
        for p in paths
        if p.stem != "__init__"
    ]
    _warm(modules)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    plan = []
    for name, path in modules:
        every = list(mutants(path.read_text()))
        chosen = random.Random(given.seed).sample(every, min(given.sample, len(every)))  # noqa: S311
        plan += [(i, name, path, len(every), *one) for i, one in enumerate(chosen)]
    plan.sort(key=lambda one: one[0])  # in turn, so that a run that is stopped has seen them all
    with given.out.open("a") as stream:
        for _, name, path, count, mutant, make in plan:
            known = entries.get((name, mutant))
            if known is not None and not (given.again and known["survived"]):
                continue
            if known is None and given.again:
                continue
            start = time.monotonic()
            failed = killer(name, path, make(), tests_of(path, given.wide), given.limit)
            entry = {
                "module": name,
                "mutant": mutant,
                "of": count,
                "survived": failed is None,
                "killer": failed,
                "seconds": round(time.monotonic() - start, 1),
                "line": path.read_text().splitlines()[int(mutant.split(":")[0]) - 1].strip(),
            }
            entries[name, mutant] = entry
            stream.write(json.dumps(entry) + "\n")
            stream.flush()


if __name__ == "__main__":
    main()
