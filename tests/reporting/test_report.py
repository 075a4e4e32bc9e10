import io
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from sdmad.errors import InputError
from sdmad.evaluation.protocols import evaluate
from sdmad.reporting.report import (
    Example,
    HeatmapData,
    LabelledFinding,
    ReportData,
    RocData,
    SignRow,
    plain_summary,
    render_report,
    write_report,
)
from sdmad.reporting.tables import protocol_tables

NAN = float("nan")
EVIL = "<script>alert('x')</script>\"&{{ 7*7 }}"
CATEGORIES = ("mass", EVIL)


class Page(HTMLParser):
    """Collects tags, attributes and visible text."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.texts = [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.texts.append(data)

    def named(self, name):
        return [attributes for tag, attributes in self.tags if tag == name]


def thumbnail():
    buffer = io.BytesIO()
    Image.new("L", (8, 8), 90).save(buffer, "PNG")
    return buffer.getvalue()


def make_data():
    labels = np.array([[1, 0], [1, 1], [0, 1], [0, 0], [0, 0]])
    scores = np.array([[0.9, 0.1], [0.8, 0.7], [0.3, 0.6], [0.2, 0.3], [0.1, 0.1]])
    normal = ~labels.any(axis=1)
    evaluation = evaluate(
        labels, scores, scores > 0.65, scores.max(axis=1), normal, CATEGORIES, None, 30
    )
    finding = LabelledFinding(EVIL, 0.5, True, None, EVIL, 0.41, 0.3)
    return ReportData(
        title=EVIL,
        subtitle=EVIL,
        evaluation=evaluation,
        tables=protocol_tables({EVIL: evaluation}),
        settings={EVIL: EVIL},
        roc=RocData(labels.astype(float), scores),
        heatmap=HeatmapData(
            scores,
            scores,
            [EVIL, "mass", "mass", "n", "n"],
            [EVIL, "b"],
            ["mass", EVIL],
            np.array([True, False]),
        ),
        signs=(
            SignRow("mass", EVIL, True, 0.1, 0.4, 0.3, EVIL),
            SignRow(EVIL, "round", False, NAN, NAN, NAN, ""),
            SignRow(EVIL, "alone", True, float("inf"), 0.2, float("-inf"), "round"),
        ),
        best=(Example(EVIL, thumbnail(), (finding,), EVIL),),
        worst=(Example("bad.png", thumbnail(), (replace(finding, label=1.0, decision=False),)),),
        losses=(2.0, 1.0, 0.5),
        notes=(EVIL,),
    )


@pytest.fixture(scope="module")
def html():
    return render_report(make_data())


def test_every_text_is_escaped(html):
    page = Page(html)
    assert page.named("script") == []
    assert "<script" not in html
    assert "{{ 7*7 }}" in html  # shown as it is, never evaluated
    assert sum(EVIL in text for text in page.texts) >= 10


def test_nothing_is_loaded_from_outside(html):
    page = Page(html)
    sources = [attributes["src"] for attributes in page.named("img")]
    assert len(sources) == 5  # ROC curves, heat map, training curve, two thumbnails
    assert all(source.startswith("data:image/") for source in sources)
    assert page.named("link") == []
    assert all(attributes["href"].startswith("#") for attributes in page.named("a"))
    assert not re.search(r"url\(|@import|https?://", html)
    policy = [m for m in page.named("meta") if m.get("http-equiv") == "Content-Security-Policy"]
    assert "default-src 'none'" in policy[0]["content"]


def test_pictures_have_alternative_texts_and_headers_a_scope(html):
    page = Page(html)
    assert all(attributes["alt"].strip() for attributes in page.named("img"))
    assert all(attributes["scope"] in ("col", "row") for attributes in page.named("th"))
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {a["href"][1:] for a in page.named("a")} <= set(ids)


def test_the_page_says_what_it_is_not(html):
    assert "not a medical device" in " ".join(Page(html).texts)


def test_the_page_shows_signs_findings_and_notes(html):
    text = " ".join(" ".join(Page(html).texts).split())
    for wanted in ("+0.300", "kept", "dropped", "missed", "label unknown, called", "0.410"):
        assert wanted in text
    assert " inf" not in text
    assert "predict nothing: 60.0" in text  # 4 positives in 10 cells


def test_empty_parts_are_left_out():
    data = make_data()
    page = Page(render_report(ReportData("T", "", data.evaluation)))
    sections = {attributes["id"] for attributes in page.named("section")}
    assert sections == {"summary"}


def test_report_is_written_and_the_same_each_time(tmp_path, html):
    path = tmp_path / "report.html"
    write_report(make_data(), path)
    assert path.read_text(encoding="utf-8") == html


def test_summary_says_whether_predicting_nothing_is_beaten():
    evaluation = make_data().evaluation
    text = " ".join(plain_summary(evaluation))
    # one error (the second category of row 2) in 10 cells, against 6 right by predicting nothing
    assert "Hamming score: 90.0% (95% interval" in text
    assert "reaches 60.0%, so these decisions are 30.0 points better than that" in text
    none = replace(evaluation, **evaluation.trivial["none"])
    assert "no better than that" in " ".join(plain_summary(none))
    worse = replace(evaluation, hamming_score=0.4)
    assert "20.0 points worse than that" in " ".join(plain_summary(worse))


@pytest.mark.parametrize(
    ("label", "decision", "outcome"),
    [
        (1, True, "found"),
        (1, False, "missed"),
        (0, True, "false alarm"),
        (0, False, "absent"),
        (None, True, "unknown"),
        (NAN, False, "unknown"),
    ],
)
def test_outcome_of_a_finding(label, decision, outcome):
    assert LabelledFinding("c", 0.1, decision, label, "s", 0.1, 0.2).outcome == outcome


def test_a_thumbnail_has_to_be_a_png_file():
    with pytest.raises(InputError, match="'x': a picture is not a PNG"):
        Example("x", b"<svg onload=alert(1)>", ())
