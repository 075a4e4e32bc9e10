"""The first tables: images, what models and readers say of them, accounts, the audit log."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

NAME, MODEL = sa.String(64), sa.String(255)
INDICES = (
    ("images", ("listed", "state")),
    ("images", ("name", "id")),
    ("images", ("changed", "id")),
    ("scores", ("model", "abnormal", "image_id")),
    ("scores", ("model", "unsure", "image_id")),
    ("scores", ("model", "at")),
    ("findings", ("model", "category", "decision", "image_id")),
    ("readings", ("image_id",)),
    ("readings", ("reader", "image_id")),
    ("sessions", ("account",)),
    ("events", ("at",)),
)
APPENDED = ("readings", "undos", "events")


def upgrade() -> None:
    """Make the tables."""
    _make_tables_of_images()
    _make_tables_of_models()
    _make_tables_of_readers()
    _make_tables_of_people()
    for table, columns in INDICES:
        op.create_index(f"ix_{table}_{'_'.join(columns)}", table, list(columns))
    if op.get_bind().dialect.name == "sqlite":
        for table in APPENDED:
            _only_added(table)


def _column(name: str, kind: Any, null: bool = False) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=null)


def _make_tables_of_images() -> None:
    op.create_table(
        "images",
        _column("id", sa.Integer()),
        _column("address", sa.LargeBinary()),
        _column("name", sa.String(255)),
        _column("listed", sa.Boolean()),
        _column("patient", sa.String(255)),
        _column("split", sa.String(32)),
        _column("given", sa.JSON()),
        _column("normal", sa.Boolean()),
        _column("state", sa.String(8)),
        _column("changed", sa.DateTime()),
        sa.PrimaryKeyConstraint("id", name="pk_images"),
        sa.UniqueConstraint("address", name="uq_images_address"),
    )


def _make_tables_of_models() -> None:
    op.create_table(
        "scores",
        _column("image_id", sa.Integer()),
        _column("model", MODEL),
        _column("abnormal", sa.Double(), null=True),
        _column("unsure", sa.Double(), null=True),
        _column("unfamiliar", sa.Boolean(), null=True),
        _column("error", sa.Text(), null=True),
        _column("top", sa.String(255), null=True),
        _column("at", sa.DateTime(), null=True),
        sa.PrimaryKeyConstraint("image_id", "model", name="pk_scores"),
        _key("scores", "image_id", "images.id"),
    )
    op.create_table(
        "findings",
        _column("image_id", sa.Integer()),
        _column("model", MODEL),
        _column("category", sa.String(255)),
        _column("score", sa.Double()),
        _column("probability", sa.Double(), null=True),
        _column("threshold", sa.Double(), null=True),
        _column("decision", sa.Boolean()),
        _column("rule", sa.String(64)),
        _column("sign", sa.JSON(), null=True),
        _column("answer", sa.String(8), null=True),
        sa.PrimaryKeyConstraint("image_id", "model", "category", name="pk_findings"),
        _key("findings", "image_id", "images.id"),
    )


def _make_tables_of_readers() -> None:
    op.create_table(
        "readings",
        _column("id", sa.Integer()),
        _column("image_id", sa.Integer()),
        _column("category", sa.String(255), null=True),
        _column("verdict", sa.String(8)),
        _column("note", sa.Text()),
        _column("reader", NAME),
        _column("at", sa.DateTime()),
        sa.PrimaryKeyConstraint("id", name="pk_readings"),
        _key("readings", "image_id", "images.id"),
    )
    op.create_table(
        "undos",
        _column("reading_id", sa.Integer()),
        _column("reader", NAME),
        _column("at", sa.DateTime()),
        sa.PrimaryKeyConstraint("reading_id", name="pk_undos"),
        _key("undos", "reading_id", "readings.id"),
    )


def _make_tables_of_people() -> None:
    op.create_table(
        "accounts",
        _column("name", NAME),
        _column("password", sa.String(255)),
        _column("role", sa.String(8)),
        _column("created", sa.DateTime()),
        sa.PrimaryKeyConstraint("name", name="pk_accounts"),
    )
    op.create_table(
        "sessions",
        _column("digest", sa.String(64)),
        _column("account", NAME),
        _column("csrf", sa.String(64)),
        _column("expires", sa.DateTime(), null=True),
        sa.PrimaryKeyConstraint("digest", name="pk_sessions"),
        _key("sessions", "account", "accounts.name", ondelete="CASCADE"),
    )
    op.create_table(
        "events",
        _column("id", sa.Integer()),
        _column("at", sa.DateTime()),
        _column("who", NAME),
        _column("what", NAME),
        _column("about", sa.String(255)),
        _column("client", NAME),
        sa.PrimaryKeyConstraint("id", name="pk_events"),
    )


def _key(
    table: str, column: str, target: str, ondelete: str | None = None
) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        [column], [target], name=f"fk_{table}_{column}", ondelete=ondelete
    )


def _only_added(table: str) -> None:
    """Have the database itself refuse to change or drop a row."""
    for verb in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} "
            f"BEGIN SELECT RAISE(ABORT, 'rows of {table} are only ever added'); END"
        )


def downgrade() -> None:
    """Drop the tables."""
    for table in (
        *("events", "sessions", "accounts", "undos", "readings", "findings", "scores", "images"),
    ):
        op.drop_table(table)
