"""A person's own client at a database: psql or mariadb, kept by the stack's keeper, and its session on the server.

Each goes by a name that it brings to the server, so that anybody finds its session again: PostgreSQL shows it as
`application_name`; on MariaDB, which shows nothing of an idle session, it holds a user-level lock of that name.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from runlab import databases
from runlab.databases import Connection
from runlab.model import JsonObject, Stack, Undo
from runlab.waiting import wait_until

ACCOUNT = "app"
END_WITHIN_S = 10.0

_OF_NAME = {
    "postgres": "SELECT pid FROM pg_stat_activity WHERE application_name = %s",
    "mariadb": "SELECT id AS pid FROM information_schema.processlist WHERE id = IS_USED_LOCK(%s)",
}
_TERMINATE = {"postgres": "SELECT pg_terminate_backend(%s)", "mariadb": "KILL CONNECTION %s"}
_NO_SUCH_THREAD = 1094
_OTHERS = {
    "postgres": "SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND usename IS DISTINCT FROM 'oncall'",
    "mariadb": "SELECT id AS pid FROM information_schema.processlist"
    " WHERE id <> CONNECTION_ID() AND user NOT IN ('oncall', 'system user', 'event_scheduler')",
}


def named(what: str) -> str:
    """A name for a client that no other has, e.g. report-1a2b3c4d."""
    return f"{what}-{uuid.uuid4().hex[:8]}"


def names(undo: Undo) -> list[str]:
    """The names that `prepare` wrote under `clients`."""
    found = undo["clients"]
    assert isinstance(found, list)
    return [str(name) for name in found]


def start(stack: Stack, database: str, name: str, script: str, *, address: tuple[str, int] | None = None) -> None:
    """Start the client, have it run `script` as the platform's owner, and keep it, waiting for more.

    It goes straight to the server, or to `address` where one is given. Returns at once; it ends at the first statement
    that fails.
    """
    host, port = address or (stack.inside(database), 5432 if database == "postgres" else 3306)
    password = stack.secret("APP_PASSWORD")
    if database == "postgres":
        argv = ["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1"]
        environment = {
            "PGHOST": host,
            "PGPORT": str(port),
            "PGDATABASE": databases.NAME,
            "PGUSER": ACCOUNT,
            "PGPASSWORD": password,
            "PGAPPNAME": name,
        }
    else:
        argv = ["mariadb", "--no-defaults", f"--host={host}", f"--port={port}", f"--user={ACCOUNT}", databases.NAME]
        environment = {"MYSQL_PWD": password}
        script = f"SELECT GET_LOCK('{name}', 0);\n{script}"
    stack.hold(name, argv, stdin=script, environment=environment)


def session(connection: Connection, database: str, name: str) -> JsonObject | None:
    """The server's session of that client, as {"pid": number}; None when it has none."""
    return connection.execute(_OF_NAME[database], (name,)).fetchone()


def others(connection: Connection, database: str, pids: Sequence[int]) -> list[int]:
    """The pids of all other sessions on the server but for ours and those of people on call."""
    found = sorted(row["pid"] for row in connection.execute(_OTHERS[database]))
    return [pid for pid in found if pid not in pids]


def end(stack: Stack, database: str, *names: str) -> None:
    """End these clients, and on the server their sessions; returns once no session is left. Idempotent."""
    for name in names:
        stack.release(name)
    with databases.connect(stack, database) as connection:

        def gone() -> bool:
            left = [found["pid"] for name in names if (found := session(connection, database, name))]
            for pid in left:
                _terminate(connection, database, pid)
            return not left

        wait_until(f"the end of {', '.join(names)}", gone, deadline_s=END_WITHIN_S, every_s=0.02)


def _terminate(connection: Connection, database: str, pid: int) -> None:
    try:
        connection.execute(_TERMINATE[database], (pid,))
    except databases.ERRORS as error:
        if error.args[:1] != (_NO_SUCH_THREAD,):  # else it ended by itself meanwhile
            raise
