"""What SQLite had from the first, for PostgreSQL: rows only ever added, one order of text."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

APPENDED = ("readings", "undos", "events", "study_answers")
ORDERED = (
    ("images", "name", 255),
    ("findings", "category", 255),
    ("readings", "reader", 64),
    ("study_answers", "reader", 64),
    ("accounts", "name", 64),
    ("sessions", "account", 64),
)
"""Columns that something is ordered by, or that name such a one."""

FUNCTION = "sdmad_only_added"


def upgrade() -> None:
    """Have the database refuse changes of rows, and order by code points whatever its locale."""
    if op.get_bind().dialect.name != "postgresql":
        return
    op.execute(
        f"CREATE FUNCTION {FUNCTION}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "RAISE EXCEPTION 'rows of % are only ever added', TG_TABLE_NAME; END $$"
    )
    for table in APPENDED:
        op.execute(
            f"CREATE TRIGGER {table}_only_added BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
            f"FOR EACH STATEMENT EXECUTE FUNCTION {FUNCTION}()"
        )
    for table, column, longest in ORDERED:
        op.alter_column(table, column, type_=sa.String(longest, collation="C"))


def downgrade() -> None:
    """Leave both to the database."""
    if op.get_bind().dialect.name != "postgresql":
        return
    for table in APPENDED:
        op.execute(f"DROP TRIGGER {table}_only_added ON {table}")
    op.execute(f"DROP FUNCTION {FUNCTION}()")
    for table, column, longest in ORDERED:
        op.alter_column(table, column, type_=sa.String(longest, collation="default"))
