"""Nobody uses a project's status any more: its state stays."""

from __future__ import annotations

from alembic import op

from sut.migrate.operations import only_on_postgres

revision = "contract_project_status"
down_revision = "expand_project_status"


def upgrade() -> None:
    only_on_postgres(revision)
    op.execute("DROP TRIGGER projects_status_in_step ON projects")
    op.execute("DROP FUNCTION projects_keep_status_in_step()")
    op.alter_column("projects", "state", nullable=False, server_default="planned")
    op.drop_column("projects", "status")
