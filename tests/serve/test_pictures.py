"""Pictures are kept within a bound, read a few at a time, and told by what they are."""

import numpy as np
import pytest
from PIL import Image

from sdmad.serve import pictures
from sdmad.serve.pictures import Kept, Pictures, TooBusyError


def test_what_was_used_longest_ago_goes_first():
    kept, made = Kept(10), []

    def get(key, size):
        def make():
            made.append(key)
            return key * size

        return kept.get(key, make, len)

    for key in "abc":
        assert get(key, 4) == key * 4
    assert kept.held == 8  # a had to go
    get("b", 4)
    assert made == ["a", "b", "c"]
    get("a", 4)  # and now c, which was not asked for since
    get("b", 4)
    assert made == ["a", "b", "c", "a"]


def test_what_is_larger_than_the_bound_is_not_kept():
    kept = Kept(10)
    assert kept.get("a", lambda: "x" * 11, len) == "x" * 11
    assert kept.held == 0


def test_an_image_that_changed_is_read_again(folder):
    found = Pictures(1 << 20)
    place = str(folder / "1.png")
    before = found.view(place)
    assert found.view(place) is before
    Image.fromarray(np.full((6, 5), 9, np.uint8)).save(place)
    assert (found.view(place).height, found.view(place).width) == (6, 5)


def test_who_waits_too_long_is_told(client, house, folder, monkeypatch):
    monkeypatch.setattr(pictures, "PATIENCE", 0.01)
    while house.pictures._places.acquire(blocking=False):
        pass
    with pytest.raises(TooBusyError):
        house.pictures.thumbnail(str(folder / "0.png"))
    answer = client.get("/api/v1/images/1/pixels")
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "2"


@pytest.fixture
def volume(folder):
    """A TIFF of three pages in the place of the first picture."""
    pages = [Image.fromarray(np.full((8, 9), 10 * (i + 1), np.uint8)) for i in range(3)]
    for page in pages:
        page.putpixel((0, 0), 0)
    pages[0].save(folder / "0.tif", save_all=True, append_images=pages[1:])
    return folder


def test_the_slices_of_a_volume(volume, client):
    (item,) = client.get("/api/v1/images", params={"text": ".tif"}).json()["items"]
    place = f"/api/v1/images/{item['id']}"
    found = client.get(place).json()
    assert (found["slices"], found["slice"]) == (3, 0)
    for index in range(3):
        answer = client.get(f"{place}/pixels", params={"slice": index})
        assert np.frombuffer(answer.content, "<u2").max() == 10 * (index + 1)
    beyond = client.get(f"{place}/pixels", params={"slice": 3})
    assert beyond.status_code == 422
    assert "0 to 2" in beyond.json()["error"]
