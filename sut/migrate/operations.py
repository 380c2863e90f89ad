"""What several revisions do, beside Alembic's own operations."""

from __future__ import annotations

from alembic import op

from sut.migrate.names import MigrateError


def only_on_postgres(revision: str) -> None:
    """For a revision whose SQL is PostgreSQL's. Raises MigrateError on any other server, before anything ran."""
    dialect = op.get_context().dialect.name
    if dialect != "postgresql":
        raise MigrateError(f"{revision} is written for PostgreSQL only, and this is {dialect}")


def validate(table: str, constraint: str) -> None:
    """Have PostgreSQL check the rows of a constraint that was added as NOT VALID, without keeping others from them.

    That takes a transaction of its own, so what the revision did before is committed. MariaDB, which checks the rows
    as it adds a constraint, has nothing to do.
    """
    if op.get_context().dialect.name == "postgresql":
        with op.get_context().autocommit_block():
            op.execute(f"ALTER TABLE {table} VALIDATE CONSTRAINT {constraint}")
