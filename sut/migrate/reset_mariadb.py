"""How MariaDB puts the platform's data back: a procedure that lives beside the template's tables.

A client calls it in one statement, `CALL platform_template.reset_platform()`. The database is dropped and made again,
so that nothing that a migration made or left behind outlives it.
"""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from sut.migrate.names import PLATFORM, STAGING, TEMPLATE

PROCEDURE = """
CREATE OR REPLACE PROCEDURE reset_platform() MODIFIES SQL DATA
BEGIN
    DECLARE CONTINUE HANDLER FOR 1094 BEGIN END;  -- it has gone by itself
    FOR session IN (
        SELECT id FROM information_schema.processlist
        WHERE id <> connection_id() AND (db IN ({databases}) OR user IN ({users}))
    ) DO
        KILL session.id;
    END FOR;
    SET SESSION lock_wait_timeout = 5;
    SET SESSION foreign_key_checks = 0;
    SET SESSION unique_checks = 0;
{statements}
END
"""


def reset_procedure(template: sa.Connection, users: Sequence[str]) -> str:
    """The SQL that creates it, from the tables as they are in the database of `template`.

    It ends every session of `users` and of the platform's databases before it drops anything, since any of them may
    hold a lock.
    """
    statements = [
        f"DROP DATABASE IF EXISTS {PLATFORM}",
        f"CREATE DATABASE {PLATFORM} CHARACTER SET utf8mb4",
    ]
    for table in sorted(sa.inspect(template).get_table_names()):
        _, definition = template.exec_driver_sql(f"SHOW CREATE TABLE `{table}`").one()
        statements += [
            definition.replace(f"CREATE TABLE `{table}`", f"CREATE TABLE {PLATFORM}.`{table}`", 1),
            f"INSERT INTO {PLATFORM}.`{table}` SELECT * FROM {TEMPLATE}.`{table}`",  # noqa: S608 - names of our own
        ]
    return PROCEDURE.format(
        databases=", ".join(f"'{name}'" for name in (PLATFORM, STAGING)),
        users=", ".join(f"'{name}'" for name in users),
        statements="\n".join(f"{statement};" for statement in statements),
    )
