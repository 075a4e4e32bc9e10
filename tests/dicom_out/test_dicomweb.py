import json
import logging
import re

import numpy as np
import pytest

from sdmad.dicom_out import access, server, sweep
from sdmad.dicom_out.access import Credentials, checked_url, parse_query
from sdmad.dicom_out.manifest import Done, Manifest
from sdmad.dicom_out.multipart import write_first_part
from sdmad.dicom_out.server import Server
from sdmad.dicom_out.sweep import Counts, Sweep
from sdmad.errors import InputError, SDMADError
from sdmad.reporting.predictions import Predictions
from tests.dicom_out.pacs import running
from tests.dicom_out.phantoms import US_FRAMES, dicom, lesion, without

pytestmark = pytest.mark.filterwarnings("ignore::sdmad.data.intensity.PartWarning")
SECRET = "open sesame"


@pytest.fixture(autouse=True)
def no_credentials(monkeypatch):
    for name in (access.USER, access.PASSWORD, access.TOKEN):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def pacs():
    with running() as pacs:
        yield pacs


@pytest.fixture
def run(judge, identity, pacs):
    """Judge the images of a server; what was complained of is kept in ``run.said``."""

    def run(store=True, folder=None, query=None, judge=judge):
        def rows(files, scored, skipped):
            return Predictions(judge, files, scored, skipped)

        run.said = []
        there = Server(pacs.url, Credentials())
        how = (identity, rows, store, folder, run.said.append)
        return Sweep(there, judge, *how).run(list(there.studies(query or {})))

    return run


def images(count, **attributes):
    return [dicom(lesion(), uid=f"1.2.3.4.{i + 1}", **attributes) for i in range(count)]


def test_images_are_judged_and_results_stored_in_their_study(run, pacs):
    pacs.hold(*images(2))
    assert run() == Counts(studies=1, images=2, judged=2, stored=2)
    stored = pacs.read()[2:]
    assert [data.Modality for data in stored] == ["SEG", "OT", "OT", "SR"] * 2
    assert {data.StudyInstanceUID for data in stored} == {"1.2.3"}
    assert run.said == []


def test_what_the_server_has_is_not_done_again(run, pacs):
    pacs.hold(*images(2))
    run()
    before, pacs.asked = dict(pacs.instances), []
    assert run() == Counts(studies=1, images=2, before=2)
    assert pacs.instances == before
    assert pacs.count("POST") == 0
    assert not any("/instances/" in line for line in pacs.asked)


def test_what_the_manifest_has_is_not_done_again(run, pacs, tmp_path):
    pacs.hold(*images(2))
    assert run(store=False, folder=tmp_path) == Counts(studies=1, images=2, judged=2)
    written = sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*.dcm"))
    assert written[:4] == [f"1.2.3/1.2.3.4.1/{kind}.dcm" for kind in ("pm", "sc", "seg", "sr")]
    assert len(written) == 8
    assert run(store=False, folder=tmp_path) == Counts(studies=1, images=2, before=2)
    lines = [json.loads(line) for line in (tmp_path / "manifest.jsonl").open()]
    assert [line["source"] for line in lines] == ["1.2.3.4.1", "1.2.3.4.2"]
    assert lines[0]["findings"] == ["Ring", "Dots"]
    # What is only written is not stored yet; what is stored is written too.
    assert run(store=True, folder=tmp_path).stored == 2
    pacs.instances.clear()
    pacs.hold(*images(2))
    assert run(store=True, folder=tmp_path) == Counts(studies=1, images=2, before=2)


def test_what_one_server_has_another_lacks():
    manifest = Manifest(None)
    manifest.add(Done("1.2", "m", "1", "1.1", "http://a", (), {}))
    assert manifest.knows("1.2", "m", "http://a")
    assert manifest.knows("1.2", "m", "")
    assert not manifest.knows("1.2", "m", "http://b")
    assert not manifest.knows("1.2", "n", "")


def test_a_killed_run_goes_on_where_it_ended(run, pacs, tmp_path):
    pacs.hold(*images(2))
    run(store=False, folder=tmp_path)
    manifest = tmp_path / "manifest.jsonl"
    first, second = manifest.read_text().splitlines()
    manifest.write_text(f"{first}\n{second[:40]}")
    assert run(store=False, folder=tmp_path) == Counts(studies=1, images=2, before=1, judged=1)
    assert run(store=False, folder=tmp_path).before == 2


def test_a_report_comes_last_so_that_half_a_store_is_done_again(run, pacs):
    pacs.hold(*images(1))
    pacs.refuse = {"OT"}
    assert run() == Counts(studies=1, images=1, judged=1, refused=1)
    assert "refuses 2 of 3 (reason A700H" in run.said[0]
    assert "SR" not in {data.Modality for data in pacs.read()}
    pacs.refuse = set()
    assert run() == Counts(studies=1, images=1, judged=1, stored=1)


def test_results_of_another_model_are_no_images(run, pacs):
    pacs.hold(*images(1))
    run()
    foreign = next(data for data in pacs.read() if data.Modality == "OT")
    foreign.SOPInstanceUID = foreign.file_meta.MediaStorageSOPInstanceUID = "1.9"
    foreign.SeriesInstanceUID, foreign.SeriesDescription = "1.8", "renamed by the server"
    pacs.hold(foreign)
    assert run() == Counts(studies=1, images=1, before=1)


def test_the_middle_frame_of_several_is_known_for_done(run, pacs):
    pacs.hold(dicom(np.stack([lesion()] * 3), US_FRAMES, "US"))
    assert run().stored == 1
    assert run() == Counts(studies=1, images=1, before=1)


