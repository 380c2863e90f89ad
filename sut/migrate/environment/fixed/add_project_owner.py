"""A project may have an owner; where somebody has added the column by hand it is left as it is."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "add_project_owner"
down_revision = "0001_baseline"


def upgrade() -> None:
    op.add_column("projects", sa.Column("owner", sa.Text, nullable=True), if_not_exists=True)
