"""What Alembic runs for each command: one connection, one transaction.

MIGRATION_LOCK_TIMEOUT (a PostgreSQL duration such as "2s") bounds each wait for a lock; without it the server's own
setting rules, which by default is to wait for ever.
"""

from __future__ import annotations

import os

from alembic import context
from sqlalchemy import create_engine, func, select
from sqlalchemy.pool import NullPool

engine = create_engine(
    "postgresql+psycopg://",
    connect_args={"application_name": "migrate", "connect_timeout": 5, **context.config.attributes["connection"]},
    poolclass=NullPool,
)
lock_timeout = os.environ.get("MIGRATION_LOCK_TIMEOUT")

with engine.connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        if lock_timeout:
            # `SET lock_timeout`, in the form that takes its value as a parameter
            connection.execute(select(func.set_config("lock_timeout", lock_timeout, False)))
        context.run_migrations()
