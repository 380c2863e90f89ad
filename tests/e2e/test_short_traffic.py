"""Heavy traffic of short transactions without a gap, and a migration that wants the table for itself.

On both servers whoever comes after the migration queues behind it (faults/database.py), so that it waits for the
transactions that are open when it comes and for no others: long ones keep the lock from it, many short ones do not.
"""

from __future__ import annotations

import itertools
import statistics
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from runlab import databases
from runlab.databases import Connection
from runlab.stack.processes import ProcessStack
from runlab.waiting import wait_until
from tests.e2e import fault_stacks

SESSIONS = 16
LEAST_PER_S = 200
ATTEMPTS = 10
LOOKS = 40
MARGIN_S = 0.5
"""Many transactions' length, and half of the shortest time-out that MariaDB knows."""
DEADLINE_S = 20.0

# each session's takes another time, so that they do not keep step after all of them waited for the same migration
SHORT = {
    "postgres": "SELECT id, pg_sleep(0.01 + {number} * 0.002) FROM projects LIMIT 1",
    "mariadb": "SELECT id, SLEEP(0.01 + {number} * 0.002) FROM projects LIMIT 1",
}
NOW = {
    "postgres": "DO 'BEGIN LOCK TABLE projects IN ACCESS EXCLUSIVE MODE NOWAIT; END'",
    "mariadb": "LOCK TABLES projects WRITE NOWAIT",
}
WAITS = {
    "postgres": {"1s": "SET lock_timeout = '1s'", "2s": "SET lock_timeout = '2s'", "for ever": "SET lock_timeout = 0"},
    "mariadb": {
        "1s": "SET lock_wait_timeout = 1",
        "2s": "SET lock_wait_timeout = 2",
        "for ever": "SET lock_wait_timeout = 86400",
    },
}

pytestmark = pytest.mark.parametrize("database", ["postgres", "mariadb"])


@dataclass
class Traffic:
    """When each transaction of the sessions ended, on the monotonic clock."""

    began: float
    ends: list[float] = field(default_factory=list)

    def per_s(self) -> float:
        return len(self.ends) / (time.monotonic() - self.began)

    def longest_pause_s(self, since: float) -> float:
        """The longest time without the end of a transaction."""
        ends = [since, *(end for end in self.ends if end > since)]
        return max(later - end for end, later in itertools.pairwise(ends))


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessStack]:
    """The platform's databases and nothing else of it."""
    reports = tmp_path_factory.mktemp("reports")
    yield from fault_stacks.start(reports, "postgres", "migrate", "mariadb", "migrate-mariadb")


@pytest.fixture
def traffic(stack: ProcessStack, database: str) -> Iterator[Traffic]:
    """Sessions that read one row of `projects` again and again, without a pause."""
    if database not in stack.capabilities:
        pytest.skip(f"needs {database}")
    with _traffic(stack, database) as seen:
        yield seen


@contextmanager
def _traffic(stack: ProcessStack, database: str) -> Iterator[Traffic]:
    over = threading.Event()
    seen = Traffic(time.monotonic())

    def repeat(number: int) -> None:
        with databases.connect(stack, database, account="app") as connection:
            connection.execute(WAITS[database]["for ever"])
            while not over.is_set():
                list(connection.execute(SHORT[database].format(number=number)))
                seen.ends.append(time.monotonic())

    with ThreadPoolExecutor(SESSIONS) as sessions:
        running = [sessions.submit(repeat, number) for number in range(SESSIONS)]
        try:
            wait_until("the traffic", lambda: seen.per_s() > LEAST_PER_S, deadline_s=DEADLINE_S, every_s=0.05)
            yield seen
        finally:
            over.set()
    for session in running:
        session.result()


@pytest.fixture
def migration(stack: ProcessStack, database: str, traffic: Traffic) -> Iterator[Connection]:
    with databases.connect(stack, database, account="app") as connection:
        yield connection


def is_free(connection: Connection, database: str) -> bool:
    """Whether nobody has the table at just this moment."""
    try:
        connection.execute(NOW[database])
    except databases.ERRORS as error:
        if databases.waited_for_lock(error):
            return False
        raise
    if database == "mariadb":
        connection.execute("UNLOCK TABLES")
    return True


def alter(connection: Connection) -> float:
    """Add a column and drop it again; for how many seconds the first waited and worked."""
    began = time.monotonic()
    connection.execute("ALTER TABLE projects ADD COLUMN later text")
    took = time.monotonic() - began
    connection.execute("ALTER TABLE projects DROP COLUMN later")
    return took


@pytest.mark.parametrize("waits", ["2s", "for ever"])
def test_many_short_transactions_let_a_migration_have_the_table(
    database: str, waits: str, traffic: Traffic, migration: Connection
) -> None:
    free = sum(is_free(migration, database) for _ in range(LOOKS))
    migration.execute(WAITS[database][waits])
    took = [alter(migration) for _ in range(ATTEMPTS)]
    assert free < LOOKS / 4, "there are gaps in the traffic"
    assert statistics.median(took) < MARGIN_S


def test_one_open_transaction_does_not(
    stack: ProcessStack, database: str, traffic: Traffic, migration: Connection
) -> None:
    """And then everybody who comes later waits as long as the migration does."""
    migration.execute(WAITS[database]["1s"])
    with databases.connect(stack, database, account="app") as holder:
        holder.execute("BEGIN")
        list(holder.execute("SELECT id FROM projects LIMIT 1"))
        began = time.monotonic()
        with pytest.raises(databases.ERRORS) as refused:
            alter(migration)
        wait_until("the traffic", lambda: traffic.ends[-1] > began + 1, deadline_s=DEADLINE_S, every_s=0.02)
    assert databases.waited_for_lock(refused.value)
    assert traffic.longest_pause_s(began) > MARGIN_S
