"""Archives on a Ray of this machine: what it loses, kills and spills changes no row."""

import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from sdmad.archive.engine import Resources, connected
from sdmad.archive.places import place_of
from sdmad.archive.predicting import score_archive
from sdmad.detector.sign_detector import SignDetector
from sdmad.errors import InputError, SDMADError
from tests.archive.helpers import (
    check_equal,
    open_filling,
    open_judge,
    open_killed,
    read_rows,
    run,
    write_images,
)

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.usefixtures("cluster")


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """200 pictures, two of which cannot be read: seven shards of 32."""
    return write_images(tmp_path_factory.mktemp("archive") / "images", 200, (7, 150))


BAD = (7, 150)


def test_two_towers_say_to_the_bit_what_the_plain_engine_says(images, model_folder, tmp_path):
    done = run(images, tmp_path, model_folder, workers=2)
    assert (done.listing.shards, done.errors, done.resumed) == (7, 2, 0)
    check_equal(read_rows(tmp_path), SignDetector.load(model_folder), sorted(images.iterdir()), BAD)
    assert json.loads((tmp_path / "manifest.json").read_text())["complete"] is True
    again = run(images, tmp_path, model_folder)
    assert again.resumed == 7
    (tmp_path / "run.json").write_text('{"format": 1, "model": "x"}')
    with pytest.raises(InputError, match="holds scores of another run"):
        run(images, tmp_path, model_folder)


def test_a_killed_tower_costs_no_row(images, model_folder, tmp_path):
    marker, out = tmp_path / "killed", tmp_path / "out"
    out.mkdir()
    (out / ".run.json.abcdefgh.part").touch()  # of a command killed before it had begun
    run(images, out, model_folder, partial(open_killed, str(model_folder), marker))
    assert marker.exists()
    check_equal(read_rows(out), SignDetector.load(model_folder), sorted(images.iterdir()), BAD)


def spilled():
    """How often Ray wrote objects to disk, and read them again, by its own count."""
    import ray

    told = Path(ray._private.worker.global_worker.node.get_logs_dir_path(), "debug_state.txt")
    asked, until = time.time(), time.monotonic() + 60
    while True:
        assert time.monotonic() < until
        time.sleep(0.2)
        if told.is_file() and told.stat().st_mtime > asked:
            found = re.findall(r"cumulative (?:spill|restore) requests: (\d+)\n", told.read_text())
            if len(found) == 2:  # it may be half-written
                return [int(one) for one in found]


def test_spilled_objects_cost_no_row(images, model_folder, tmp_path):
    """168 MiB come into an object store of 80 in the middle of a run."""
    before = spilled()
    run(images, tmp_path, model_folder, partial(open_filling, str(model_folder)), workers=1)
    after = spilled()
    assert after[0] > before[0]
    assert after[1] > before[1]
    check_equal(read_rows(tmp_path), SignDetector.load(model_folder), sorted(images.iterdir()), BAD)


def test_a_killed_driver_is_taken_up_where_it_was(images, model_folder, tmp_path, cluster):
    out = tmp_path / "out"
    arguments = [sys.executable, "-m", "tests.archive.helpers", images, out, model_folder]
    paths = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    environment = {**os.environ, "PYTHONPATH": paths, "RAY_ADDRESS": cluster}
    with subprocess.Popen([*map(str, arguments)], env=environment, cwd=ROOT) as driver:
        until = time.monotonic() + 300
        while len(list(out.glob("scores/*.parquet"))) < 2:
            assert driver.poll() is None
            assert time.monotonic() < until
            time.sleep(0.05)
        driver.send_signal(signal.SIGKILL)
    half = out / "scores" / ".shard-000003.parquet.abcdefgh.part"
    half.write_bytes(b"PAR1")  # as where it is killed while it writes
    finished = {path: path.stat().st_mtime_ns for path in out.glob("scores/*.parquet")}
    assert 2 <= len(finished) < 7
    done = run(images, out, model_folder)
    assert done.resumed == len(finished)
    assert done.listed_before
    assert {path: path.stat().st_mtime_ns for path in finished} == finished
    assert not half.exists()
    check_equal(read_rows(out), SignDetector.load(model_folder), sorted(images.iterdir()), BAD)


