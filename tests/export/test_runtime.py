"""How many calls a graph runs at once, and on how many cores."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest

from sdmad.errors import ModelError
from sdmad.export import runtime
from sdmad.export.runtime import Shared

LONG = 60  # seconds until a test gives up


class Graphs:
    """Graphs that say for how many calls at once they were opened, once they are let go."""

    def __init__(self):
        self.opened, self.began, self.go = [], Event(), Event()

    def __call__(self, lanes):
        self.opened.append(lanes)

        def run(inputs):
            if inputs["waits"]:
                self.began.set()
                assert self.go.wait(LONG)
            return {"lanes": lanes}

        return run


def test_a_call_that_finds_another_under_way_takes_its_share():
    graphs = Graphs()
    shared = Shared(graphs, 4)
    assert graphs.opened == [1]
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(shared, {"waits": True})
        assert graphs.began.wait(LONG)
        assert [shared({"waits": False})["lanes"] for _ in range(2)] == [4, 4]
        graphs.go.set()
        assert first.result()["lanes"] == 1
    assert shared({"waits": False})["lanes"] == 1
    assert graphs.opened == [1, 4]


def test_a_call_that_fails_leaves_the_next_one_all_cores():
    def broken(inputs):
        raise RuntimeError(inputs["why"])

    shared = Shared(lambda lanes: broken if lanes == 1 else dict, 2)
    for why in ("once", "twice"):
        with pytest.raises(RuntimeError, match=why):
            shared({"why": why})


@pytest.mark.parametrize("kind", ["openvino", "onnx"])
def test_a_lone_call_has_all_cores(kind, request, monkeypatch):
    folder = request.getfixturevalue(f"{kind}_export")
    monkeypatch.setattr(runtime, "_cores", lambda: 6)
    opened = []
    for name in ("compiled", "session"):
        monkeypatch.setattr(runtime, name, lambda _, lanes: opened.append(lanes) or dict)
    shared = runtime.open_graph(kind, folder / runtime.GRAPHS[kind][0])
    shared._shared()
    assert opened == [1, 6]


def test_an_export_that_took_the_others_place_is_not_opened_beside_it(onnx_export, tmp_path):
    copy = shutil.copytree(onnx_export, tmp_path / "copy")
    opened = runtime._onnx(copy / "model.onnx")
    opened(1)
    opened(2)
    shutil.rmtree(copy)
    shutil.copytree(onnx_export, copy, copy_function=shutil.copy)  # with times of its own
    with pytest.raises(ModelError, match="another export took its place"):
        opened(2)
