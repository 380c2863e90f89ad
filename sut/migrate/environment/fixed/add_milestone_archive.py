"""Milestones that are over are kept in a table of their own; one that is there already is taken over."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "add_milestone_archive"
down_revision = "0001_baseline"


def upgrade() -> None:
    op.create_table(
        "milestone_archive",
        sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
        sa.Column("milestone_id", sa.BigInteger, nullable=False),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("archived_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        if_not_exists=True,
    )
