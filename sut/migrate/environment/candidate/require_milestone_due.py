"""Every milestone is due on some day."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "require_milestone_due"
down_revision = "0001_baseline"


def upgrade() -> None:
    op.add_column("milestones", sa.Column("due", sa.Date, nullable=False))
