"""A project may have an owner; nullable, so that the release before this one keeps working."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "add_project_owner"
down_revision = "0001_baseline"


def upgrade() -> None:
    op.add_column("projects", sa.Column("owner", sa.Text, nullable=True))
