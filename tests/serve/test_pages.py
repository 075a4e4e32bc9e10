"""What a browser gets before any script runs: whole pages that a strict content policy allows."""

import re
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from sdmad.serve.api.errors import answer_errors
from sdmad.serve.pages.routes import LINKS, SHIPPED, add_pages

ADDRESSES = ("/", "/image/7", "/refits", "/studies", "/study/3", "/login")
IMPORT = re.compile(r'^import .*?from "(\./[^"]+)";', re.MULTILINE | re.DOTALL)


class Elements(HTMLParser):
    """Elements with their attributes, and the text that scripts and styles hold."""

    def __init__(self, page):
        super().__init__()
        self.elements, self.inline = [], ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        if self.elements and self.elements[-1][0] in ("script", "style"):
            self.inline += data.strip()


@pytest.fixture(scope="module")
def client():
    app = FastAPI()
    add_pages(app)
    return TestClient(app)


@pytest.mark.parametrize("address", ADDRESSES)
def test_nothing_inline_and_nothing_from_elsewhere(client, address):
    page = Elements(client.get(address).text)
    assert page.inline == ""
    for tag, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on") or name == "style"], tag
        for name in ("src", "href"):
            assert re.match(r"[/#](?!/)", attributes.get(name, "/")), (tag, attributes)


@pytest.mark.parametrize("address", ADDRESSES)
def test_every_file_that_a_page_names_is_there(client, address):
    page = Elements(client.get(address).text)
    named = {a.get("src") or a.get("href") or "" for _, a in page.elements}
    asked = {name.split("#")[0] for name in named if name.startswith("/static/")}
    assert len(asked) >= 4
    for name in asked:
        assert client.get(name).status_code == 200, name


def test_every_import_of_a_script_is_there():
    for name, content in SHIPPED.contents.items():
        for imported in IMPORT.findall(content.decode()):
            assert imported.removeprefix("./") in SHIPPED.contents, (name, imported)


def test_every_icon_that_is_named_is_drawn():
    drawn = set(re.findall(r'<symbol id="(\w+)"', SHIPPED.contents["icons.svg"].decode()))
    scripts = "".join(c.decode() for n, c in SHIPPED.contents.items() if n.endswith(".js"))
    templates = files("sdmad.serve.pages") / "templates"
    shells = "".join(entry.read_text("utf-8") for entry in templates.iterdir())
    named = set(re.findall(r'icon\("(\w+)"\)', scripts) + re.findall(r"icons\.svg#(\w+)", shells))
    assert named - drawn == set()


def test_data_never_becomes_markup():
    for name, content in SHIPPED.contents.items():
        if name.endswith(".js"):
            assert not re.search(
                r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function",
                content.decode(),
            ), name


def test_an_address_with_markup_is_shown_as_text(client):
    page = client.get("/image/%22%3E%3Cimg src=x%3E").text
    assert "<img" not in page
    (body,) = [attributes for tag, attributes in Elements(page).elements if tag == "body"]
    assert body["data-subject"] == '"><img src=x>'


def test_every_page_says_that_it_is_no_medical_device(client):
    for address in ADDRESSES:
        assert "Not a medical device." in client.get(address).text


def test_the_page_that_is_open_is_marked_in_the_menu(client):
    marked = {}
    for address in ADDRESSES[:-1]:
        links = [a for _, a in Elements(client.get(address).text).elements if "aria-current" in a]
        marked[address] = [link["href"] for link in links]
    assert marked == {
        "/": ["/"], "/image/7": ["/"], "/refits": ["/refits"],
        "/studies": ["/studies"], "/study/3": ["/studies"],
    }  # fmt: skip
    assert {address for _, address, _ in LINKS} == {"/", "/refits", "/studies"}


def test_files_are_kept_for_good_and_pages_never(client):
    kept = client.get(f"/static/{SHIPPED.stamp}/base.css")
    assert "immutable" in kept.headers["cache-control"]
    assert kept.headers["content-type"].startswith("text/css")
    assert client.get("/").headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "name", ["0123456789ab/base.css", "STAMP/routes.py", "STAMP/..%2froutes.py", "STAMP/%00"]
)
def test_other_versions_and_other_files_are_not_found(client, name):
    assert client.get(f"/static/{name.replace('STAMP', SHIPPED.stamp)}").status_code == 404


def test_what_is_not_there_is_told_people_on_a_page_and_programs_in_json():
    app = FastAPI()
    add_pages(app)
    answer_errors(app)
    client = TestClient(app)
    page = client.get("/no-such-page")
    assert page.status_code == 404
    assert "There is no such thing here." in page.text
    assert client.get("/api/v1/nothing").json() == {"error": "there is no such thing here"}


def test_the_documents_name_every_key_of_the_viewer():
    scripts = SHIPPED.contents["viewer.js"] + SHIPPED.contents["stage.js"]
    keys = set(re.findall(r"^ +\[\[?\"([^\"]+)\"", scripts.decode(), re.MULTILINE))
    shown = {"ArrowUp": "↑", "ArrowDown": "↓", "ArrowLeft": "←", "ArrowRight": "→"}
    wanted = {shown.get(k.split("+")[-1], k.split("+")[-1].upper()) or "+" for k in keys}
    assert {"A", "Z", "O", "[", "↑", "PAGEUP"} <= wanted
    page = (Path(__file__).parents[2] / "docs" / "serve.md").read_text("utf-8")
    told = {one.upper() for one in re.findall(r"<kbd>([^<]+)</kbd>", page)}
    assert wanted - told == set()
