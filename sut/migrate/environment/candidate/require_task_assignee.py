"""Every task is somebody's."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "require_task_assignee"
down_revision = "0001_baseline"


def upgrade() -> None:
    op.alter_column("tasks", "assignee", existing_type=sa.Text, nullable=False)
