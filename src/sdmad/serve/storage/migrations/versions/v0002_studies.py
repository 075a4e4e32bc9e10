"""Reader studies and their answers."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

ANSWERS = "study_answers"


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "studies",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("seed", sa.Integer(), nullable=False),
        sa.Column("images", sa.JSON(), nullable=False),
        sa.Column("categories", sa.JSON(), nullable=False),
        sa.Column("reader", sa.String(64), nullable=False),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_studies"),
    )
    op.create_table(
        ANSWERS,
        sa.Column("study_id", sa.Integer(), nullable=False),
        sa.Column("reader", sa.String(64), nullable=False),
        sa.Column("image_id", sa.Integer(), nullable=False),
        sa.Column("with_findings", sa.Boolean(), nullable=False),
        sa.Column("percent", sa.JSON(), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint(
            "study_id", "reader", "image_id", "with_findings", name=f"pk_{ANSWERS}"
        ),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"], name=f"fk_{ANSWERS}_study_id"),
        sa.ForeignKeyConstraint(["image_id"], ["images.id"], name=f"fk_{ANSWERS}_image_id"),
    )
    if op.get_bind().dialect.name == "sqlite":
        for verb in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {ANSWERS}_no_{verb.lower()} BEFORE {verb} ON {ANSWERS} "
                f"BEGIN SELECT RAISE(ABORT, 'rows of {ANSWERS} are only ever added'); END"
            )


def downgrade() -> None:
    """Drop the tables."""
    op.drop_table(ANSWERS)
    op.drop_table("studies")
