"""Every task is somebody's; those that were nobody's are marked so first."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from sut.migrate.operations import validate

revision = "require_task_assignee"
down_revision = "0001_baseline"


def upgrade() -> None:
    op.execute("UPDATE tasks SET assignee = 'nobody' WHERE assignee IS NULL")
    # PostgreSQL takes the check's word and scans nothing under SET NOT NULL's lock
    op.create_check_constraint("tasks_assignee_check", "tasks", "assignee IS NOT NULL", postgresql_not_valid=True)
    validate("tasks", "tasks_assignee_check")
    op.alter_column("tasks", "assignee", existing_type=sa.Text, nullable=False)
    op.drop_constraint("tasks_assignee_check", "tasks", type_="check")
