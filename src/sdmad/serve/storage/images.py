"""The list of images: what a folder or a table names, and its pages in the order of a reader."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from sqlalchemy import ColumnElement, Select, and_, func, insert, literal, or_, select, true, update
from sqlalchemy.orm import Session
from sqlalchemy.sql.elements import UnaryExpression

from sdmad.serve.storage.tables import FindingRow, ImageRow, ReadingRow, ScoreRow, UndoRow, now

Order = Literal["abnormal", "unsure", "name", "changed"]
State = Literal["new", "read", "unsure"]


@dataclass(frozen=True)
class Listed:
    """An image as a folder or a table names it; see `sdmad.serve.storage.tables.ImageRow`."""

    address: str
    name: str
    patient: str = ""
    split: str = ""
    given: dict[str, float | None] = field(default_factory=dict)
    normal: bool = False


@dataclass(frozen=True)
class Wanted:
    """Which images, in which order, by the scores of which model.

    Attributes:
        model: the model's id.
        sort: abnormal and unsure: the most first; name; changed: the last first.
        category: that the model finds in them.
        state: by their readings.
        reader: who read them.
        text: that their names hold, in any case.
    """

    model: str
    sort: Order = "abnormal"
    category: str | None = None
    state: State | None = None
    reader: str | None = None
    text: str | None = None


Item = tuple[ImageRow, ScoreRow]


def register(session: Session, listed: Sequence[Listed]) -> None:
    """Take over what a folder or a table names now.

    What it does not name any more is kept with its readings, and not listed.
    """
    known = {row.address: row for row in session.scalars(select(ImageRow))}
    names = {one.address for one in listed}
    for address, row in known.items():
        row.listed = address in names
    _take_over(session, listed, known)


def add(session: Session, listed: Sequence[Listed]) -> None:
    """Take over some more images; those that are there stay."""
    named = ImageRow.address.in_([one.address for one in listed])
    known = {row.address: row for row in session.scalars(select(ImageRow).where(named))}
    for row in known.values():
        row.listed = True
    _take_over(session, listed, known)


def expect(session: Session, model: str) -> None:
    """Have every image wait for a model's score that has none by it."""
    scored = select(ScoreRow.image_id).where(
        ScoreRow.image_id == ImageRow.id, ScoreRow.model == model
    )
    waiting = select(ImageRow.id, literal(model)).where(~scored.exists())
    session.execute(insert(ScoreRow).from_select(["image_id", "model"], waiting))


def waiting(session: Session, model: str, most: int) -> list[ImageRow]:
    """Some images that a model has not scored yet, in the order of their numbers."""
    found = (
        select(ImageRow)
        .join(ScoreRow, ScoreRow.image_id == ImageRow.id)
        .where(ScoreRow.model == model, ScoreRow.at.is_(None), ImageRow.listed)
        .order_by(ImageRow.id)
        .limit(most)
    )
    return list(session.scalars(found))


def progress(session: Session, model: str) -> tuple[int, int]:
    """How many images a model has scored, and how many it is to score."""
    done, total = session.execute(
        select(func.count(ScoreRow.at), func.count())
        .join(ImageRow, ScoreRow.image_id == ImageRow.id)
        .where(ScoreRow.model == model, ImageRow.listed)
    ).one()
    return done, total


def counts(session: Session, wanted: Wanted) -> dict[str, int]:
    """How many images there are of each state, whatever state is wanted."""
    query = select(ImageRow.state, func.count()).where(*_filters(wanted, state=False))
    found = session.execute(query.group_by(ImageRow.state))
    return {"new": 0, "read": 0, "unsure": 0} | {row[0]: row[1] for row in found}


def page(session: Session, wanted: Wanted, start: int, size: int) -> list[Item]:
    """Images from a place of the list on.

    Args:
        session: of the database.
        wanted: which, and in which order.
        start: how many are passed over.
        size: how many at most.
    """
    query = _items(wanted).where(*_filters(wanted)).order_by(*_order(wanted.sort))
    return [(image, score) for image, score in session.execute(query.offset(start).limit(size))]


def one(session: Session, image_id: int, model: str) -> Item | None:
    """An image that is listed; None where there is none of this number."""
    query = _items(Wanted(model)).where(ImageRow.id == image_id, ImageRow.listed)
    found = session.execute(query).one_or_none()
    return None if found is None else (found[0], found[1])


