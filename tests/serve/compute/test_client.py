"""The client against a server on loopback."""

import io
import threading

import numpy as np
import pytest
import uvicorn
from PIL import Image

from sdmad.cli.steps.serving import address, listening
from sdmad.client import Client, ServerError
from sdmad.errors import InputError
from sdmad.serve.app import create_app
from sdmad.serve.settings import ServeSettings


@pytest.fixture(scope="module")
def folder(make_data, tmp_path_factory):
    place = tmp_path_factory.mktemp("asked") / "images"
    make_data(place, 6, seed=4)
    (place / "labels.csv").unlink()
    return place


@pytest.fixture(scope="module")
def printed(folder, model_folder):
    """The address that a running server prints."""
    settings = ServeSettings((model_folder,), images=folder, port=0)
    app = create_app(settings)
    with listening(settings) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        yield address(app.state.house, listener.getsockname()[1])
        server.should_exit = True
        thread.join()


@pytest.fixture
def client(printed):
    with Client(printed) as opened:
        yield opened


def test_the_printed_address_is_enough(client, folder, fitted):
    files = sorted(folder.glob("*.png"))
    rows = client.predict(files)
    assert [row["file"] for row in rows] == [file.name for file in files]
    scores = [[one["score"] for one in row["findings"]] for row in rows]
    assert np.array(scores) == pytest.approx(fitted.decision_function(files), abs=1e-5)
    assert client.health()["status"] == "ok"
    assert client.models()[0]["active"]
    assert client.explain(files[0])["file"] == files[0].name
    assert Image.open(io.BytesIO(client.map(files[0], "Ring"))).size == (32, 32)
    assert "there is no slice 1" in client.predict(files[:1], index=1)[0]["error"]


def test_images_are_read_and_undone(client):
    found = list(client.images(sort="name"))
    assert [one["name"] for one in found] == [f"{i:03d}.png" for i in range(6)]
    first = found[0]["id"]
    assert client.image(first)["name"] == "000.png"
    assert client.image_map(first, "Ring").startswith(b"\x89PNG")
    said = client.read(first, "add", "Ring", "a faint one")
    assert client.readings(first) == [said]
    assert client.labels().splitlines()[1].endswith(",1,,,0")
    assert client.undo(said["id"])["undone"]


def test_what_the_server_refuses_is_told_in_its_words(client, printed, tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"x")
    with pytest.raises(ServerError, match="no model 'x'") as caught:
        client.predict([path], model="x")
    assert caught.value.status == 404
    with pytest.raises(InputError, match="cannot be read"):
        client.predict([tmp_path / "nothing"])
    with Client(printed.split("?")[0], "wrong") as stranger:
        with pytest.raises(ServerError) as caught:
            stranger.models()
        assert caught.value.status == 401


def test_a_server_that_is_not_there_is_told():
    nobody = Client("http://127.0.0.1:9", "x")
    with pytest.raises(ServerError, match="is the server running"):
        nobody.health()
    nobody.close()
    with pytest.raises(InputError, match="expected an address"):
        Client("somewhere", "x")
    with pytest.raises(InputError, match="a token is needed"):
        Client("http://127.0.0.1:8000")
