"""The tables that the API uses, and its pool of connections."""

from __future__ import annotations

import os

from sqlalchemy import BigInteger, Column, DateTime, Engine, MetaData, Table, Text, create_engine

projects = Table(
    "projects",
    MetaData(),
    Column("id", BigInteger, primary_key=True),
    Column("name", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("updated_at", DateTime(timezone=True), nullable=False),
)
"""What this release knows of `projects`. Columns that a later schema adds are neither read nor written."""


def make_engine() -> Engine:
    """A lazy pool: no connection is opened before the first request.

    DB_POOL_SIZE connections stay open and DB_MAX_OVERFLOW more are opened under load; a request waits for one of them
    at most DB_POOL_TIMEOUT_S seconds. A connection that the server has closed is replaced when it is next taken.
    """
    return create_engine(
        "postgresql+psycopg://",
        connect_args={"application_name": "api", "connect_timeout": 3},
        pool_size=int(os.environ.get("DB_POOL_SIZE", "5")),
        max_overflow=int(os.environ.get("DB_MAX_OVERFLOW", "5")),
        pool_timeout=float(os.environ.get("DB_POOL_TIMEOUT_S", "3")),
        pool_pre_ping=True,
    )
