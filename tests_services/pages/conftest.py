"""A server on phantoms with a model fitted on them, and Debian's Chromium in front of it."""

import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import httpx
import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect, sync_playwright

AXE = Path(os.environ.get("AXE", ".services/axe.min.js"))
WIDE, PHONE = (1400, 900), (390, 844)
SCREENS = [(size, colours) for size in (WIDE, PHONE) for colours in ("light", "dark")]
expect.set_options(timeout=30_000)  # of a machine that does more than this
START = "from sdmad.cli.start import run; run()"


@dataclass(frozen=True)
class Served:
    """A running server: its address without the token, the token, and the folder of its images."""

    address: str
    token: str
    folder: Path


@dataclass(frozen=True)
class Screen:
    """Width and height of a window, and the colours that the system asks for."""

    width: int
    height: int
    colours: str

    @property
    def narrow(self):
        return self.width < 720


def sdmad(*words, **more):
    """Run a command of this package."""
    program = [sys.executable, "-c", START, *map(str, words)]
    done = subprocess.run(program, capture_output=True, text=True, **more)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="session")
def fitted(tmp_path_factory):
    """Phantoms, a volume of eight slices, a file that is no image, and a model."""
    folder = tmp_path_factory.mktemp("served")
    sdmad("phantom", "brain", "--out", folder / "phantoms", "--count", 60, "--seed", 1)
    phantoms = folder / "phantoms"
    sdmad("fit", phantoms / "labels.csv", "--signs", "brain", "--shots", 4, "--seed", 0,
          "--out", folder / "model")  # fmt: skip
    slices = [np.asarray(Image.open(phantoms / "images" / f"{i:06d}.png")) for i in range(8)]
    volume = np.stack([plane.T for plane in slices], axis=2).astype(np.int16)
    nib.save(nib.Nifti1Image(volume, np.eye(4)), phantoms / "images" / "volume.nii.gz")
    (phantoms / "images" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and then nothing")
    with (phantoms / "labels.csv").open("a") as table:
        table.write("images/volume.nii.gz#3,V1,test,,\nimages/broken.png,B1,test,,\n")
    return folder


@pytest.fixture(scope="session")
def served(fitted):
    """The server, ended afterwards."""
    words = ["serve", fitted / "model", "--table", fitted / "phantoms" / "labels.csv", "--port", 0]
    program = [sys.executable, "-c", START, *map(str, words)]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as server:
        try:
            printed = server.stdout.readline()
            found = re.fullmatch(r"(http://[^/]+)/\?token=(\S+)\n", printed)
            assert found, f"no address was printed: {printed!r}"
            _wait_until_scored(found[1])
            yield Served(found[1], found[2], fitted)
        finally:
            server.terminate()


def _wait_until_scored(address):
    for _ in range(300):
        scoring = httpx.get(f"{address}/api/v1/health").json()["scoring"]
        if scoring["done"] == scoring["total"] > 0:
            return
        time.sleep(1)
    pytest.fail("the images were not scored within five minutes")


@pytest.fixture(scope="session")
def browser():
    """Debian's Chromium, without a window."""
    where = shutil.which("chromium")
    assert where, "install Debian's chromium"
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=where, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture(params=SCREENS, ids=lambda one: f"{one[0][0]}-{one[1]}")
def screen(request):
    """Wide and a phone's, light and dark."""
    (width, height), colours = request.param
    return Screen(width, height, colours)


@pytest.fixture
def opened(browser, served, screen):
    """A browser that came by the printed address; nothing may fail in it unheard."""
    size = {"width": screen.width, "height": screen.height}
    context = browser.new_context(
        viewport=size, color_scheme=screen.colours, base_url=served.address, locale="en-GB"
    )
    context.set_default_timeout(90_000)  # a refit may have the cores
    page = context.new_page()
    faults = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda said: faults.append(said.text) if _is_policy(said) else None)
    page.goto(f"/?token={served.token}")
    page.locator(".work tbody tr").first.wait_for()
    yield page
    context.close()
    assert faults == []


def _is_policy(said):
    return said.type == "error" and "Content Security Policy" in said.text


@pytest.fixture(scope="session")
def axe():
    """The accessibility rules, as a script."""
    assert AXE.is_file(), f"{AXE}: fetched by make test-services"
    return AXE.read_text("utf-8")


@pytest.fixture
def violations(axe, opened):
    """What the rules say of the page that is open."""

    def check():
        opened.evaluate(axe)
        found = opened.evaluate("axe.run(document)")["violations"]
        return [(one["id"], [node["target"] for node in one["nodes"]]) for one in found]

    return check
