"""What Alembic runs for each command: one connection, migrations one after the other.

MIGRATION_LOCK_TIMEOUT (such as "2s" or "500ms") bounds each wait for a lock that a migration needs; without it the
server's own setting rules. MIGRATION_ADVISORY_LOCK=off lets several runners migrate at once.
"""

from __future__ import annotations

import os

from alembic import context

from sut.migrate.connections import engine
from sut.migrate.locks import bounds_of_lock_waits, one_runner_at_a_time

DIALECTS = {"postgres": "postgresql", "mariadb": "mariadb"}

given = context.config.attributes
lock_timeout = os.environ.get("MIGRATION_LOCK_TIMEOUT")
bounds = bounds_of_lock_waits(given["database"], lock_timeout) if lock_timeout else ()

if context.is_offline_mode():
    context.configure(dialect_name=DIALECTS[given["database"]], literal_binds=True)
    for statement in bounds:
        context.execute(statement)
    with context.begin_transaction():
        context.run_migrations()
else:
    with engine(given["database"], name=given["name"], role=given["role"]).connect() as connection:
        if os.environ.get("MIGRATION_ADVISORY_LOCK") != "off":
            one_runner_at_a_time(connection)
        with connection.begin():
            for statement in bounds:
                connection.exec_driver_sql(statement)
        context.configure(connection=connection)
        with context.begin_transaction():
            context.run_migrations()
