"""The page of archives is its template with the figures of the benchmark."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.archive.page import PAGE, cluster, measured, missing, told
from benchmarks.archive.sections import Sizes
from benchmarks.archive.watching import WEIGHED, Family

DOCS = Path(__file__).parents[2] / "docs"


def took(cpu, seconds, others=0.0):
    return {"cpu": cpu, "seconds": seconds, "memory": 900.0, "others": others}


def one_round(plain, ray, others=0.0):
    """4,000 images, by seconds of the processor; half as many by the clock."""
    ways = {"plain": plain, "ray, 1 tower": ray, "ray, 2 towers": 2 * ray}
    return {"images": 4000, **{name: took(cpu, cpu / 2, others) for name, cpu in ways.items()}}


FOUND = {
    "machine": {"cores": 2},
    "rates": {"1": one_round(100, 110), "2": one_round(100, 120), "3": one_round(200, 200)},
    "decoding": {"once": {"cpu": 2.5, "images": 500}},
    "memory": {"10000": {**took(400, 210), "again": 9.0}},
    "resuming": {
        "once": {
            "shards": 4,
            "kept": 2,
            "whole": took(200, 100),
            "rest": took(120, 60),
            "none": took(20, 10, 0.5),
        }
    },
    "bucket": {"once": {"images": 1000, "there": took(50, 40), "here": took(45, 30)}},
    "judging": {"112120": took(30, 25, 0.11)},
}


def test_the_page_is_the_template():
    before, after = PAGE.read_text(encoding="utf-8").split("{measured}")
    page = (DOCS / "archives.md").read_text(encoding="utf-8")
    assert page.startswith(before)
    assert page.rstrip().endswith(after.rstrip())


def test_figures_stand_beside_the_plain_engines():
    """Medians of 110, 120 and 200 s over 4,000 images; ratios within rounds."""
    text = measured(FOUND, Sizes())
    row = "| ray, 1 tower | 30.0 | 1.10 (1.00 to 1.20) | 66.7 | 0.91 (0.83 to 1.00) | 900 |"
    assert row in text
    assert "| Again, after it was killed | 2 | 120 | 60 |" in text


def test_the_clock_does_not_count_where_others_had_the_cores():
    busy = {**FOUND, "rates": {"1": one_round(100, 110, 0.4)}}
    text = measured(busy, Sizes())
    assert "| ray, 1 tower | 27.5 | 1.10 | not measured | not measured | 900 |" in text
    assert "| Again, with nothing missing | 0 | 20 | not measured |" in text
    assert "| 112,120 | 30 | not measured | 900 |" in text


def test_what_was_not_measured_is_named():
    text = measured({**FOUND, "bucket": {}, "decoding": {}}, Sizes())
    assert "| 200,000 | not measured | not measured |" in text
    assert "`decoding`, `memory` (50000, 200000), `bucket`, `judging` (10000000)" in text
    assert "object store" not in text
    assert "What a cluster" not in text
    nothing = {name: {} for name in FOUND} | {"machine": {"cores": 2}}
    assert "###" not in measured(nothing, Sizes())
    small = Sizes(rounds=3, memory=(10_000,), judged=(112_120,))
    assert missing(FOUND, small) == []


def test_a_cluster_by_hand():
    """30 ms an image: a node of 16 takes 112,120 x 0.03 / 16 = 210 s; 5 ms of decoding 35 s."""
    assert "| 1 of 16 cores | 112,120 | 4 min | 35 s |" in cluster(FOUND)
    assert told(10_000_000 * 0.03 / 16) == "5.2 h"


@pytest.mark.parametrize(
    ("seconds", "said"), [(59, "59 s"), (60, "1 min"), (5400, "90 min"), (7200, "2.0 h")]
)
def test_times(seconds, said):
    assert told(seconds) == said


BURN = "import time\nwhile time.process_time() < 0.4: pass\nprint(flush=True); input()"


def test_a_child_counts_with_what_started_it():
    """A process that starts another, which burns 0.4 s and waits; some looks, then the end."""
    start = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {BURN!r}])"
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", start], stdin=pipe, stdout=pipe) as process:
        family = Family(process.pid)
        process.stdout.readline()
        assert [len(family.look()) for _ in range(WEIGHED)] == [2] * WEIGHED
        took = family.run()
        process.communicate(b"\n")
    assert took.cpu >= 0.35
    assert took.memory > 5
    assert family.look() == set()
    assert os.getpid() not in {pid for pid, _ in family.used}
