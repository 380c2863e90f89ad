"""A rehearsal: production's data copied into staging, and the migration tried there.

The copy goes from the server's own dump program straight into its client, both as the account that migrates, into
the database platform_staging, which is emptied first.
"""

from __future__ import annotations

import logging
import subprocess
from collections.abc import Mapping
from typing import Literal

import sqlalchemy as sa

from sut.migrate.connections import engine, mariadb_client, mariadb_database
from sut.migrate.names import STAGING, Database, MigrateError
from sut.migrate.schema import upgrade

log = logging.getLogger("sut.migrate.rehearse")

Copy = Literal["full", "sanitized"]

EMPTY = {
    "postgres": ("DROP SCHEMA IF EXISTS public CASCADE", "CREATE SCHEMA public"),
    "mariadb": (f"DROP DATABASE IF EXISTS {STAGING}", f"CREATE DATABASE {STAGING} CHARACTER SET utf8mb4"),
}
SANITIZE = (
    "DELETE FROM comments WHERE NOT EXISTS (SELECT 1 FROM tasks WHERE tasks.id = comments.task_id)",
    "UPDATE comments SET body = ''",
    "UPDATE tasks SET assignee = ''",
)
"""What sanitizers commonly do to a copy: they follow references from the parent, so that a row whose parent is missing
never gets there, and overwrite columns that hold personal text in every row, with a value or without."""


def rehearse(database: Database, revision: str, copy: Copy) -> None:
    """Raises MigrateError when the copy failed, and Alembic's and the driver's own errors from the migration."""
    _empty(database)
    _copy(database)
    if copy == "sanitized":
        with engine(database, name=STAGING, program="rehearsal").begin() as connection:
            for statement in SANITIZE:
                connection.execute(sa.text(statement))
    log.info("%s has a %s copy; now %s there", STAGING, copy, revision)
    upgrade(database, revision, name=STAGING)


def _empty(database: Database) -> None:
    name = STAGING if database == "postgres" else ""
    with engine(database, name=name, program="rehearsal").begin() as connection:
        for statement in EMPTY[database]:
            connection.execute(sa.text(statement))


def _copy(database: Database) -> None:
    dump, environment = _dump(database)
    load, _ = _load(database)
    with (
        subprocess.Popen(dump, stdout=subprocess.PIPE, env=environment) as dumping,
        subprocess.Popen(load, stdin=dumping.stdout, stdout=subprocess.DEVNULL, env=environment) as loading,
    ):
        if dumping.stdout:  # the dump must notice when the client ends early
            dumping.stdout.close()
    for process, argv in ((loading, load), (dumping, dump)):
        if process.returncode:
            raise MigrateError(f"{argv[0]} ended with status {process.returncode}; there is no copy to migrate")


def _dump(database: Database) -> tuple[tuple[str, ...], Mapping[str, str] | None]:
    if database == "postgres":
        return ("pg_dump", "--no-owner", "--no-privileges"), None
    return mariadb_client("mariadb-dump", "--single-transaction", "--no-tablespaces", mariadb_database())


def _load(database: Database) -> tuple[tuple[str, ...], Mapping[str, str] | None]:
    if database == "postgres":
        return ("psql", "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", f"--dbname={STAGING}"), None
    return mariadb_client("mariadb", STAGING)
