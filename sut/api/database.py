"""The API's pool of connections to the database that DATABASE names."""

from __future__ import annotations

import os

from sqlalchemy import URL, Engine, create_engine


def make_engine() -> Engine:
    """A lazy pool: no connection is opened before the first is asked for.

    DATABASE is postgres (the default), whose address and account libpq takes from PG*, or mariadb, whose are
    MARIADB_HOST, MARIADB_PORT, MARIADB_DATABASE, MARIADB_USER and MARIADB_PASSWORD. DB_POOL_SIZE connections stay open
    and DB_MAX_OVERFLOW more are opened under load; a request waits for one of them at most DB_POOL_TIMEOUT_S seconds. A
    connection that the server has closed is replaced when it is next taken.
    """
    url, options = {"postgres": _postgres, "mariadb": _mariadb}[os.environ.get("DATABASE", "postgres")]()
    return create_engine(
        url,
        connect_args={"connect_timeout": 3, **options},
        pool_size=int(os.environ.get("DB_POOL_SIZE", "5")),
        max_overflow=int(os.environ.get("DB_MAX_OVERFLOW", "5")),
        pool_timeout=float(os.environ.get("DB_POOL_TIMEOUT_S", "3")),
        pool_pre_ping=True,
    )


def _postgres() -> tuple[URL, dict[str, str]]:
    return URL.create("postgresql+psycopg"), {"application_name": "api"}


def _mariadb() -> tuple[URL, dict[str, str]]:
    url = URL.create(
        "mariadb+pymysql",
        host=os.environ["MARIADB_HOST"],
        port=int(os.environ.get("MARIADB_PORT", "3306")),
        database=os.environ.get("MARIADB_DATABASE", "platform"),
        username=os.environ["MARIADB_USER"],
        password=os.environ["MARIADB_PASSWORD"],
    )
    return url, {"charset": "utf8mb4", "program_name": "api"}
