"""The list is paged in the database: by its indices, in as many questions whatever its length."""

import random

import pytest
from sqlalchemy import event, insert, text

from sdmad.serve.storage import images
from sdmad.serve.storage.images import Listed, Wanted
from sdmad.serve.storage.tables import FindingRow, ImageRow, ScoreRow, now

MODEL = "made-up"


def fill(storage, count):
    """Images of which all but the last hundred are scored; one in three shows a ring."""
    draw = random.Random(0)
    with storage.writing() as session:
        listed = [Listed(f"/images/{i:05d}.png", f"{i:05d}.png") for i in range(count)]
        images.register(session, listed)
        images.expect(session, MODEL)
        numbers = list(session.scalars(text("SELECT id FROM images")))
        scored = numbers[:-100]
        for number in scored:
            session.execute(
                text("UPDATE scores SET abnormal=:a, unsure=:u, at=:t WHERE image_id=:i"),
                {"a": draw.random(), "u": draw.random(), "t": str(now())[:19], "i": number},
            )
        found = {"model": MODEL, "rule": "odds", "score": 0.0, "probability": None}
        found |= {"threshold": None, "sign": None, "answer": None}
        rows = [
            {**found, "image_id": number, "category": name, "decision": number % 3 == 0}
            for number in scored
            for name in ("Ring", "Bar")
        ]
        session.execute(insert(FindingRow), rows)
    storage.look_around()


@pytest.fixture
def asked(storage):
    """The statements that the database was asked, with their values."""
    told = []

    @event.listens_for(storage.engine, "before_cursor_execute")
    def note(connection, cursor, statement, parameters, context, many):
        told.append((statement, parameters))

    return told


def plan(storage, statement, parameters):
    with storage.engine.connect() as connection:
        rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
        return " / ".join(row[3] for row in rows)


@pytest.mark.parametrize(
    ("sort", "index"),
    [
        ("abnormal", "ix_scores_model_abnormal_image_id"),
        ("unsure", "ix_scores_model_unsure_image_id"),
        ("name", "ix_images_name_id"),
        ("changed", "ix_images_changed_id"),
    ],
)
def test_a_page_walks_along_an_index_and_sorts_nothing(storage, asked, sort, index):
    fill(storage, 400)
    asked.clear()
    with storage.reading() as session:
        assert len(images.page(session, Wanted(MODEL, sort), 100, 50)) == 50
    steps = plan(storage, *asked[-1])
    assert index in steps
    assert "TEMP B-TREE" not in steps
    with storage.reading() as session:
        item = images.page(session, Wanted(MODEL, sort), 100, 1)[0]
        asked.clear()
        images.neighbours(session, Wanted(MODEL, sort), item)
    for one in [one for one in asked if one[0].startswith("SELECT")]:
        assert "TEMP B-TREE" not in plan(storage, *one)


def test_a_page_takes_as_many_questions_whatever_its_size(client, house):
    fill(house.storage, 300)
    told = []

    @event.listens_for(house.storage.engine, "before_cursor_execute")
    def note(connection, cursor, statement, parameters, context, many):
        told.append(statement)

    counts = set()
    for size in (1, 10, 200):
        told.clear()
        found = client.get("/api/v1/images", params={"size": size}).json()
        assert len(found["items"]) == size
        counts.add(len([one for one in told if one.startswith("SELECT")]))
    assert counts == {4}  # the counts, the page, its findings, its readers


def test_pages_put_together_are_the_list(storage):
    fill(storage, 230)
    with storage.reading() as session:
        for sort in ("abnormal", "unsure", "name", "changed"):
            wanted = Wanted(MODEL, sort)
            whole = [image.id for image, _ in images.page(session, wanted, 0, 1000)]
            parts = [
                image.id
                for start in range(0, 230, 50)
                for image, _ in images.page(session, wanted, start, 50)
            ]
            assert parts == whole
            assert len(set(whole)) == 230
        scores = [score.abnormal for _, score in images.page(session, Wanted(MODEL), 0, 1000)]
        assert scores[-100:] == [None] * 100
        assert scores[:-100] == sorted(scores[:-100], reverse=True)
        ring = Wanted(MODEL, category="Ring")
        assert sum(images.counts(session, ring).values()) == sum(
            number % 3 == 0 for number in range(1, 131)
        )


def test_registering_again_changes_nothing(storage):
    fill(storage, 150)
    with storage.writing() as session:
        before = [row.changed for row in session.query(ImageRow).order_by(ImageRow.id)]
        listed = [Listed(f"/images/{i:05d}.png", f"{i:05d}.png") for i in range(150)]
        images.register(session, listed)
        images.expect(session, MODEL)
    with storage.reading() as session:
        assert [row.changed for row in session.query(ImageRow).order_by(ImageRow.id)] == before
        assert session.query(ScoreRow).count() == 150
