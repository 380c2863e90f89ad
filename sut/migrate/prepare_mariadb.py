"""Make a bare MariaDB server the platform's: accounts, a template database with data, the database itself, staging.

May be run again: accounts and databases are made afresh.
"""

from __future__ import annotations

import sqlalchemy as sa

from sut.migrate.connections import engine
from sut.migrate.names import PLATFORM, STAGING, TEMPLATE, Role
from sut.migrate.reset_mariadb import reset_procedure
from sut.migrate.schema import BASELINE, upgrade
from sut.migrate.seed import seed

ACCOUNTS = "CREATE OR REPLACE USER {}@'%%' IDENTIFIED BY %s"
CHARSET = "CHARACTER SET utf8mb4"
ONCALL_MAY = ("PROCESS, CONNECTION ADMIN ON *.*", f"SELECT ON {PLATFORM}.*")
"""Look at the server, end other accounts' sessions, read the platform's tables."""


def prepare(app: Role, oncall: Role) -> None:
    """Needs an account that may do all in MARIADB_USER."""
    with engine("mariadb", name="", program="prepare").connect() as connection:
        for database in (PLATFORM, TEMPLATE, STAGING):
            _run(connection, f"DROP DATABASE IF EXISTS {database}")
        for database in (TEMPLATE, STAGING):
            _run(connection, f"CREATE DATABASE {database} {CHARSET}")
        for role in (app, oncall):
            connection.exec_driver_sql(ACCOUNTS.format(role.user), (role.password,))
        for database in (PLATFORM, STAGING):
            _run(connection, f"GRANT ALL ON {database}.* TO {app.user}@'%'")
        for privilege in ONCALL_MAY:
            _run(connection, f"GRANT {privilege} TO {oncall.user}@'%'")
        upgrade("mariadb", BASELINE, name=TEMPLATE)
        with engine("mariadb", name=TEMPLATE, program="prepare").begin() as template:
            seed(template)
            _run(template, reset_procedure(template, (app.user, oncall.user)))
            _run(template, "CALL reset_platform()")


def _run(connection: sa.Connection, statement: str) -> None:
    connection.execute(sa.text(statement.replace(":", r"\:")))
