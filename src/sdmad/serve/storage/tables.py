"""The tables, as SQLAlchemy knows them; `migrations` make them."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    LargeBinary,
    MetaData,
    String,
    Text,
    TypeDecorator,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "pk": "pk_%(table_name)s",
}


class Moment(TypeDecorator[datetime]):
    """A time in UTC, whatever the database makes of time zones."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(
        self,
        value: datetime | None,
        dialect: Dialect,  # noqa: ARG002
    ) -> datetime | None:
        """Keep it in UTC, without its zone."""
        return None if value is None else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(
        self,
        value: datetime | None,
        dialect: Dialect,  # noqa: ARG002
    ) -> datetime | None:
        """Give it with its zone."""
        return None if value is None else value.replace(tzinfo=UTC)


class Address(TypeDecorator[str]):
    """Where an image lies, kept as the bytes that the system knows it by."""

    impl = LargeBinary
    cache_ok = True

    def process_bind_param(
        self,
        value: str | None,
        dialect: Dialect,  # noqa: ARG002
    ) -> bytes | None:
        """Keep a name in whatever encoding."""
        return None if value is None else os.fsencode(value)

    def process_result_value(
        self,
        value: bytes | None,
        dialect: Dialect,  # noqa: ARG002
    ) -> str | None:
        """Give it as the system's functions take it."""
        return None if value is None else os.fsdecode(value)


def now() -> datetime:
    """The time, in UTC."""
    return datetime.now(UTC)


class Base(DeclarativeBase):
    """Of every table."""

    metadata = MetaData(naming_convention=NAMES)


