"""``sdmad serve`` and ``sdmad serve-account``, and that ``fit`` reads what a server exports."""

import io
import os
import signal
import socket
import sqlite3
import subprocess
import sys
from contextlib import closing

import httpx
import pytest
from fastapi.testclient import TestClient

from sdmad.serve import app as application
from sdmad.serve.settings import Remote, ServeSettings
from tests.serve.conftest import FakeModels

API = "/api/v1"
PASSWORD = "four words or more"
NOWHERE, EVERYTHING = "http://127.0.0.1:9/web", ("--query", "StudyDate=19000101-")


def test_fit_reads_the_labels_of_a_server(sdmad, data, fit_arguments, tmp_path, monkeypatch):
    """Of pictures whose rings, bars and dots a reader has told."""
    lines = data.read_text(encoding="utf-8").splitlines()[1:]

    def lend(house):
        house.models = FakeModels()

    monkeypatch.setattr(application, "PREPARED", (lend,))
    monkeypatch.setattr(application, "PARTS", ())
    app = application.create_app(ServeSettings((), images=data.parent))
    bearer = {"Authorization": f"Bearer {app.state.house.token.text}"}
    with TestClient(app, base_url="http://localhost", headers=bearer) as client:
        listed = client.get(f"{API}/images", params={"size": 100}).json()["items"]
        numbers = {item["name"]: item["id"] for item in listed}
        for line in lines[:18]:
            name, _, labels = line.split(",")
            place = f"{API}/images/{numbers[name]}/readings"
            if labels == "normal":
                client.post(place, json={"verdict": "normal"})
                continue
            for category in ("Ring", "Bar", "Dots"):
                verdict = "accept" if category in labels.split("|") else "reject"
                client.post(place, json={"category": category, "verdict": verdict})
        exported = tmp_path / "elsewhere" / "labels.csv"
        exported.parent.mkdir()
        exported.write_bytes(client.get(f"{API}/labels.csv").content)
    arguments = [exported if argument == data else argument for argument in fit_arguments]
    done = sdmad(*arguments, "--out", tmp_path / "model")
    assert done.status == 0, done.err
    assert (tmp_path / "model").is_dir()
    from sdmad.data.table import read_label_table

    read, own = read_label_table(exported, FakeModels().active.bank.names), read_label_table(data)
    columns = own.columns(read.categories)
    assert len(read) == 18
    assert (read.labels == own.labels[:18, columns]).all()
    assert (read.normal == own.normal[:18]).all()


def test_the_command_prints_its_address_answers_and_ends(model_folder, data):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    command = ["serve", str(model_folder), "--images", str(data.parent), "--port", "0"]
    program = "from sdmad.cli.start import run; run()"
    with subprocess.Popen(
        [sys.executable, "-c", program, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        text=True,
    ) as process:
        try:
            place, _, token = process.stdout.readline().strip().partition("/?token=")
            assert place.startswith("http://127.0.0.1:"), process.communicate(timeout=60)
            said = httpx.get(f"{place}{API}/images", headers={"Authorization": f"Bearer {token}"})
            assert said.json()["total"] == 24
            assert httpx.get(f"{place}{API}/health").json()["models"] == 1
            process.send_signal(signal.SIGTERM)
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
    assert (process.returncode, out) == (0, "")
    assert err.splitlines()[-1] == "stopped; every reading that was answered is kept"
    assert token not in err


def files(place):
    return sorted(place.parent.rglob("*"))


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--images", "nowhere"], "nowhere: no such folder"),
        (["--table", "nowhere.csv"], "nowhere.csv"),
        (["--images", ".", "--table", "labels.csv"], "give one of them"),
        (["--images", ".", "--dicomweb", NOWHERE, *EVERYTHING], "give one of them"),
        (["--dicomweb", NOWHERE], "--query StudyDate=20240101-"),
        (["--images", ".", *EVERYTHING], "--dicomweb, --query and --netrc go together"),
        (["--images", ".", "--netrc", "file"], "--dicomweb, --query and --netrc go together"),
        (["--dicomweb", "ftp://localhost", *EVERYTHING], "must be an http(s) address"),
        (["--dicomweb", NOWHERE, *EVERYTHING], f"{NOWHERE}: no server answers there"),
        (["--images", ".", "--host", "0.0.0.0"], "serve-account add NAME"),
        (["--images", ".", "--support-images", "nowhere.csv"], "nowhere.csv"),
        (["--images", ".", "--database", "nonsense"], "no database can be reached"),
        (["--images", ".", "--database", "mysql://host/base"], "no database that readings"),
    ],
)
def test_what_cannot_be_served_is_one_line_and_leaves_no_file(
    sdmad, model_folder, data, monkeypatch, arguments, why
):
    monkeypatch.chdir(data.parent)
    before = files(data.parent)
    done = sdmad("serve", model_folder, "--port", 0, *arguments)
    assert done.status == 2
    assert why in done.err.splitlines()[-1]
    assert files(data.parent) == before


