import io
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from sdmad.errors import InputError
from sdmad.evaluation.protocols import evaluate
from sdmad.reporting.map_plot import MapPicture
from sdmad.reporting.report import (
    Example,
    HeatmapData,
    ImagePage,
    LabelledFinding,
    ReportData,
    RocData,
    SignRow,
    next_steps,
    plain_summary,
    render_image_page,
    render_report,
    write_report,
)
from sdmad.reporting.tables import protocol_tables
from sdmad.table import Table

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


def image_page():
    """The page of one image, every text of it a stranger's."""
    table = Table(EVIL, (EVIL, ""), ((EVIL, EVIL),), EVIL)
    maps = (MapPicture(EVIL, EVIL, thumbnail(), EVIL),)
    return ImagePage(EVIL, thumbnail(), maps, table, EVIL, "images/01-x.html")


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
        best=(Example(EVIL, thumbnail(), (finding,), EVIL, image_page().maps, image_page()),),
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
    assert len(sources) == 6  # ROC curves, heat map, training curve, two thumbnails, a map
    assert all(source.startswith("data:image/") for source in sources)
    assert page.named("link") == []
    hrefs = [attributes["href"] for attributes in page.named("a")]
    assert [href for href in hrefs if not href.startswith("#")] == ["images/01-x.html"]
    assert not re.search(r"url\(|@import|https?://", html)
    policy = [m for m in page.named("meta") if m.get("http-equiv") == "Content-Security-Policy"]
    assert "default-src 'none'" in policy[0]["content"]


def test_pictures_have_alternative_texts_and_headers_a_scope(html):
    page = Page(html)
    assert all(attributes["alt"].strip() for attributes in page.named("img"))
    assert all(attributes["scope"] in ("col", "row") for attributes in page.named("th"))
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    hrefs = {a["href"] for a in page.named("a")} - {"images/01-x.html"}
    assert {href[1:] for href in hrefs} <= set(ids)


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
    with pytest.raises(InputError, match="'x': the thumbnail is not a PNG"):
        Example("x", b"<svg onload=alert(1)>", ())


def test_whatever_scrolls_can_be_reached_by_keyboard(html):
    for page in (Page(html), Page(render_image_page(image_page()))):
        scrollers = [
            attributes
            for _, attributes in page.tags
            if {"scroll", "plot"} & set(attributes.get("class", "").split())
        ]
        assert scrollers
        for attributes in scrollers:
            assert attributes["tabindex"] == "0"
            assert attributes["role"] == "region"
            assert {"aria-label", "aria-labelledby"} & set(attributes)


def test_the_page_of_an_image_is_as_safe_as_the_report():
    page = Page(render_image_page(image_page()))
    assert page.named("script") == []
    assert all(a["src"].startswith("data:image/png") and a["alt"] for a in page.named("img"))
    assert [a["href"] for a in page.named("a")] == ["../report.html"]
    assert sum(EVIL in text for text in page.texts) >= 8
    policy = [m for m in page.named("meta") if m.get("http-equiv") == "Content-Security-Policy"]
    assert "default-src 'none'" in policy[0]["content"]
    assert "not a medical device" in " ".join(page.texts)


def test_what_to_do_next():
    data = replace(make_data(), signs=(), worst=())
    category = data.evaluation.categories["mass"]

    def told(categories=None, **changes):
        named = {n: replace(category, auroc=v) for n, v in (categories or {"mass": 0.9}).items()}
        evaluation = replace(
            data.evaluation,
            **{"mean_auroc": 0.8, "hamming_score": 0.9, "categories": named, **changes},
        )
        return next_steps(replace(data, evaluation=evaluation))

    def between(low, high):
        return {**data.evaluation.intervals, "mean_auroc": (low, high)}

    sure = between(0.75, 0.85)
    assert told(intervals=sure) == ()
    assert told(intervals=between(NAN, NAN)) == ()
    (step,) = told(intervals=between(0.45, 0.7))
    assert "cannot tell the model from guessing" in step
    (step,) = told(intervals=between(0.6, 0.85))
    assert "only known to lie between 60.0% and 85.0%" in step
    (step,) = told({f"c{k}": 0.5 for k in range(7)} | {"good": 0.9, "none": NAN}, intervals=sure)
    assert "Hardly told from guessing: c0, c1, c2, c3, c4 and 2 more." in step
    (step,) = told(intervals=sure, hamming_score=0.6)  # as many are right by predicting nothing
    assert "ranks better than it decides" in step
    certain = replace(data.evaluation, intervals=sure, mean_auroc=0.8, hamming_score=0.9)
    (step, *_) = next_steps(replace(data, evaluation=certain, unseen=("mass", "x")))
    assert "No support image shows mass, x" in step
    row = SignRow("mass", "round", False, 0.1, 0.2, 0.1, "")
    dropped = replace(data.evaluation, intervals=sure, mean_auroc=0.8, hamming_score=0.9)
    rows = (row, row, replace(row, kept=True))
    steps = next_steps(replace(data, evaluation=dropped, signs=rows))
    assert any("dropped 2 of 3 signs" in step for step in steps)
