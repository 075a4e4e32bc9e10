"""The tables, as SQLAlchemy knows them; `migrations` make them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, DateTime, Dialect, MetaData, String, TypeDecorator
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
        row: line of the label table; None without one.
        patient: as in the label table; "" where there is none.
        split: as in the label table; "" where there is none.
        given: labels of the table by category: 1, 0 or null.
        state: new, read or unsure, by the standing readings.
        changed: when it was registered, scored or read last.
    """

    __tablename__ = "images"

    id: Mapped[int] = mapped_column(primary_key=True)
    address: Mapped[str] = mapped_column(String(4096), unique=True)
    name: Mapped[str] = mapped_column(String(255), index=True)
    listed: Mapped[bool] = mapped_column(default=True)
    row: Mapped[int | None]
    patient: Mapped[str] = mapped_column(String(255), default="")
    split: Mapped[str] = mapped_column(String(32), default="")
    given: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    state: Mapped[str] = mapped_column(String(8), default="new", index=True)
    changed: Mapped[datetime] = mapped_column(Moment, default=now, index=True)
