"""Support images beside an image."""

import io

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from sdmad.data.table import read_label_table
from sdmad.serve import app as application
from sdmad.serve.compute.alike import Support
from sdmad.serve.compute.models import Models
from sdmad.serve.settings import ServeSettings


@pytest.fixture
def table(make_data, tmp_path):
    return make_data(tmp_path / "support", count=8)


@pytest.fixture(scope="module")
def model(model_folder):
    models = Models([model_folder])
    yield models.active
    models.close()


def test_an_image_is_most_like_itself(model, table):
    support = Support(read_label_table(table))
    for place in (0, 5):
        found = support.alike(model, support.table.files[place])
        assert found[0].place == place
        assert found[0].similarity == pytest.approx(1, abs=1e-5)
        told = [one.similarity for one in found]
        assert told == sorted(told, reverse=True)
        assert len(told) == 6


def test_similarity_is_the_cosine_of_what_the_tower_knows(model, table):
    support = Support(read_label_table(table))
    files = support.table.files
    found = {one.place: one.similarity for one in support.alike(model, files[0])}
    judge = model.judge
    squares = [judge.preprocessing.square(file) for file in files]
    features = judge.image_features(judge.preprocessing.standardise(squares))
    known = features.embedding if features.evidence is None else features.evidence
    values = known.double().numpy()
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    for place, similarity in found.items():
        assert similarity == pytest.approx(float(values[place] @ values[0]), abs=1e-5)


def test_a_support_image_that_cannot_be_read_is_left_out(model, table):
    support = Support(read_label_table(table))
    broken = support.table.files[3]
    broken.write_bytes(b"nothing")
    found = support.alike(model, support.table.files[0])
    assert len(found) == 6
    assert 3 not in {one.place for one in found}


def test_without_support_images_there_are_none(model, table):
    assert Support(None).alike(model, table) == []
    assert Support(None).address(0) is None


def test_the_pages_get_them_with_their_labels_and_thumbnails(model_folder, table, tmp_path):
    settings = ServeSettings((model_folder,), images=table.parent, support=table)
    app = application.create_app(settings)
    bearer = {"Authorization": f"Bearer {app.state.house.token.text}"}
    with TestClient(app, base_url="http://localhost", headers=bearer) as client:
        listed = client.get("/api/v1/images", params={"sort": "name"}).json()["items"]
        assert [item["name"] for item in listed] == [f"{i:03d}.png" for i in range(8)]
        found = client.get(f"/api/v1/images/{listed[3]['id']}/similar").json()
        assert found[0]["category"] == "Ring, Bar"  # the fourth picture has both
        png = client.get(found[0]["thumbnail"]).content
        assert max(Image.open(io.BytesIO(png)).size) == 128
        assert client.get("/api/v1/support/8/thumbnail").status_code == 404
