import json
import logging
import re

import pytest

from sdmad.dicom_out import access, server
from sdmad.dicom_out.access import Credentials
from sdmad.dicom_out.server import Server
from sdmad.errors import InputError, SDMADError
from tests.dicom_out.pacs import running
from tests.dicom_out.phantoms import dicom, lesion

SECRET = "open sesame"


@pytest.fixture(autouse=True)
def no_credentials(monkeypatch):
    for name in (access.USER, access.PASSWORD, access.TOKEN):
        monkeypatch.delenv(name, raising=False)


def test_many_studies_come_page_by_page(pacs, monkeypatch):
    monkeypatch.setattr(server, "PAGE", 2)
    pacs.hold(*(dicom(lesion(), uid=f"1.{i}", StudyInstanceUID=f"2.{i}") for i in range(1, 6)))
    found = list(Server(pacs.url, Credentials()).studies({}))
    assert found == [f"2.{i}" for i in range(1, 6)]


def test_a_server_without_offsets_is_not_asked_for_ever(pacs, monkeypatch):
    monkeypatch.setattr(server, "PAGE", 2)
    same = json.dumps([{"0020000D": {"vr": "UI", "Value": ["2.1"]}}]).encode()
    pacs.answer = lambda handler: handler._send(same)
    assert list(Server(pacs.url, Credentials()).studies({})) == ["2.1"]
    assert len(pacs.asked) == 2


def test_a_uid_that_is_none_is_not_used(pacs):
    bad = [{"0020000D": {"Value": [uid]}} for uid in ("../../etc", "1.2\n", 7, None, "1." * 40)]
    odd = [{"0020000D": {}}, {}, [], "x", None]
    pacs.answer = lambda handler: handler._send(json.dumps([*bad, *odd]).encode())
    assert list(Server(pacs.url, Credentials()).studies({})) == []


def test_an_answer_without_end_is_cut(pacs, monkeypatch):
    monkeypatch.setattr(server, "MOST_TOLD", 100_000)
    pacs.answer = lambda handler: handler._send(b"[" + b" " * 200_000 + b"]")
    with pytest.raises(SDMADError, match="longer than 100,000 bytes"):
        list(Server(pacs.url, Credentials()).studies({}))


def test_an_answer_that_is_too_slow_is_cut(pacs):
    there = Server(pacs.url, Credentials())
    there.bounds.seconds = -1
    pacs.hold(dicom(lesion()))
    with pytest.raises(SDMADError, match="takes too long"):
        list(there.studies({}))


@pytest.mark.parametrize("content", [b"<html>", b"[[[", b"\xff", b'"x"'])
def test_what_is_no_answer_is_one_line(pacs, content):
    pacs.answer = lambda handler: handler._send(content)
    with pytest.raises(SDMADError, match=re.escape(pacs.url)):
        list(Server(pacs.url, Credentials()).studies({}))


@pytest.mark.parametrize("status", [401, 403])
def test_refused_access_names_the_settings_and_no_secret(pacs, monkeypatch, status, caplog):
    monkeypatch.setenv(access.USER, "reader")
    monkeypatch.setenv(access.PASSWORD, SECRET)
    pacs.answer = lambda handler: handler._send(b"", status=status)
    credentials = Credentials.found(pacs.url)
    with caplog.at_level(logging.DEBUG), pytest.raises(InputError) as caught:
        list(Server(pacs.url, credentials).studies({}))
    assert access.PASSWORD in str(caught.value)
    assert SECRET not in str(caught.value) + caplog.text + repr(credentials)
    assert pacs.authorizations == ["Basic cmVhZGVyOm9wZW4gc2VzYW1l"]


def test_a_token_takes_the_place_of_a_password(pacs, monkeypatch):
    monkeypatch.setenv(access.TOKEN, "abc")
    list(Server(pacs.url, Credentials.found(pacs.url)).studies({}))
    assert set(pacs.authorizations) == {"Bearer abc"}


def test_a_netrc_file_says_user_and_password_and_no_other_is_looked_at(pacs, monkeypatch, tmp_path):
    file = tmp_path / "netrc"
    file.write_text(f"machine 127.0.0.1 login reader password {SECRET.replace(' ', '_')}")
    monkeypatch.setenv("NETRC", str(file))
    list(Server(pacs.url, Credentials.found(pacs.url)).studies({}))
    assert set(pacs.authorizations) == {None}
    assert Credentials.found(pacs.url, file).user == "reader"
    file.write_text("machine elsewhere login a password b")
    with pytest.raises(InputError, match=r"says nothing of 127\.0\.0\.1"):
        Credentials.found(pacs.url, file)
    file.write_text(f"machine 127.0.0.1 {SECRET}")
    with pytest.raises(InputError) as caught:
        Credentials.found(pacs.url, file)
    assert "sesame" not in str(caught.value)


def test_nobody_there_is_one_line():
    with running() as gone:
        url = gone.url
    with pytest.raises(InputError, match="no server answers there"):
        list(Server(url, Credentials()).studies({}))