def test_the_command_writes_what_it_writes_as_csv(images, model_folder, tmp_path, cluster):
    def sdmad(*arguments):
        paths = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
        environment = {**os.environ, "PYTHONPATH": paths, "RAY_ADDRESS": ""}
        entry = "from sdmad.cli.start import run; run()"
        command = [sys.executable, "-c", entry, *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)

    out = tmp_path / "out"
    done = sdmad(
        "predict", model_folder, images, "--engine", "ray", "--address", cluster, "--out", out
    )
    assert done.returncode == 3, done.stderr
    assert f"scores: {out}" in done.stdout
    assert "2 of 200 images could not be read" in done.stderr
    assert "RAY_" not in done.stderr  # of its own start, which Ray tells from C++
    plain = sdmad("predict", model_folder, images)
    rows = {row["file"]: row for row in csv.DictReader(io.StringIO(plain.stdout))}
    found = [row for row in read_rows(out) if row["error"] is None]
    assert {row["file"] for row in found} == rows.keys()
    for row in found:
        for name in ("Ring", "Bar", "Dots"):
            said = float(rows[row["file"]][f"score:{name}"])
            assert said == pytest.approx(row[f"score:{name}"], abs=1e-6)


def test_results_inside_of_what_is_read_are_refused(images, model_folder):
    for out in (images, images / "scores"):
        with pytest.raises(InputError, match="lies in"):
            run(images, out, model_folder)


def test_a_folder_of_something_else_is_left_alone(images, model_folder, tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="already holds something"):
        run(images, tmp_path, model_folder)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_other_images_are_refused_where_scores_are(images, model_folder, tmp_path):
    first, second = (write_images(tmp_path / name, 2) for name in ("first", "second"))
    out = tmp_path / "out"
    run(first, out, model_folder)
    assert run(tmp_path / "x" / ".." / "first", out, model_folder).resumed == 1
    with pytest.raises(InputError, match=rf"scores of other images \({first}\)"):
        run(second, out, model_folder)
    (out / "run.json").write_text("{")
    with pytest.raises(InputError, match=r"run\.json: not usable; start anew with --force"):
        run(first, out, model_folder)


def test_force_replaces_what_a_run_wrote_and_nothing_else(images, model_folder, tmp_path):
    first, second = (write_images(tmp_path / name, 2) for name in ("first", "second"))
    own, others = tmp_path / "own", tmp_path / "others"

    def forced(folder, out):
        opened = partial(open_judge, str(model_folder))
        given = (opened, Path(model_folder), {}, Resources())
        return score_archive([folder], place_of(out), *given, force=True)

    run(first, own, model_folder)
    (own / "notes.txt").write_text("mine")
    assert forced(second, own).listing.sources == (str(second),)
    assert (own / "notes.txt").read_text() == "mine"
    (others / "scores").mkdir(parents=True)
    (others / "scores" / "mine.csv").write_text("mine")
    with pytest.raises(InputError, match="already holds something"):
        forced(second, others)
    assert (others / "scores" / "mine.csv").read_text() == "mine"


def test_what_a_stage_says_reaches_the_person(images, model_folder, tmp_path, capfd):
    marker = tmp_path / "out"
    run(images, marker, model_folder)
    (marker / "scores" / "shard-000003.parquet").unlink()
    part = marker / "listing" / "part-00000.parquet"
    part.unlink()
    capfd.readouterr()
    with pytest.raises(SDMADError) as told:
        run(images, marker, model_folder)
    assert str(told.value) == f"{part}: missing; list the archive again (--force)"
    assert capfd.readouterr() == ("", "")


def test_nothing_is_sent_home_and_no_dashboard_is_shown():
    import ray
    from ray._common.usage.usage_lib import usage_stats_enabled

    assert not usage_stats_enabled()
    with connected(Resources()):
        assert not ray._private.worker.global_worker.node.webui_url
