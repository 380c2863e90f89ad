"""The schema as the faults look at it and change it: tables, columns, and the revision that alembic believes in."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from runlab import databases
from runlab.databases import Connection
from runlab.model import LabError, Stack
from runlab.waiting import wait_until

ALTERED_WITHIN_S = 10.0

Condition: TypeAlias = Callable[[], object]

# What waits for a table has everybody else wait behind it, so nobody here waits for long.
_BRIEFLY = {
    "postgres": "SET lock_timeout = '100ms'",
    "mariadb": "SET lock_wait_timeout = 0, innodb_lock_wait_timeout = 1",
}
_TABLES = {
    "postgres": "SELECT 1 AS it FROM information_schema.tables WHERE table_schema = CURRENT_SCHEMA AND table_name = %s",
    "mariadb": "SELECT 1 AS it FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = %s",
}
_COLUMNS = {
    "postgres": "SELECT column_name AS name, data_type AS type FROM information_schema.columns"
    " WHERE table_schema = CURRENT_SCHEMA AND table_name = %s",
    "mariadb": "SELECT column_name AS name, data_type AS type FROM information_schema.columns"
    " WHERE table_schema = DATABASE() AND table_name = %s",
}


def revision(connection: Connection) -> str:
    """The schema's revision as alembic's table has it; "" without one."""
    row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    return str(row["version_num"]) if row else ""


def has_table(connection: Connection, database: str, table: str) -> bool:
    return connection.execute(_TABLES[database], (table,)).fetchone() is not None


def columns(connection: Connection, database: str, table: str) -> list[str]:
    """The names of the table's columns; none where there is no such table."""
    return [str(row["name"]) for row in connection.execute(_COLUMNS[database], (table,))]


def required(connection: Connection, database: str, table: str) -> list[tuple[str, str]]:
    """(name, type as the server calls it) of the columns that need a value and have none by default."""
    query = f"{_COLUMNS[database]} AND is_nullable = 'NO' AND column_default IS NULL"
    return [(str(row["name"]), str(row["type"])) for row in connection.execute(query, (table,))]


def refuse_missing_table(connection: Connection, database: str, table: str, fault: str) -> None:
    """LabError when the database has no such table."""
    if not has_table(connection, database, table):
        raise LabError(
            f"{fault}: database {databases.NAME} has no table {databases.quoted(table, database)}",
            mend="give the fault the name of one, as the catalogue has it",
        )


def refuse_column(connection: Connection, database: str, table: str, column: str, fault: str) -> None:
    """LabError when the table has such a column before the fault adds it."""
    if column in columns(connection, database, table):
        raise LabError(f"{fault}: {table} has a column {column} before", mend="begin with a schema that lacks it")


def alter(stack: Stack, database: str, *statements: str) -> None:
    """Run the statements as the platform's owner, on PostgreSQL all of them or none.

    A lock that is not to be had at once is asked for again, for 10 s. LabError, in the server's words, when it refuses.
    """
    with databases.connect(stack, database, account="app", program="by-hand") as connection:
        connection.execute(_BRIEFLY[database])

        def altered() -> bool:
            connection.execute("BEGIN")
            try:
                for statement in statements:
                    connection.execute(statement)
                connection.execute("COMMIT")
            except databases.ERRORS as error:
                connection.execute("ROLLBACK")
                if databases.waited_for_lock(error):
                    return False
                raise LabError(f"{statement}: {' '.join(str(error).split())}") from None
            return True

        wait_until(f"the locks for {statements[0]}", altered, deadline_s=ALTERED_WITHIN_S, every_s=0.02)
