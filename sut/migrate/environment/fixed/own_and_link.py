"""A comment may have an owner, and belongs to a task that exists; those whose task is gone go first."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from sut.migrate.operations import validate

revision = "own_and_link"
down_revision = "0001_baseline"


def upgrade() -> None:
    op.execute("DELETE FROM comments WHERE NOT EXISTS (SELECT 1 FROM tasks WHERE tasks.id = comments.task_id)")
    op.add_column("comments", sa.Column("owner", sa.Text, nullable=True))
    op.create_foreign_key("comments_task_id_fkey", "comments", "tasks", ["task_id"], ["id"], postgresql_not_valid=True)
    validate("comments", "comments_task_id_fkey")
