"""Where the platform's databases are, as whom to go there, and by which driver and client programs.

PostgreSQL is reached with libpq's own PG* environment, MariaDB with MARIADB_HOST, MARIADB_PORT (3306),
MARIADB_DATABASE (platform), MARIADB_USER and MARIADB_PASSWORD.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.pool import NullPool

from sut.migrate.names import PLATFORM, Database, Role

CONNECT_TIMEOUT_S = 5


def engine(
    database: Database, *, name: str | None = None, role: Role | None = None, program: str = "migrate"
) -> sa.Engine:
    """An engine without a pool, to the server's database `name`; `program` is what the server calls its sessions."""
    if database == "postgres":
        given = {"dbname": name, "user": role and role.user, "password": role and role.password}
        arguments: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
        arguments |= {"application_name": program, "connect_timeout": CONNECT_TIMEOUT_S}
        return sa.create_engine("postgresql+psycopg://", connect_args=arguments, poolclass=NullPool)
    arguments = {
        "host": os.environ["MARIADB_HOST"],
        "port": mariadb_port(),
        "user": role.user if role else os.environ["MARIADB_USER"],
        "password": role.password if role else os.environ["MARIADB_PASSWORD"],
        "database": name if name is not None else mariadb_database(),
        "program_name": program,
        "connect_timeout": CONNECT_TIMEOUT_S,
        "charset": "utf8mb4",
    }
    return sa.create_engine("mariadb+pymysql://", connect_args=arguments, poolclass=NullPool)


def mariadb_port() -> int:
    """The server's TCP port."""
    return int(os.environ.get("MARIADB_PORT", "3306"))


def mariadb_database() -> str:
    """The name of production's database."""
    return os.environ.get("MARIADB_DATABASE", PLATFORM)


def mariadb_client(program: str, *arguments: str) -> tuple[tuple[str, ...], Mapping[str, str]]:
    """The argv of one of MariaDB's client programs, and the environment that holds its password."""
    argv = (program, "--no-defaults", "--protocol=tcp", f"--host={os.environ['MARIADB_HOST']}",
            f"--port={mariadb_port()}", f"--user={os.environ['MARIADB_USER']}", *arguments)  # fmt: skip
    return argv, {**os.environ, "MYSQL_PWD": os.environ["MARIADB_PASSWORD"]}
