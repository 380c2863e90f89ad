"""Make a bare PostgreSQL server the platform's: roles, a template database with data, the database itself.

May be run again: roles are kept (their passwords set anew), both databases are made afresh.
"""

from __future__ import annotations

import os

import psycopg
from psycopg import sql

from sut.migrate.schema import BASELINE, upgrade

DATABASE, TEMPLATE = "platform", "platform_template"
PROJECTS, TASKS = 3000, 9000

ONCALL_MAY = ("pg_monitor", "pg_signal_backend")
"""What an on-call person has beside reading the platform's tables: look at the server, end other roles' sessions."""


def prepare() -> None:
    """Needs a superuser in the PG* environment, APP_PASSWORD and ONCALL_PASSWORD."""
    app_password = os.environ["APP_PASSWORD"]
    with psycopg.connect(dbname="postgres", autocommit=True, application_name="prepare") as connection:
        make_role(connection, "app", app_password)
        make_role(connection, "oncall", os.environ["ONCALL_PASSWORD"])
        for role in ONCALL_MAY:
            connection.execute(sql.SQL("GRANT {} TO oncall").format(sql.Identifier(role)))
        for database in (DATABASE, TEMPLATE):
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(database)))
        connection.execute(sql.SQL("CREATE DATABASE {} OWNER app").format(sql.Identifier(TEMPLATE)))
        upgrade(BASELINE, dbname=TEMPLATE, user="app", password=app_password)
        seed(app_password)
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER app").format(
                sql.Identifier(DATABASE), sql.Identifier(TEMPLATE)
            )
        )


def make_role(connection: psycopg.Connection, name: str, password: str) -> None:
    """Create the login role, or set its password. Only a hash travels: statements may end up in the server's log."""
    role = sql.Identifier(name)
    if not connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (name,)).fetchone():
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(role))
    secret = connection.pgconn.encrypt_password(password.encode(), name.encode(), b"scram-sha-256").decode()
    connection.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(role, sql.Literal(secret)))


def seed(app_password: str) -> None:
    """Fill the template with projects and tasks, as their owner, and let on-call people read, later tables too."""
    with psycopg.connect(dbname=TEMPLATE, user="app", password=app_password, application_name="prepare") as connection:
        connection.execute(
            "INSERT INTO projects (name, status)"
            " SELECT 'Project ' || n, (ARRAY['planned', 'active', 'done'])[1 + n %% 3]"
            " FROM generate_series(1, %s) AS n",
            (PROJECTS,),
        )
        connection.execute(
            "INSERT INTO tasks (project_id, title, done)"
            " SELECT 1 + n %% %s, 'Task ' || n, n %% 2 = 0 FROM generate_series(1, %s) AS n",
            (PROJECTS, TASKS),
        )
        connection.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO oncall")
        connection.execute("ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO oncall")
        connection.execute("ANALYZE projects, tasks")
