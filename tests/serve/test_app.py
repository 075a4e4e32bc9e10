"""The application is put together, and answers."""

from fastapi.testclient import TestClient

from sdmad import __version__
from sdmad.serve.app import create_app
from sdmad.serve.settings import ServeSettings


def test_it_says_that_it_works(tmp_path):
    (tmp_path / "images").mkdir()
    app = create_app(ServeSettings((tmp_path / "model",), images=tmp_path / "images"))
    with TestClient(app) as client:
        said = client.get("/api/v1/health").json()
    assert said["status"] == "ok"
    assert said["version"] == __version__
    assert (tmp_path / "images.sdmad-serve.sqlite").is_file()
