"""Maps of archives, against those that the plain engine writes of the same images."""

import csv
import io
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sdmad.archive.listing import Listing
from sdmad.archive.maps import map_file
from sdmad.archive.places import place_of
from sdmad.archive.shards import Manifest
from sdmad.archive.stages import Judge
from sdmad.cli import main
from sdmad.detector.maps import HIGHEST, LOWEST
from sdmad.detector.sign_detector import SignDetector
from sdmad.errors import InputError
from tests.archive.helpers import check_equal, staged, write_images

BAD = (7,)
STEP = (HIGHEST - LOWEST) / 65535
COUNT, SHARD = 40, 32


def sdmad(monkeypatch, *arguments):
    """The exit status of a command."""
    monkeypatch.setattr(sys, "argv", ["sdmad", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main.run()
    return ended.value.code


@pytest.fixture(scope="module")
def detector(model_folder):
    return SignDetector.load(model_folder)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("maps") / "images", COUNT, BAD)


@pytest.fixture(scope="module")
def scored(images, detector, tmp_path_factory):
    """Where the results lie, and their rows."""
    out = tmp_path_factory.mktemp("scored") / "out"
    return out, staged([images], out, Judge.of(detector, maps=True), SHARD)


def opened(path):
    """Everything in a tar file by its name."""
    with tarfile.open(path) as archive:
        return {one.name: archive.extractfile(one).read() for one in archive.getmembers()}


def listed(held):
    """The rows of its list."""
    return list(csv.DictReader(io.StringIO(held["maps.csv"].decode())))


def values(png):
    """What a map's grey stands for."""
    return np.asarray(Image.open(io.BytesIO(png)), np.float64) * STEP + LOWEST


def test_rows_are_those_without_maps(scored, images, detector):
    check_equal(scored[1], detector, sorted(images.iterdir()), BAD)
    assert "maps" not in scored[1][0]


def test_maps_are_those_of_the_image_by_itself(scored, images, detector):
    """On the grid, within a step of grey: the anomaly's, each category's, each found sign's."""
    out, rows = scored
    files = sorted(images.iterdir())
    for shard in range(2):
        held = opened(out / "maps" / map_file(shard))
        mine = listed(held)
        assert [one["written"] for one in mine] == [name for name in held if name != "maps.csv"]
        for row in rows[shard * SHARD : (shard + 1) * SHARD]:
            file = files[shard * SHARD + row["row"]]
            of_image = [one for one in mine if one["file"] == str(file)]
            if row["error"]:
                assert of_image == []
                continue
            small, _ = detector.image_maps(file)
            wanted = {("anomaly", "", ""): small.anomaly[0]}
            for k, name in enumerate(detector.categories):
                wanted["category", name, ""] = small.categories[0, k]
                if row[f"found:{name}"]:
                    at = detector.bank_.sentences.index(row[f"sign:{name}"])
                    wanted["sign", name, row[f"sign:{name}"]] = small.signs[0, at]
            told = {(one["map"], one["category"], one["sign"]): one for one in of_image}
            assert told.keys() == wanted.keys()
            for key, one in told.items():
                found = values(held[one["written"]])
                np.testing.assert_allclose(found, wanted[key].numpy(), atol=STEP)
                assert float(one["lowest"]) == pytest.approx(wanted[key].min().item(), abs=2e-6)


def test_names_are_the_plain_engines(scored, images, model_folder, tmp_path, monkeypatch):
    """The first shard's maps have the names that ``predict --maps`` gives them."""
    given = ["--maps", tmp_path / "maps", "--out", tmp_path / "x.csv"]
    assert sdmad(monkeypatch, "predict", model_folder, images, *given) == 3
    plain = {
        path.relative_to(tmp_path / "maps").as_posix()
        for path in (tmp_path / "maps").rglob("*.png")
    }
    first = {name for name in opened(scored[0] / "maps" / map_file(0)) if name != "maps.csv"}

    def without_number(names):
        return {name.split("-", 1)[1] for name in names}

    assert first
    assert without_number(first) <= without_number(plain)
    assert "000001-000-png/anomaly.png" in first & plain


def test_a_shard_without_its_maps_is_unfinished(scored):
    out, listing = scored[0], Listing(COUNT, 2, SHARD, ("x",), {})
    assert Manifest.read(place_of(out), "run", listing, maps=True).missing == []
    away = out / "maps" / map_file(1)
    content = away.read_bytes()
    away.unlink()
    assert Manifest.read(place_of(out), "run", listing, maps=True).missing == [1]
    assert Manifest.read(place_of(out), "run", listing).missing == []
    away.write_bytes(content)


def test_a_bucket_gets_the_same_files(images, detector, scored):
    staged([images], "memory://maps-of-archives", Judge.of(detector, maps=True), SHARD)
    place = place_of("memory://maps-of-archives/maps")
    assert place.names() == [map_file(0), map_file(1)]
    assert (place / map_file(1)).read() == (scored[0] / "maps" / map_file(1)).read_bytes()


def test_maps_elsewhere_are_refused(model_folder, images, tmp_path, monkeypatch, capsys):
    given = ["--engine", "ray", "--out", tmp_path / "out", "--maps", tmp_path / "elsewhere"]
    assert sdmad(monkeypatch, "predict", model_folder, images, *given) == 2
    told = " ".join(capsys.readouterr().err.split())
    assert "maps lie beside the scores" in told
    assert not Path(tmp_path, "out").exists()


def test_a_backbone_without_maps_is_refused(detector, monkeypatch):
    monkeypatch.setattr("sdmad.detector.maps.gives_maps", lambda _: False)
    with pytest.raises(InputError, match="gives no maps"):
        Judge.of(detector, maps=True)
    assert not Judge.of(detector).maps