class ImageRow(Base):
    """An image that is to be read.

    Attributes:
        id: number in the order of registration.
        address: absolute path, or ``volume#slice``.
        name: what a page calls it.
        listed: whether the folder or the table still names it.
        patient: as in the label table; "" where there is none.
        split: as in the label table; "" where there is none.
        given: labels of the table by category: 1, 0, or None for unknown.
        normal: whether the table declares it normal.
        state: new, read or unsure, by the standing readings.
        changed: when it was registered or read last.
    """

    __tablename__ = "images"
    __table_args__ = (
        Index(None, "listed", "state"),
        Index(None, "name", "id"),
        Index(None, "changed", "id"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    address: Mapped[str] = mapped_column(Address, unique=True)
    name: Mapped[str] = mapped_column(String(255))
    listed: Mapped[bool] = mapped_column(default=True)
    patient: Mapped[str] = mapped_column(String(255), default="")
    split: Mapped[str] = mapped_column(String(32), default="")
    given: Mapped[dict[str, float | None]] = mapped_column(JSON, default=dict)
    normal: Mapped[bool] = mapped_column(default=False)
    state: Mapped[str] = mapped_column(String(8), default="new")
    changed: Mapped[datetime] = mapped_column(Moment, default=now)


class ScoreRow(Base):
    """What a model says of an image as a whole; it waits to be scored where ``at`` is None.

    Attributes:
        image_id: the image.
        model: the model's id.
        abnormal: 0 to 1.
        unsure: 0 to 1.
        unfamiliar: whether the image is unlike those that the model was fitted on.
        error: why it cannot be read.
        top: the category that is most likely.
        at: when it was scored.
    """

    __tablename__ = "scores"
    __table_args__ = (
        Index(None, "model", "abnormal", "image_id"),
        Index(None, "model", "unsure", "image_id"),
        Index(None, "model", "at"),
    )

    image_id: Mapped[int] = mapped_column(ForeignKey("images.id"), primary_key=True)
    model: Mapped[str] = mapped_column(String(255), primary_key=True)
    abnormal: Mapped[float | None]
    unsure: Mapped[float | None]
    unfamiliar: Mapped[bool | None]
    error: Mapped[str | None] = mapped_column(Text)
    top: Mapped[str | None] = mapped_column(String(255))
    at: Mapped[datetime | None] = mapped_column(Moment)


class FindingRow(Base):
    """What a model says of one category in an image.

    Attributes:
        image_id: the image.
        model: the model's id.
        category: its name.
        score: larger is more likely.
        probability: at a stated prevalence; None where none was.
        threshold: the score above which it is found; None of a rule of signs alone.
        decision: whether it is found.
        rule: how that was decided.
        sign: the deciding sign: name, sentence, contribution.
        answer: yes, no or unsure; None where no error rate was stated.
    """

    __tablename__ = "findings"
    __table_args__ = (Index(None, "model", "category", "decision", "image_id"),)

    image_id: Mapped[int] = mapped_column(ForeignKey("images.id"), primary_key=True)
    model: Mapped[str] = mapped_column(String(255), primary_key=True)
    category: Mapped[str] = mapped_column(String(255), primary_key=True)
    score: Mapped[float]
    probability: Mapped[float | None]
    threshold: Mapped[float | None]
    decision: Mapped[bool]
    rule: Mapped[str] = mapped_column(String(64))
    sign: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    answer: Mapped[str | None] = mapped_column(String(8))


class ReadingRow(Base):
    """What a reader said of an image. Rows are only ever added.

    Attributes:
        id: number in the order of time.
        image_id: the image.
        category: None where it is said of the image as a whole.
        verdict: accept, reject, add, unsure or normal.
        note: in the reader's words.
        reader: who.
        at: when.
    """

    __tablename__ = "readings"
    __table_args__ = (Index(None, "image_id"), Index(None, "reader", "image_id"))

    id: Mapped[int] = mapped_column(primary_key=True)
    image_id: Mapped[int] = mapped_column(ForeignKey("images.id"))
    category: Mapped[str | None] = mapped_column(String(255))
    verdict: Mapped[str] = mapped_column(String(8))
    note: Mapped[str] = mapped_column(Text)
    reader: Mapped[str] = mapped_column(String(64))
    at: Mapped[datetime] = mapped_column(Moment)


class UndoRow(Base):
    """A reading that was taken back. Rows are only ever added.

    Attributes:
        reading_id: the reading.
        reader: who took it back.
        at: when.
    """

    __tablename__ = "undos"

    reading_id: Mapped[int] = mapped_column(ForeignKey("readings.id"), primary_key=True)
    reader: Mapped[str] = mapped_column(String(64))
    at: Mapped[datetime] = mapped_column(Moment)


class AccountRow(Base):
    """Who may sign in.

    Attributes:
        name: of the reader.
        password: its hash by argon2, with its salt and costs.
        role: reader or admin.
        created: when.
    """

    __tablename__ = "accounts"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    password: Mapped[str] = mapped_column(String(255))
    role: Mapped[str] = mapped_column(String(8))
    created: Mapped[datetime] = mapped_column(Moment)


class SessionRow(Base):
    """A sign-in of a browser, or a token of a program.

    Attributes:
        digest: SHA-256 of the secret that the client shows.
        account: whose.
        csrf: what the browser's pages show with each change; "" of a program's token.
        expires: when it ends; None of a program's token.
    """

    __tablename__ = "sessions"
    __table_args__ = (Index(None, "account"),)

    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    account: Mapped[str] = mapped_column(ForeignKey("accounts.name", ondelete="CASCADE"))
    csrf: Mapped[str] = mapped_column(String(64))
    expires: Mapped[datetime | None] = mapped_column(Moment)


class EventRow(Base):
    """A line of the audit log. Rows are only ever added.

    Attributes:
        id: number in the order of time.
        at: when.
        who: the reader's name; "" before a sign-in.
        what: such as "sign-in", "image opened" or "reading".
        about: such as the number of an image.
        client: address that the request came from.
    """

    __tablename__ = "events"

    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[datetime] = mapped_column(Moment, index=True)
    who: Mapped[str] = mapped_column(String(64))
    what: Mapped[str] = mapped_column(String(64))
    about: Mapped[str] = mapped_column(String(255))
    client: Mapped[str] = mapped_column(String(64))


class StudyRow(Base):
    """A blinded reader study.

    Attributes:
        id: its number.
        name: as its maker calls it.
        seed: of the draw and of the orders.
        images: numbers of its images.
        categories: what readers are asked for.
        reader: who made it.
        at: when.
    """

    __tablename__ = "studies"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(255))
    seed: Mapped[int]
    images: Mapped[list[int]] = mapped_column(JSON)
    categories: Mapped[list[str]] = mapped_column(JSON)
    reader: Mapped[str] = mapped_column(String(64))
    at: Mapped[datetime] = mapped_column(Moment)


class StudyAnswerRow(Base):
    """What a reader said of an image of a study. Rows are only ever added.

    Attributes:
        study_id: the study.
        reader: who.
        image_id: the image.
        with_findings: whether the model's findings were shown.
        percent: how likely each category is.
        seconds: from the image to the answer.
        at: when.
    """

    __tablename__ = "study_answers"

    study_id: Mapped[int] = mapped_column(ForeignKey("studies.id"), primary_key=True)
    reader: Mapped[str] = mapped_column(String(64), primary_key=True)
    image_id: Mapped[int] = mapped_column(ForeignKey("images.id"), primary_key=True)
    with_findings: Mapped[bool] = mapped_column(primary_key=True)
    percent: Mapped[dict[str, float]] = mapped_column(JSON)
    seconds: Mapped[float]
    at: Mapped[datetime] = mapped_column(Moment)
