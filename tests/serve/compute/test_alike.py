"""Support images beside an image: those of the model, the most alike first."""

import pytest
from fastapi.testclient import TestClient

from sdmad import SDMAD
from sdmad.data.table import read_label_table
from sdmad.serve.app import create_app
from sdmad.serve.compute.alike import Alike
from sdmad.serve.compute.models import Models
from sdmad.serve.settings import ServeSettings

SUPPORT = [0, 1, 2, 4, 7]


@pytest.fixture(scope="module")
def table(make_data, small_bank, tmp_path_factory):
    return read_label_table(make_data(tmp_path_factory.mktemp("kept"), 12), small_bank.names)


@pytest.fixture(scope="module")
def models(table, small_bank, tiny_backbone, tmp_path_factory):
    """A model fitted on some rows of the table."""
    folder = tmp_path_factory.mktemp("model") / "model"
    drawn = table.subset(SUPPORT)
    SDMAD(small_bank, tiny_backbone).fit(drawn.files, drawn.labels).save(folder)
    found = Models([folder])
    yield found
    found.close()


def test_a_support_image_is_most_like_itself(models, table):
    alike = Alike(table)
    for row in SUPPORT:
        first, *others = alike.most(models.active, table.files[row])
        assert first.row == row
        assert first.similarity == pytest.approx(1, abs=1e-5)
        assert {one.row for one in others} < set(SUPPORT)
        told = [one.similarity for one in others]
        assert told == sorted(told, reverse=True)
        shown = [
            name for name, there in zip(table.categories, table.labels[row], strict=True) if there
        ]
        assert first.category == ("|".join(shown) or "normal")


def test_without_a_table_or_with_another_one_there_are_none(models, table):
    assert Alike(None).most(models.active, table.files[0]) == []
    strangers = table.subset([3, 5, 6])
    assert Alike(strangers).most(models.active, table.files[0]) == []


def test_they_are_shown_beside_an_image(models, table):
    settings = ServeSettings((models.active.folder,), images=table.folder, support=table.path)
    app = create_app(settings)
    head = {"Authorization": f"Bearer {app.state.house.token.text}"}
    with TestClient(app, base_url="http://127.0.0.1:8000", headers=head) as client:
        (item,) = client.get("/api/v1/images?text=004").json()["items"]
        found = client.get(f"/api/v1/images/{item['id']}/similar").json()
        assert found[0]["category"] == "normal"
        said = client.get(found[0]["thumbnail"])
        assert said.content.startswith(b"\x89PNG")
        assert client.get("/api/v1/support/99/thumbnail").status_code == 404