def test_a_model_that_is_missing_leaves_no_file(sdmad, data, tmp_path):
    before = files(data.parent)
    done = sdmad("serve", tmp_path / "nothing", "--images", data.parent, "--port", 0)
    assert (done.status, str(tmp_path / "nothing") in done.err) == (2, True)
    assert files(data.parent) == before


def test_a_database_that_cannot_be_reached_is_told_without_its_password(
    sdmad, model_folder, data, free_port
):
    before = files(data.parent)
    url = f"postgresql://ann:four-words@127.0.0.1:{free_port}/readings"
    done = sdmad(*("serve", model_folder, "--images", data.parent, "--port", 0, "--database", url))
    assert done.status == 2
    assert f"postgresql://ann:***@127.0.0.1:{free_port}/readings: this database" in done.err
    assert "four-words" not in done.err
    assert files(data.parent) == before


def test_a_refused_start_leaves_an_earlier_database_as_it_was(sdmad, model_folder, data, account):
    assert account("add", "ann", typed=PASSWORD + "\n").status == 0
    assert account("remove", "ann").status == 0
    database = data.parent.with_name(f"{data.parent.name}.sdmad-serve.sqlite")
    before, written = files(data.parent), database.read_bytes()
    assert database in before
    words = ("--images", data.parent, "--port", 0, "--host", "0.0.0.0")
    assert sdmad("serve", model_folder, *words).status == 2
    assert sdmad("serve", model_folder / "nothing", *words).status == 2
    assert files(data.parent) == before
    assert database.read_bytes() == written


def test_a_port_that_is_taken_is_told_and_leaves_no_file(sdmad, model_folder, data):
    before = files(data.parent)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = sdmad("serve", model_folder, "--images", data.parent, "--port", port)
    assert done.status == 2
    assert f"127.0.0.1, port {port}: cannot listen there" in done.err
    assert files(data.parent) == before


@pytest.fixture
def free_port():
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    return port


@pytest.fixture
def account(sdmad, data, monkeypatch):
    """Run a command on the accounts of the pictures' folder."""

    def run(*arguments, typed=""):
        monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
        return sdmad("serve-account", *arguments, "--images", data.parent)

    return run


def test_accounts_are_added_listed_changed_and_removed(account):
    assert account("add", "ann", typed=PASSWORD + "\n").status == 0
    assert account("add", "eve", "--role", "admin", typed=PASSWORD + "\n").status == 0
    listed = [line.split("\t")[:2] for line in account("list").out.splitlines()]
    assert listed == [["ann", "reader"], ["eve", "admin"]]
    assert len(account("token", "ann").out.strip()) > 40
    assert account("password", "ann", typed="too short\n").status == 2
    assert account("password", "ann", typed="another four words\n").status == 0
    assert account("remove", "ann").status == 0
    assert "no such account" in account("token", "ann").err
    assert "ann" not in account("list").out


def test_readers_do_not_wait_while_a_password_is_typed(account, data, monkeypatch):
    place = data.parent.with_name(f"{data.parent.name}.sdmad-serve.sqlite")
    locks = []

    def typed():
        with closing(sqlite3.connect(place, timeout=0, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            locks.append("free")
        return PASSWORD

    monkeypatch.setattr("sdmad.cli.serve_account._password", typed)
    assert account("add", "ann").status == 0
    assert account("password", "ann").status == 0
    assert locks == ["free", "free"]


def test_accounts_of_a_dicomweb_server_are_those_that_its_readers_have(
    sdmad, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdin", io.StringIO(PASSWORD + "\n"))
    assert sdmad("serve-account", "add", "ann", "--dicomweb", f"{NOWHERE}/").status == 0
    assert sdmad("serve-account", "list", "--dicomweb", NOWHERE).out.startswith("ann\treader")
    url = ServeSettings((), dicomweb=Remote(NOWHERE)).database_url
    assert sdmad("serve-account", "list", "--database", url).out.startswith("ann\treader")


def test_whose_accounts_has_to_be_said(sdmad):
    done = sdmad("serve-account", "list")
    assert done.status == 2
    assert "give --images, --table, --dicomweb or --database" in done.err