def test_one_bad_image_does_not_stop_the_others(run, pacs):
    one, two, three = images(3)
    two.PixelData = two.PixelData[:100]
    pacs.hold(one, two, without(three, "PatientID"))
    assert run() == Counts(studies=1, images=3, judged=1, stored=1, refused=2)
    said = sorted(run.said)
    assert said[0].startswith("instance 1.2.3.4.2: the pixel data")
    assert "instance 1.2.3.4.3: no DICOM results: the source lacks PatientID" in said[1]


def test_the_server_is_asked_for_what_is_queried(run, pacs):
    pacs.hold(*images(1))
    assert run(query={"StudyInstanceUID": "1.2.9"}) == Counts()
    assert "StudyInstanceUID=1.2.9" in pacs.asked[0]


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


def test_an_image_without_end_is_cut_and_the_others_go_on(run, pacs, monkeypatch):
    monkeypatch.setattr(server, "MOST_IMAGE", 50_000)
    pacs.hold(*images(1), dicom(np.tile(lesion(), (2, 2)), uid="1.2.3.4.9"))
    assert run() == Counts(studies=1, images=2, judged=1, stored=1, refused=1)
    assert "longer than 50,000 bytes" in run.said[0]


def test_an_answer_that_is_too_slow_is_cut(pacs):
    there = Server(pacs.url, Credentials())
    there.bounds.seconds = -1
    pacs.hold(*images(1))
    with pytest.raises(SDMADError, match="takes too long"):
        list(there.studies({}))


@pytest.mark.parametrize("content", [b"<html>", b"[[[", b"\xff", b'"x"'])
def test_what_is_no_answer_is_one_line(pacs, content):
    pacs.answer = lambda handler: handler._send(content)
    with pytest.raises(SDMADError, match=re.escape(pacs.url)):
        list(Server(pacs.url, Credentials()).studies({}))


def test_another_image_than_was_asked_for_is_refused(run, pacs):
    pacs.hold(*images(2))
    pacs.instances["1.2.3.4.2"], held = pacs.instances["1.2.3.4.1"], pacs.instances["1.2.3.4.2"]
    listed = pacs.read
    pacs.read = lambda: [*listed()[:1], *_read(held)]
    assert run().refused == 1
    assert "another image than it was asked for" in run.said[0]


def _read(content):
    import io

    import pydicom

    return [pydicom.dcmread(io.BytesIO(content))]


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


def test_credentials_are_given_once_and_whole(monkeypatch, tmp_path):
    monkeypatch.setenv(access.USER, "reader")
    with pytest.raises(InputError, match="set both"):
        Credentials.found("http://x")
    monkeypatch.setenv(access.PASSWORD, SECRET)
    monkeypatch.setenv(access.TOKEN, SECRET)
    with pytest.raises(InputError, match="given twice") as caught:
        Credentials.found("http://x")
    assert SECRET not in str(caught.value)


def test_nobody_there_is_one_line():
    with running() as gone:
        url = gone.url
    with pytest.raises(InputError, match="no server answers there"):
        list(Server(url, Credentials()).studies({}))


@pytest.mark.parametrize(
    "url", ["ftp://a", "a", "http://", f"http://u:{SECRET[:4]}@a/", "http://a?b=c", "http://a:99x"]
)
def test_an_address_that_is_none_is_not_repeated(url):
    with pytest.raises(InputError, match="must be an http") as caught:
        checked_url(url)
    assert SECRET[:4] not in str(caught.value)


@pytest.mark.parametrize("text", ["StudyDate", "=1", "StudyDate=", "Studydate=1", "a\nb=1"])
def test_a_query_that_is_none_is_refused(text):
    with pytest.raises(InputError, match="--query"):
        parse_query([text])


@pytest.mark.parametrize("size", [1, 2, 3, 7, 10_000])
def test_a_part_is_written_whole_however_it_is_cut(tmp_path, size):
    content = bytes(range(256)) * 3 + b"\r\n--par\r\n--"
    body = b"preamble\r\n--part\r\nA: b\r\n\r\n" + content + b"\r\n--part--\r\n"
    pieces = (body[i : i + size] for i in range(0, len(body), size))
    write_first_part(pieces, 'multipart/related; boundary="part"', tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == content


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("text/html", b"<html>"),
        ("multipart/related; boundary=part", b"--part\r\n\r\nhalf"),
        ("multipart/related; boundary=part", b"x" * 200_000),
        ("multipart/related", b"--part\r\n\r\nhalf\r\n--part--"),
        ("", b""),
    ],
)
def test_an_answer_that_is_no_file_or_breaks_off_is_refused(tmp_path, kind, body):
    with pytest.raises(SDMADError):
        write_first_part(iter([body]), kind, tmp_path / "a")


def test_a_batch_is_what_a_killed_run_does_again_at_most(run, pacs, monkeypatch, tmp_path):
    monkeypatch.setattr(sweep, "BATCH", 1)
    pacs.hold(*images(3))
    add = sweep.Manifest.add
    left = [2]

    def killed(self, done):
        if left[0] == 0:
            raise KeyboardInterrupt
        left[0] -= 1
        add(self, done)

    monkeypatch.setattr(sweep.Manifest, "add", killed)
    with pytest.raises(KeyboardInterrupt):
        run(store=False, folder=tmp_path)
    monkeypatch.setattr(sweep.Manifest, "add", add)
    assert run(store=False, folder=tmp_path) == Counts(studies=1, images=3, before=2, judged=1)
