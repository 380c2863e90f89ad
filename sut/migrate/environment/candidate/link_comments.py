"""A comment belongs to a task that exists."""

from __future__ import annotations

from alembic import op

revision = "link_comments"
down_revision = "0001_baseline"


def upgrade() -> None:
    op.create_foreign_key("comments_task_id_fkey", "comments", "tasks", ["task_id"], ["id"])