def neighbours(session: Session, wanted: Wanted, item: Item) -> tuple[int | None, int | None]:
    """The images before and behind one in the list, whether or not it is wanted itself."""
    found = []
    for back in (True, False):
        query = select(ImageRow.id).join(*_scores(wanted.model))
        query = query.where(*_filters(wanted), _beyond(wanted.sort, item, back))
        found.append(session.scalar(query.order_by(*_order(wanted.sort, back)).limit(1)))
    return found[0], found[1]


def readers(session: Session, image_ids: Iterable[int]) -> dict[int, list[str]]:
    """Who has a standing reading of some images, by name."""
    found: dict[int, list[str]] = {}
    rows = session.execute(
        select(ReadingRow.image_id, ReadingRow.reader)
        .where(ReadingRow.image_id.in_(list(image_ids)), _stands())
        .distinct()
        .order_by(ReadingRow.reader)
    )
    for image_id, reader in rows:
        found.setdefault(image_id, []).append(reader)
    return found


def touch(session: Session, image_id: int, state: State) -> None:
    """An image was read."""
    session.execute(
        update(ImageRow).where(ImageRow.id == image_id).values(state=state, changed=now())
    )


def _take_over(session: Session, listed: Sequence[Listed], known: dict[str, ImageRow]) -> None:
    new = []
    for one in listed:
        if one.address not in known:
            new.append({**vars(one), "state": "new", "listed": True, "changed": now()})
            continue
        row = known[one.address]
        for name, value in vars(one).items():
            if getattr(row, name) != value:
                setattr(row, name, value)
    if new:
        session.execute(insert(ImageRow), new)


def _items(wanted: Wanted) -> Select[ImageRow, ScoreRow]:
    return select(ImageRow, ScoreRow).join(*_scores(wanted.model))


def _scores(model: str) -> tuple[Any, ColumnElement[bool]]:
    return ScoreRow, and_(ScoreRow.image_id == ImageRow.id, ScoreRow.model == model)


def _stands() -> ColumnElement[bool]:
    return ~select(UndoRow.reading_id).where(UndoRow.reading_id == ReadingRow.id).exists()


def _filters(wanted: Wanted, state: bool = True) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = [ImageRow.listed == true()]
    if state and wanted.state is not None:
        found.append(ImageRow.state == wanted.state)
    if wanted.text:
        found.append(ImageRow.name.ilike(f"%{_escaped(wanted.text)}%", escape="/"))
    if wanted.category is not None:
        seen = select(FindingRow.image_id).where(
            FindingRow.model == wanted.model,
            FindingRow.category == wanted.category,
            FindingRow.decision == true(),
            FindingRow.image_id == ImageRow.id,
        )
        found.append(seen.exists())
    if wanted.reader is not None:
        read = select(ReadingRow.id).where(
            ReadingRow.reader == wanted.reader, ReadingRow.image_id == ImageRow.id, _stands()
        )
        found.append(read.exists())
    return found


def _escaped(text: str) -> str:
    """A text that stands for itself in a pattern."""
    return text.replace("/", "//").replace("%", "/%").replace("_", "/_")


def _order(sort: Order, back: bool = False) -> list[UnaryExpression[Any]]:
    """The list's order, or that order from its end; who is not scored yet comes last."""
    if sort in ("abnormal", "unsure"):
        # The scores' own number of the image: their index gives both.
        score, number = getattr(ScoreRow, sort), ScoreRow.image_id
        if back:
            return [score.asc().nulls_first(), number.asc()]
        return [score.desc().nulls_last(), number.desc()]
    keys = [getattr(ImageRow, sort), ImageRow.id]
    if back == (sort == "name"):
        return [key.desc() for key in keys]
    return [key.asc() for key in keys]


def _beyond(sort: Order, item: Item, back: bool) -> ColumnElement[bool]:
    """Behind an image in the list, or before it."""
    image, score = item
    if sort in ("abnormal", "unsure"):
        return _beyond_score(getattr(ScoreRow, sort), getattr(score, sort), image.id, back)
    column, value = getattr(ImageRow, sort), getattr(image, sort)
    if back == (sort == "changed"):  # the larger ones
        return or_(column > value, and_(column == value, ImageRow.id > image.id))
    return or_(column < value, and_(column == value, ImageRow.id < image.id))


def _beyond_score(
    column: Any, value: float | None, image_id: int, back: bool
) -> ColumnElement[bool]:
    """As `_beyond`, where the most comes first and who has none comes last."""
    number = ScoreRow.image_id
    if value is None:
        if back:
            return or_(column.is_not(None), and_(column.is_(None), number > image_id))
        return and_(column.is_(None), number < image_id)
    if back:
        return or_(column > value, and_(column == value, number > image_id))
    return or_(column < value, and_(column == value, number < image_id), column.is_(None))
