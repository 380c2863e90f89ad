"""A comment may have an owner, and belongs to a task that exists."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "own_and_link"
down_revision = "0001_baseline"


def upgrade() -> None:
    op.add_column("comments", sa.Column("owner", sa.Text, nullable=True))
    op.create_foreign_key("comments_task_id_fkey", "comments", "tasks", ["task_id"], ["id"])
