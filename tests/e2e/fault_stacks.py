"""Servers to break in the tests of faults/: some of the platform's, none that would hide what a fault does."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psycopg
import pymysql
import pytest

from runlab import databases
from runlab.databases import Connection
from runlab.model import Fault
from runlab.setup import programs
from runlab.stack import ending, processes
from runlab.stack.namespaces import sandbox_obstacle
from runlab.stack.processes import ProcessStack

ROOT = Path(__file__).parent.parent.parent
RUN = "faults"
CLIENTS = (b"psql", b"mariadb")


def start(reports: Path, *services: str, runtime: str = "embedded") -> Iterator[ProcessStack]:
    """A stack of these services, until its end; without those of them for which this machine has no program.

    Skips the test where there can be no sandbox and it is to be one.
    """
    obstacle = sandbox_obstacle() if runtime == "sandbox" else None
    if obstacle:
        pytest.skip(obstacle)
    absent = {"toxiproxy", "toxiproxy-east"} if programs.find("toxiproxy-server") is None else set()
    running = processes.start(
        ROOT / "compose" / "compose.yaml",
        reports=reports,
        run_id=RUN,
        time_scale=1.0,
        rules=lambda text, _: text,
        services=set(services) - absent,
        runtime=runtime,
    )
    yield running
    running.stop()


def need(stack: ProcessStack, fault: Fault) -> None:
    """Skip the test where the stack lacks what the fault needs."""
    if missing := fault.needs - stack.capabilities:
        pytest.skip(f"needs {', '.join(sorted(missing))}")


def clients_running() -> int:
    """How many database clients are running below this process."""
    found = 0
    for it in ending.descendants(os.getpid()):
        with suppress(OSError):
            program = Path(f"/proc/{it.pid}/cmdline").read_bytes().partition(b"\0")[0]
            found += program.rpartition(b"/")[2] in CLIENTS
    return found


def oncall(stack: ProcessStack, database: str) -> psycopg.Connection | pymysql.Connection:
    """A connection of the person on call."""
    password = stack.secret("ONCALL_PASSWORD")
    if database == "postgres":
        host = stack.host("postgres")
        return psycopg.connect(host=host, dbname=databases.NAME, user="oncall", password=password, autocommit=True)
    return pymysql.connect(host=stack.host("mariadb"), database=databases.NAME, user="oncall", password=password)


def own_pid(connection: Connection, database: str) -> int:
    """The pid of that connection's session on the server."""
    query = "SELECT pg_backend_pid() AS pid" if database == "postgres" else "SELECT CONNECTION_ID() AS pid"
    row = connection.execute(query).fetchone()
    assert row
    return int(row["pid"])


def is_locked(connection: Connection, database: str, table: str) -> bool:
    """Whether an ALTER TABLE would have to wait; `table` is quoted."""
    # not less than a second: MariaDB's own threads have the table for a moment after each change
    brief = "SET lock_timeout = '50ms'" if database == "postgres" else "SET lock_wait_timeout = 1"
    connection.execute(brief)
    try:
        connection.execute(f"ALTER TABLE {table} ADD COLUMN later text")
    except databases.ERRORS as error:
        if databases.waited_for_lock(error):
            return True
        raise
    connection.execute(f"ALTER TABLE {table} DROP COLUMN later")
    return False
