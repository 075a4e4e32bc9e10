import json

import numpy as np
import pytest

from sdmad.dicom_out import server, sweep
from sdmad.dicom_out.access import Credentials
from sdmad.dicom_out.server import Server
from sdmad.dicom_out.sweep import Counts, Sweep
from sdmad.reporting.predictions import Predictions
from tests.dicom_out.phantoms import US_FRAMES, dicom, lesion, without

pytestmark = pytest.mark.filterwarnings("ignore::sdmad.data.intensity.PartWarning")


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


def test_an_image_without_end_is_cut_and_the_others_go_on(run, pacs, monkeypatch):
    monkeypatch.setattr(server, "MOST_IMAGE", 50_000)
    pacs.hold(*images(1), dicom(np.tile(lesion(), (2, 2)), uid="1.2.3.4.9"))
    assert run() == Counts(studies=1, images=2, judged=1, stored=1, refused=1)
    assert "longer than 50,000 bytes" in run.said[0]


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
