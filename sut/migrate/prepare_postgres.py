"""Make a bare PostgreSQL server the platform's: roles, a template database with data, the database itself, staging.

May be run again: roles are kept (their passwords set anew), the databases are made afresh.
"""

from __future__ import annotations

import psycopg
from psycopg import sql

from sut.migrate.connections import engine
from sut.migrate.names import PLATFORM, STAGING, TEMPLATE, Role
from sut.migrate.schema import BASELINE, upgrade
from sut.migrate.seed import seed

ONCALL_MAY = ("pg_monitor", "pg_signal_backend")
"""What an on-call person has beside reading the platform's tables: look at the server, end other roles' sessions."""


def prepare(app: Role, oncall: Role) -> None:
    """Needs a superuser in the PG* environment."""
    with psycopg.connect(dbname="postgres", autocommit=True, application_name="prepare") as connection:
        for role in (app, oncall):
            make_role(connection, role)
        for membership in ONCALL_MAY:
            _run(connection, "GRANT {} TO {}", membership, oncall.user)
        for database in (PLATFORM, TEMPLATE, STAGING):
            _run(connection, "DROP DATABASE IF EXISTS {} WITH (FORCE)", database)
        _run(connection, "CREATE DATABASE {} OWNER {}", TEMPLATE, app.user)
        upgrade("postgres", BASELINE, name=TEMPLATE, role=app)
        fill(app, oncall)
        _run(connection, "CREATE DATABASE {} TEMPLATE {} OWNER {}", PLATFORM, TEMPLATE, app.user)
        _run(connection, "CREATE DATABASE {} OWNER {}", STAGING, app.user)


def make_role(connection: psycopg.Connection, role: Role) -> None:
    """Create the login role, or set its password. Only a hash travels: statements may end up in the server's log."""
    if not connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (role.user,)).fetchone():
        _run(connection, "CREATE ROLE {} LOGIN", role.user)
    secret = connection.pgconn.encrypt_password(role.password.encode(), role.user.encode(), b"scram-sha-256").decode()
    connection.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(role.user), sql.Literal(secret)))


def fill(app: Role, oncall: Role) -> None:
    """Fill the template, as its owner, and let on-call people read, later tables too."""
    with engine("postgres", name=TEMPLATE, role=app, program="prepare").begin() as connection:
        seed(connection)
        connection.exec_driver_sql(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {oncall.user}")
        connection.exec_driver_sql(f"ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO {oncall.user}")
        connection.exec_driver_sql("ANALYZE")


def _run(connection: psycopg.Connection, statement: str, *names: str) -> None:
    connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))
