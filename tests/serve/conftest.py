"""A server on a folder of pictures, with a model whose findings the tests make up."""

from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from sdmad.serve import app as application
from sdmad.serve.settings import ServeSettings
from sdmad.serve.storage import findings
from sdmad.serve.storage.engine import Storage

CATEGORIES = ("Ring", "Bar", "Dots")


@dataclass
class FakeModels:
    """A registry of one model."""

    active: SimpleNamespace = field(
        default_factory=lambda: SimpleNamespace(
            id="made-up", bank=SimpleNamespace(names=CATEGORIES)
        )
    )

    def __len__(self):
        return 1


@pytest.fixture
def folder(tmp_path):
    """Four pictures, 20 x 30."""
    place = tmp_path / "images"
    place.mkdir()
    for i in range(4):
        pixels = np.full((20, 30), 60 * i, np.uint8)
        pixels[5, 5] = 7
        Image.fromarray(pixels).save(place / f"{i}.png")
    return place


@pytest.fixture
def database(folder):
    """The URL of the server's database."""
    return f"sqlite:///{folder}.sdmad-serve.sqlite"


@pytest.fixture
def make_app(monkeypatch, folder):
    """Build an application without loading a model; keywords of ServeSettings."""

    def lend(house):
        house.models = FakeModels()

    monkeypatch.setattr(application, "PREPARED", (lend,))
    monkeypatch.setattr(application, "PARTS", ())

    def make(**settings):
        source = {} if {"table", "dicomweb"} & set(settings) else {"images": folder}
        return application.create_app(ServeSettings((folder,), **{**source, **settings}))

    return make


@pytest.fixture
def app(make_app):
    return make_app()


@pytest.fixture
def house(app):
    return app.state.house


@pytest.fixture
def client(app, house):
    """A program that knows the token."""
    bearer = {"Authorization": f"Bearer {house.token.text}"}
    with TestClient(app, base_url="http://127.0.0.1:8000", headers=bearer) as opened:
        yield opened


@pytest.fixture
def browser(app):
    """A browser that has been nowhere yet."""
    with TestClient(app, base_url="http://127.0.0.1:8000", follow_redirects=False) as opened:
        yield opened


@pytest.fixture
def storage(tmp_path):
    opened = Storage(f"sqlite:///{tmp_path / 'a.sqlite'}")
    yield opened
    opened.close()


def finding(category, score, decision=False):
    return findings.Finding(
        category=category,
        score=score,
        probability=None,
        threshold=0.0,
        decision=decision,
        rule="odds",
        sign={"name": f"{category}-1", "sentence": f"a {category}", "contribution": 0.1},
        answer=None,
    )


@pytest.fixture
def judge(house):
    """Have the model say of images how abnormal they are, and what it finds."""

    def say(**told):
        rows = [
            findings.Judged(
                int(key.removeprefix("image_")),
                abnormal=value,
                unsure=1 - value,
                unfamiliar=False,
                findings=(finding("Ring", value, value > 0.5), finding("Bar", -1.0)),
            )
            for key, value in told.items()
        ]
        with house.storage.writing() as session:
            findings.keep(session, "made-up", rows)

    return say
