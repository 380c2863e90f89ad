"""A project's status is called its state from now on: in one step, so code knows either the old name or the new."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "rename_project_status"
down_revision = "0001_baseline"


def upgrade() -> None:
    op.alter_column(
        "projects",
        "status",
        new_column_name="state",
        # what MariaDB forgets of a column unless it is told again
        existing_type=sa.Text(),
        existing_nullable=False,
        existing_server_default="planned",
    )
