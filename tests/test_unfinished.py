import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sdmad import unfinished
from sdmad.output import check_output_file, output_directory, results_folder, write_text
from sdmad.unfinished import exchange, sweep, unfinished_file, unfinished_folder

PROGRAM = """
import sys
from pathlib import Path
from sdmad.unfinished import unfinished_file, unfinished_folder
kind = unfinished_folder if sys.argv[2] == "folder" else unfinished_file
with kind(Path(sys.argv[1])) as work:
    print(work, flush=True)
    sys.stdin.read()
"""


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def writer(tmp_path):
    """Another process that writes to ``tmp_path / "out"`` until it is killed."""
    running = []

    def start(kind) -> tuple[subprocess.Popen, Path]:
        command = [sys.executable, "-c", PROGRAM, str(tmp_path / "out"), kind]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        running.append(process)
        return process, Path(process.stdout.readline().strip())

    yield start
    for process in running:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_what_a_killed_run_left_is_swept_and_what_another_writes_is_not(tmp_path, writer, kind):
    process, left = writer(kind)
    other, live = writer(kind)
    assert left.parent == live.parent == tmp_path
    sweep(tmp_path / "out")
    assert left.exists()
    process.kill()
    process.wait()
    assert left.exists()
    sweep(tmp_path / "other")
    assert left.exists()
    sweep(tmp_path / "out")
    assert not left.exists()
    assert live.exists()
    assert other.poll() is None


def killed(target):
    """What a killed run leaves beside a place, and what only looks like it."""
    left = target.with_name(f".{target.name}.abcd1234.part")
    left.mkdir()
    (left / "half.txt").write_text("half")
    for name in (f"{target.name}.part", f".{target.name}.part", f".{target.name}.ABCD1234.part"):
        target.with_name(name).write_text("mine")
    return left


def test_the_next_run_to_the_same_place_sweeps(tmp_path):
    target = tmp_path / "out"
    for run in (
        lambda: write_folder(target),
        lambda: check_output_file(target, force=True),
        lambda: results_folder(tmp_path),
    ):
        left = killed(target)
        run()
        assert not left.exists()
        assert (tmp_path / "out.part").exists()
        assert (tmp_path / ".out.part").exists()
        assert (tmp_path / ".out.ABCD1234.part").exists()
        if target.is_dir():
            (target / "x").unlink()
            target.rmdir()


def write_folder(target):
    with output_directory(target) as work:
        (work / "x").write_text("x")


def test_links_are_not_followed(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis").write_text("years")
    (tmp_path / ".out.abcd1234.part").symlink_to(tmp_path / "mine", target_is_directory=True)
    sweep(tmp_path / "out")
    assert (tmp_path / "mine" / "thesis").exists()


def test_a_new_one_that_another_run_swept_is_made_again(tmp_path, monkeypatch):
    make, made = unfinished.tempfile.mkdtemp, []

    def swept_once(*arguments):
        made.append(make(*arguments))
        if len(made) == 1:
            Path(made[0]).rmdir()
        return made[-1]

    monkeypatch.setattr(unfinished.tempfile, "mkdtemp", swept_once)
    with unfinished_folder(tmp_path / "out") as work:
        assert work == Path(made[1])
        assert work.is_dir()
    assert names(tmp_path) == []


def test_where_there_are_no_locks_nothing_is_swept_and_all_else_works(tmp_path, monkeypatch):
    def none(*_):
        raise OSError(37, "No locks available")

    left = killed(tmp_path / "out")
    monkeypatch.setattr(fcntl, "flock", none)
    write_folder(tmp_path / "out")
    write_text(tmp_path / "a.txt", "a")
    assert left.exists()
    assert (tmp_path / "out" / "x").exists()
    assert (tmp_path / "a.txt").read_text() == "a"


@pytest.mark.parametrize("name", ["n" * 255, "ö" * 127])
def test_a_name_as_long_as_a_name_may_be(tmp_path, name):
    write_text(tmp_path / name, "x")
    assert names(tmp_path) == [name]
    with unfinished_file(tmp_path / name) as work:
        assert work.exists()
        assert name[:10] not in work.name


def test_folders_change_places_at_once(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    if not exchange(tmp_path / "a", tmp_path / "b"):
        pytest.skip("this system cannot")
    assert names(tmp_path / "a") == ["b"]
    assert names(tmp_path / "b") == ["a"]
    assert not exchange(tmp_path / "a", tmp_path / "none")
    assert names(tmp_path) == ["a", "b"]


@pytest.mark.parametrize("can", [True, False])
def test_a_folder_is_replaced_either_way(tmp_path, monkeypatch, can):
    if not can:
        monkeypatch.setattr("sdmad.output.exchange", lambda *_: False)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old").touch()
    with output_directory(tmp_path / "out", force=True) as work:
        (work / "x").write_text("x")
    assert names(tmp_path) == ["out"]
    assert names(tmp_path / "out") == ["x"]
