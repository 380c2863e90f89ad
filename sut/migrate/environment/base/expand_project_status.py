"""A project's status can be called its state, too: both columns are there, and a trigger keeps them in step.

So code that knows only one of the two names reads and writes alike. `state` has no default: that is how the trigger
sees which of the two an INSERT named.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from sut.migrate.operations import only_on_postgres

revision = "expand_project_status"
down_revision = "0001_baseline"

FUNCTION = """
CREATE FUNCTION projects_keep_status_in_step() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        IF NEW.state IS NULL THEN NEW.state := NEW.status; ELSE NEW.status := NEW.state; END IF;
    ELSIF NEW.state IS DISTINCT FROM OLD.state THEN
        NEW.status := NEW.state;
    ELSE
        NEW.state := NEW.status;
    END IF;
    RETURN NEW;
END
$$
"""
TRIGGER = """
CREATE TRIGGER projects_status_in_step BEFORE INSERT OR UPDATE ON projects
FOR EACH ROW EXECUTE FUNCTION projects_keep_status_in_step()
"""


def upgrade() -> None:
    only_on_postgres(revision)
    op.add_column("projects", sa.Column("state", sa.Text, nullable=True))
    op.execute(FUNCTION)
    op.execute(TRIGGER)
    op.execute("UPDATE projects SET state = status")
