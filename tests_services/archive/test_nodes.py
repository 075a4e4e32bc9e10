"""A cluster of three nodes on this machine, one of which is killed in the middle of a run."""

import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from sdmad.archive import engine
from sdmad.archive.checking import check_archive
from sdmad.archive.engine import Resources
from sdmad.detector.sign_detector import SignDetector
from tests.archive.conftest import OBJECT_STORE
from tests.archive.helpers import GO_ON, HALFWAY, OPENED, check_equal, read_rows, write_images

ROOT = Path(__file__).parents[2]
BAD = (7,)
SHARDS = 7
SIZE = {"object_store_memory": OBJECT_STORE}
DEAD_SOON = {"health_check_period_ms": 1000, "health_check_initial_delay_ms": 1000}
"""A lost node is called dead after five seconds, not after fifteen."""


def patiently(start):
    """Start a node, again where Ray's 30 seconds are not enough for a busy machine.

    Ray leaves the processes of the node that was too slow, which would join the cluster later.
    """
    for _ in range(engine.STARTS - 1):
        before = set(children(os.getpid()))
        try:
            return start()
        except Exception as error:  # Ray has no class of its own for it
            if "timed out during startup" not in str(error):
                raise
            for pid in set(children(os.getpid())) - before:
                os.kill(pid, signal.SIGKILL)
    return start()


@pytest.fixture
def cluster_of(monkeypatch):
    """Starts a head without cores, which drivers belong to, and nodes of a core and some GPUs."""
    from ray.cluster_utils import Cluster

    for name, value in engine.QUIET.items():
        monkeypatch.setenv(name, value)
    head = {**SIZE, "num_cpus": 0, "include_dashboard": False, "_system_config": DEAD_SOON}
    cluster = Cluster()
    patiently(lambda: cluster.add_node(**head))

    def start(*gpus):
        for count in gpus:
            patiently(partial(cluster.add_node, **SIZE, num_cpus=1, num_gpus=count))
        return cluster

    try:
        yield start
    finally:
        cluster.shutdown()


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """200 pictures, one of which cannot be read: seven shards of 32."""
    return write_images(tmp_path_factory.mktemp("archive") / "images", 200, BAD)


@pytest.fixture
def driven(images, model_folder, tmp_path):
    """Runs a driver of its own; each tower waits at its second chunk until `GO_ON` is there."""
    (tmp_path / "marks").mkdir()
    paths = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    given = [images, tmp_path / "out", model_folder, tmp_path / "marks"]
    started = []

    def drive(cluster, gpus):
        environment = {**os.environ, "PYTHONPATH": paths, "RAY_ADDRESS": cluster.address}
        command = [sys.executable, "-m", "tests.archive.helpers", *given, gpus]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        started.append(subprocess.Popen([*map(str, command)], env=environment, cwd=ROOT, **pipes))
        return started[-1]

    yield drive
    for driver in started:
        driver.kill()
        driver.wait()


def finished(out):
    """The finished shards, and when each was written."""
    return {path.name: path.stat().st_mtime_ns for path in out.glob("scores/*.parquet")}


def kill_in_the_middle(cluster, driver, folder, towers):
    """Kill a node whose tower has a chunk in hand, once a shard is finished; all others go on.

    Not before all towers are there: one that waits for its place would leave it to the lost one.
    """
    out, marks = folder / "out", folder / "marks"
    until = time.monotonic() + 240
    while not (
        finished(out)
        and list(marks.glob(f"{HALFWAY}-*"))
        and len(list(marks.glob(f"{OPENED}-*"))) == towers
    ):
        assert driver.poll() is None, driver.communicate()
        assert time.monotonic() < until
        time.sleep(0.05)
    halfway = {path.name.removeprefix(f"{HALFWAY}-") for path in marks.glob(f"{HALFWAY}-*")}
    doomed = next(one for one in cluster.worker_nodes if one.node_id in halfway)
    assert 1 <= len(finished(out)) < SHARDS
    processes = [one.process.pid for several in doomed.all_processes.values() for one in several]
    for pid in processes:  # grows as it goes: what they started, and what these started
        processes += children(pid)
    assert len(processes) >= 3  # the raylet, its tower, a process that decodes
    for pid in processes:
        os.kill(pid, signal.SIGKILL)
    (marks / GO_ON).touch()


