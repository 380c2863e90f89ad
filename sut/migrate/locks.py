"""How a migration waits: in front of other migrations, and for the locks of its tables.

Both are the session's, so that they hold for a whole run on either server, whatever transactions it is made of.
"""

from __future__ import annotations

import math
import re

import sqlalchemy as sa

from sut.migrate.names import Database, MigrateError

ADVISORY_LOCK = "platform.migrate"
FOR_EVER_S = 365 * 24 * 3600
"""MariaDB's GET_LOCK takes no word for it."""


def one_runner_at_a_time(connection: sa.Connection) -> None:
    """Wait until no other run migrates this database; the lock is the session's and ends with it."""
    with connection.begin():
        if connection.dialect.name == "postgresql":
            connection.execute(sa.select(sa.func.pg_advisory_lock(sa.func.hashtext(ADVISORY_LOCK))))
        else:  # the server's names are for all of its databases
            name = sa.func.concat(ADVISORY_LOCK, ".", sa.func.database())
            if connection.scalar(sa.select(sa.func.get_lock(name, FOR_EVER_S))) != 1:
                raise MigrateError("the server gave no advisory lock")


def bounds_of_lock_waits(database: Database, lock_timeout: str) -> tuple[str, ...]:
    """The statements by which a session gives up each wait for a lock after `lock_timeout`, "2s" or "500ms".

    MariaDB counts in whole seconds, from 1. Raises MigrateError for any other duration.
    """
    found = re.fullmatch(r"(\d+)(ms|s)", lock_timeout)
    if not found:
        raise MigrateError(f"MIGRATION_LOCK_TIMEOUT is {lock_timeout!r}: write it like 2s or 500ms")
    if database == "postgres":
        return (f"SET lock_timeout = '{lock_timeout}'",)
    seconds = math.ceil(int(found[1]) / (1000 if found[2] == "ms" else 1))
    waits = ("lock_wait_timeout", "innodb_lock_wait_timeout")
    return tuple(f"SET SESSION {wait} = {max(1, seconds)}" for wait in waits)
