"""A short campaign: thirty cases of each kind, with the seeds that the long one begins with."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest

from benchmarks.campaign import crew, frame, mutations, page, runs
from benchmarks.campaign.frame import (
    FAULTS,
    LEFT,
    MEMORY,
    NAME,
    SECRET,
    TOLD,
    TRACEBACK,
    FoundError,
)
from benchmarks.campaign.kinds import kills
from benchmarks.campaign.material import write_model
from benchmarks.campaign.mutations import damaged_bytes, damaged_json, damaged_text
from benchmarks.campaign.patience import Patience
from sdmad.errors import InputError

CASES = 30


@pytest.mark.parametrize("kind", ["text", "answers", "images", "models", "backbones", "exports"])
def test_nothing_happens_that_never_may(kind, tmp_path_factory):
    folder = tmp_path_factory.mktemp(kind)
    material = frame.prepare(kind, folder)
    cases = [frame.run_case(kind, seed, material, folder / "place") for seed in range(CASES)]
    failing = {case.seed: case.faults for case in cases if case.faults}
    assert not failing, f"python -m benchmarks.campaign --kind {kind} --seed {min(failing)}"
    assert {case.outcome for case in cases} <= {frame.READ, frame.TOLD}
    assert any(case.outcome == TOLD for case in cases)


@pytest.mark.parametrize("number", list(runs.ENDED))
def test_a_killed_run_leaves_nothing_and_loses_nothing(number, tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "COMMANDS", {"phantom": runs.COMMANDS["phantom"]})
    monkeypatch.setattr(kills, "COMMANDS", runs.COMMANDS)
    monkeypatch.setattr(kills, "ENDED", {number: runs.ENDED[number]})
    seconds, files = runs.timed("phantom", tmp_path, tmp_path / "whole")
    whole = {"phantom": {"seconds": seconds, "files": files}}
    (tmp_path / "whole.json").write_text(json.dumps(whole))
    case = frame.run_case("kills", int(number), tmp_path, tmp_path / "place")
    assert case.faults == {}
    assert case.outcome.startswith("phantom, ")


def test_damage_to_one_file_does_not_reach_the_next():
    before = json.dumps(mutations.VALUES)
    for seed in range(300):
        damaged_json(random.Random(seed), {"a": [1, {"b": [2, 3]}], "c": {}})
    assert json.dumps(mutations.VALUES) == before


def test_a_model_leaves_images_that_it_can_be_judged_on(tmp_path):
    write_model(tmp_path)
    _, files = runs.timed("evaluate", tmp_path, tmp_path / "out")
    assert "metrics.json" in files


def attacked(monkeypatch, tmp_path, attack):
    monkeypatch.setattr("benchmarks.campaign.kinds.text.attack", attack)
    return frame.run_case("text", 0, tmp_path, tmp_path / "place")


def test_what_never_may_happen_is_seen(monkeypatch, tmp_path):
    """The campaign itself: each kind of fault is found where there is one."""

    def raises(*_):
        raise KeyError("a mistake of ours")

    assert "KeyError" in attacked(monkeypatch, tmp_path, raises).faults[TRACEBACK]

    def leaves(_, __, place):
        (place / ".out.abcd1234.part").touch()
        return frame.READ

    assert attacked(monkeypatch, tmp_path, leaves).faults == {LEFT: ".out.abcd1234.part"}

    def tells(*_):
        raise InputError(f"{SECRET} is no label")

    found = attacked(monkeypatch, tmp_path, tells)
    assert (found.outcome, list(found.faults)) == (TOLD, [NAME])

    def finds(*_):
        raise FoundError(frame.LOST, "a file")

    assert attacked(monkeypatch, tmp_path, finds).faults == {frame.LOST: "a file"}

    def takes(*_):
        return str(len(bytes(bytearray(b"x") * 300_000_000)))

    monkeypatch.setattr(frame, "MEGABYTES", 100)
    assert list(attacked(monkeypatch, tmp_path, takes).faults) == [MEMORY]
    assert not (tmp_path / "place").exists()


HANGS = "def attack(*_):\n    while True:\n        pass\n"
CRASHES = "import os\ndef attack(*_):\n    os.abort()\n"


@pytest.mark.parametrize(("code", "fault"), [(HANGS, frame.HANG), (CRASHES, TRACEBACK)])
def test_a_hang_and_a_crash_are_one_case_each(tmp_path, monkeypatch, code, fault):
    monkeypatch.setattr(crew, "setting", lambda *_: 8.0)
    patch = f"import benchmarks.campaign.kinds.text as kind\n{code}kind.attack = attack\n"
    program = f"{patch}from benchmarks.campaign.crew import serve; serve()"
    worker = crew.Worker("text", tmp_path, tmp_path / "place")
    monkeypatch.setattr(crew, "PROGRAM", program)
    try:
        assert list(worker.run(3).faults) == [fault]
        monkeypatch.setattr(crew, "PROGRAM", "from benchmarks.campaign.crew import serve; serve()")
        monkeypatch.setattr(crew, "setting", lambda *_: 120.0)
        assert worker.run(4).faults == {}
    finally:
        worker.end()


SLEEPS, WORKS = "import time; time.sleep(60)", "while True: pass"
ABOVE = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'while True: pass'])"


@pytest.mark.parametrize(
    ("program", "seconds", "clock", "lost"),
    [
        (SLEEPS, 0.3, 60, ""),  # as on a machine that others have
        (SLEEPS, 0.3, 1, "no end after 1 s"),
        (WORKS, 0.3, 60, "more than 0.3 s of processor time"),
        (ABOVE, 0.5, 60, "more than 0.5 s of processor time"),
    ],
)
def test_work_is_what_a_hang_is_told_by(program, seconds, clock, lost):
    with subprocess.Popen([sys.executable, "-S", "-c", program], start_new_session=True) as process:
        try:
            patience = Patience(process.pid, seconds, clock)
            until = time.monotonic() + (20 if lost else 2)
            while not (found := patience.lost()) and time.monotonic() < until:
                time.sleep(0.05)
        finally:
            os.killpg(process.pid, signal.SIGKILL)
    assert found == lost


def test_a_run_that_hangs_is_ended(monkeypatch):
    monkeypatch.setattr(runs, "PROGRAM", "while True: pass")
    monkeypatch.setattr(runs, "SECONDS", 0.3)
    process = runs.start([])
    with pytest.raises(FoundError, match="processor time"):
        runs.finish(process)
    assert process.poll() == -signal.SIGKILL


def test_cases_are_taken_up_again_and_the_page_counts_them(tmp_path):
    case = frame.Case("text", 0, "fault", {TRACEBACK: "KeyError"}, 0.1)
    done = frame.Case("text", 1, TOLD, {}, 0.1)
    lines = [json.dumps(vars(one)) for one in (case, done)]
    (tmp_path / "text.jsonl").write_text("\n".join([*lines, '{"kind": "te']))
    assert crew.read_cases(tmp_path / "text.jsonl") == [case, done]
    table = page.write_page(tmp_path, tmp_path / "page.md")
    (row,) = table.rows
    assert row[2:] == ("2", "0", "1", "0", "1", *"0" * (len(FAULTS) - 1))
    assert "- text 0: traceback or crash" in (tmp_path / "page.md").read_text(encoding="utf-8")


def test_a_seed_makes_the_same_damage_again():
    content = {"a": [1, 2.5, "x"], "b": {"c": None}}
    for seed in range(50):
        one, two = random.Random(seed), random.Random(seed)
        assert damaged_json(one, content) == damaged_json(two, content)
        assert damaged_bytes(one, b"abc" * 50) == damaged_bytes(two, b"abc" * 50)
        assert damaged_text(one, "a,1\nb,2\n") == damaged_text(two, "a,1\nb,2\n")
    assert content == {"a": [1, 2.5, "x"], "b": {"c": None}}


def test_the_signals_are_those_that_end_a_run():
    assert set(runs.ENDED) == {signal.SIGKILL, signal.SIGTERM, signal.SIGINT}
