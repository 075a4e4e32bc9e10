"""How a cluster is used, and what is told where it fails; no Ray is started."""

import socket

import pytest

from sdmad.archive import engine
from sdmad.archive.engine import Plan, Resources, plan
from sdmad.errors import InputError, SDMADError


@pytest.fixture
def cluster_of(monkeypatch):
    import ray

    def make(*nodes):
        held = [{"CPU": cores, "GPU": gpus} for cores, gpus in nodes]
        told = [{"Alive": True, "Resources": one} for one in held]
        lost = {"Alive": False, "Resources": {}}
        monkeypatch.setattr(ray, "nodes", lambda: [*told, lost])

    return make


@pytest.mark.parametrize(
    ("held", "asked", "wanted"),
    [
        ([(2, 0)], Resources(), Plan(2, 1, 2, 0.5)),
        ([(2, 0)], Resources(workers=2), Plan(2, 2, 1, 0.25)),
        ([(2, 0)], Resources(workers=8), Plan(2, 8, 1, 0.0625)),
        ([(1, 0), (1, 0)], Resources(), Plan(2, 2, 1, 0.25)),
        ([(0, 0), (1, 0), (1, 0)], Resources(), Plan(2, 2, 1, 0.25)),  # a head without cores
        ([(16, 0)] * 4, Resources(), Plan(64, 4, 16, 0.5)),
        ([(32, 4)], Resources(gpus=1), Plan(32, 4, 8, 0.5)),
        ([(32, 4)], Resources(gpus=0.5), Plan(32, 8, 4, 0.5)),
        ([(32, 4)], Resources(gpus=1, workers=2), Plan(32, 2, 16, 0.5)),
        ([(16, 3), (16, 1)], Resources(gpus=2), Plan(32, 1, 32, 0.5)),  # not two halves of two
    ],
)
def test_towers_and_decoders_fit_the_cluster(cluster_of, held, asked, wanted):
    cluster_of(*held)
    cores = sum(one for one, _ in held)
    found = plan(asked)
    assert found == wanted
    assert found.towers * found.claim + found.decoders * engine.SHARE <= cores
    assert found.towers * found.claim + engine.SHARE <= max(1, cores / 2)  # one of two is lost


def test_a_cluster_without_gpus_is_told(cluster_of):
    cluster_of((8, 0))
    with pytest.raises(SDMADError, match=r"--num-gpus 1: no node has as many GPUs \(0 at most\)"):
        plan(Resources(gpus=1))
    cluster_of((8, 1), (8, 1))
    with pytest.raises(SDMADError, match=r"--num-gpus 2: no node has as many GPUs \(1 at most\)"):
        plan(Resources(gpus=2))


def test_a_cluster_that_does_not_answer_is_told_before_ray_waits_for_it(monkeypatch):
    import ray

    monkeypatch.setattr(ray, "init", lambda **_: pytest.fail("Ray waits a quarter of an hour"))
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = "{}:{}".format(*closed.getsockname())
    told = pytest.raises(SDMADError, match=rf"no Ray cluster at {address} \(nothing answers")
    with told, engine.connected(Resources(address)):
        pass


def test_what_a_stage_raised_is_told_in_its_own_words():
    import ray

    inner = InputError("images/a: no such folder")
    outer = ray.exceptions.RayTaskError("map", "trace", inner)
    assert str(engine._told(outer)) == "images/a: no such folder"
    lost = ray.exceptions.WorkerCrashedError()
    assert "finished shards are kept" in str(engine._told(lost))


def test_print_stays_what_it_was(monkeypatch):
    """Ray puts its own in place of it with the first of its bars, unless it is told not to."""
    import builtins

    from ray.experimental import tqdm_ray

    before = builtins.print
    monkeypatch.setattr(builtins, "print", before)  # put back, should this fail
    monkeypatch.setattr(tqdm_ray, "_manager", None)
    for name, value in engine.QUIET.items():
        monkeypatch.setenv(name, value)
    tqdm_ray.instance()
    assert builtins.print is before is not tqdm_ray.safe_print