def children(pid):
    """Processes that a process started."""
    found = []
    for told in Path(f"/proc/{pid}/task").glob("*/children"):
        found += map(int, told.read_text().split())
    return found


def check_whole(out, images, detector):
    """Each image has one row, the manifest says what the files hold, and nothing else is there."""
    names = {f"shard-{shard:06d}.parquet" for shard in range(SHARDS)}
    assert {path.name for path in (out / "scores").iterdir()} == names
    top = {"listing", "listing.json", "manifest.json", "run.json", "scores"}
    assert {path.name for path in out.iterdir()} == top
    rows = read_rows(out)
    check_equal(rows, detector, sorted(images.iterdir()), BAD)
    said = json.loads((out / "manifest.json").read_text())
    assert said["complete"] is True
    for shard in range(SHARDS):
        held = [row for row in rows if row["shard"] == shard]
        told = said["shards"][str(shard)]
        assert told["rows"] == len(held)
        assert told["errors"] == sum(row["error"] is not None for row in held)


def test_a_killed_node_costs_no_row(cluster_of, driven, images, model_folder, tmp_path):
    cluster = cluster_of(0, 0)
    driver = driven(cluster, gpus=0)
    kill_in_the_middle(cluster, driver, tmp_path, towers=2)
    said = driver.communicate(timeout=240)
    assert (driver.returncode, *said) == (0, "", "")
    check_whole(tmp_path / "out", images, SignDetector.load(model_folder))


def test_a_node_whose_gpu_is_nowhere_else_ends_the_run_in_one_line(
    cluster_of,
    driven,
    images,
    model_folder,
    tmp_path,
):
    """The other node has none: with one, the tower there ends its work, and makes room."""
    out, cluster = tmp_path / "out", cluster_of(1, 0)
    driver = driven(cluster, gpus=1)
    kill_in_the_middle(cluster, driver, tmp_path, towers=1)
    output, errors = driver.communicate(timeout=240)
    assert (driver.returncode, output) == (1, "")
    assert errors.count("\n") == 1
    assert "left are GPUs for 0 of 1 models" in errors
    before = finished(out)
    assert 1 <= len(before) < SHARDS
    assert set(json.loads((out / "manifest.json").read_text())["shards"]) == {
        str(int(name[6:12])) for name in before
    }
    cluster_of(1)
    again = driven(cluster, gpus=1)
    said = again.communicate(timeout=240)
    assert (again.returncode, *said) == (0, "", "")
    assert before.items() <= finished(out).items()
    check_whole(out, images, SignDetector.load(model_folder))


def test_a_lost_head_ends_the_run_with_a_word(
    cluster_of,
    driven,
    images,
    model_folder,
    tmp_path,
):
    cluster = cluster_of(0, 0)
    driver = driven(cluster, gpus=0)
    until = time.monotonic() + 240
    while not list((tmp_path / "marks").glob(f"{HALFWAY}-*")):
        assert driver.poll() is None, driver.communicate()
        assert time.monotonic() < until
        time.sleep(0.05)
    store = cluster.head_node.all_processes["gcs_server"][0].process
    os.kill(store.pid, signal.SIGKILL)
    _, errors = driver.communicate(timeout=240)
    assert driver.returncode == 1
    assert f"the head of the cluster at {cluster.address} does not answer" in errors


def test_an_archive_is_checked_on_a_cluster(cluster_of, images):
    report = check_archive([images], Resources(cluster_of(0, 0).address), 32)
    assert (report.images, report.whole) == (200, False)
    assert report.finding("unreadable").count == 1
