"""Sessions that keep a table locked: what an on-call engineer knows as "the migration hangs".

PostgreSQL grants `ALTER TABLE` its ACCESS EXCLUSIVE lock only once nobody else holds any lock on the table, not even
the ACCESS SHARE of a SELECT; and whoever comes after the waiting ALTER TABLE queues behind it (PostgreSQL manual,
section 13.3.1). MariaDB does the same with its metadata locks, which a SELECT keeps until its transaction ends (MariaDB
knowledge base, "Metadata Locking"). The faults here hold no more than a SELECT's lock.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from faults import clients
from faults.of_database import OfDatabase
from runlab import databases
from runlab.databases import Connection
from runlab.model import JsonObject, LabError, Observation, Stack, Undo
from runlab.waiting import wait_until

SESSION_DEADLINE_S = 10.0
REPORT_S = 30
"""The least that one report of heavy traffic takes: more than any lock time-out that is tried."""
_REPORTS = 20

_BY = {
    "postgres": "pg_locks and pg_stat_activity of the server, over a connection of the witness's own",
    "mariadb": "innodb_trx and processlist of the server, and a lock asked for without waiting, over a connection of"
    " the witness's own",
}
_READABLE = {
    "postgres": "SELECT 1 AS it WHERE has_table_privilege('app', to_regclass(%s), 'SELECT')",
    "mariadb": "SELECT 1 AS it FROM information_schema.tables"
    " WHERE table_schema = DATABASE() AND CONCAT('`', REPLACE(table_name, '`', '``'), '`') = %s",
}
_HOLDERS = {
    "postgres": "SELECT a.pid, l.mode, a.state FROM pg_locks l JOIN pg_stat_activity a USING (pid)"
    " WHERE a.application_name = %s AND l.granted AND l.relation = to_regclass(%s) AND ",
    # which table an open transaction has read from is told by no view of MariaDB's own
    "mariadb": "SELECT p.id AS pid, 'a metadata lock' AS mode, IF(p.command = 'Sleep', 'idle in transaction', 'active')"
    " AS state FROM information_schema.processlist p JOIN information_schema.innodb_trx ON trx_mysql_thread_id = p.id"
    " WHERE p.id = IS_USED_LOCK(%s) AND ",
}
_EVERY_S = {
    "postgres": 0.02,
    "mariadb": 0.15,  # innodb_trx is looked at anew only if nobody has read it for 0.1 s
}
_DOES = {
    "postgres": {
        "waits": "a.state = 'idle in transaction'",
        "reads": "a.state = 'active' AND a.wait_event = 'PgSleep'",
    },
    "mariadb": {"waits": "p.command = 'Sleep'", "reads": "p.state = 'User sleep'"},
}


@dataclass(frozen=True)
class LockHolder(OfDatabase):
    """Sessions of somebody's that hold a lock on `table`; subclasses say how they came to, and how many they are."""

    table: str
    database: str = "postgres"

    does: ClassVar[Literal["waits", "reads"]]
    """What each does once the fault is in effect: wait for its client, or run its statement."""

    @property
    def count(self) -> int:
        """How many sessions there are."""
        return 1

    @abstractmethod
    def script(self, table: str, number: int) -> str:
        """The SQL that the session of this number, from 0, runs; `table` is quoted."""

    def prepare(self, stack: Stack) -> Undo:  # noqa: ARG002 -- nothing of the stack is needed to name a session
        return {"clients": [clients.named("report") for _ in range(self.count)]}

    def inject(self, stack: Stack, undo: Undo) -> None:
        """LabError, with nothing started, when there is no such table or the session may not read it."""
        names = clients.names(undo)
        with databases.connect(stack, self.database) as connection:
            self._refuse_unreadable(connection)
            for number, name in enumerate(names):
                clients.start(stack, self.database, name, self.script(self._quoted, number))
            wait_until(
                f"{type(self).__name__} on {self.table}",
                lambda: len(self._holders(connection, names)) == len(names),
                deadline_s=SESSION_DEADLINE_S,
                every_s=_EVERY_S[self.database],
            )

    def revert(self, stack: Stack, undo: Undo) -> None:
        clients.end(stack, self.database, *clients.names(undo))

    def witness(self, stack: Stack, undo: Undo) -> Observation:
        with databases.connect(stack, self.database) as connection:
            holders = self._holders(connection, clients.names(undo))
            pids = [row["pid"] for row in holders]
            others = clients.others(connection, self.database, pids)
        return Observation(
            holds=bool(holders),
            by=_BY[self.database],
            detail="; ".join(f"pid {row['pid']} holds {row['mode']} on {self.table}, {row['state']}" for row in holders)
            or f"no such session holds a lock on {self.table}",
            truth={"pid": pids},
            innocents={"pid": others},
        )

    @property
    def _quoted(self) -> str:
        """The table's name as SQL has it; PostgreSQL's to_regclass takes the same."""
        return databases.quoted(self.table, self.database)

    def _refuse_unreadable(self, connection: Connection) -> None:
        """Ask the catalogue, which takes no lock: a session that is refused would only be missed at its deadline."""
        if connection.execute(_READABLE[self.database], (self._quoted,)).fetchone() is None:
            raise LabError(
                f"{self.name}: database {databases.NAME} has no table {self._quoted} that {clients.ACCOUNT} may read",
                mend="give the fault the name of one, as the catalogue has it",
            )

    def _holders(self, connection: Connection, names: Sequence[str]) -> list[JsonObject]:
        query = _HOLDERS[self.database] + _DOES[self.database][self.does]
        table = (self._quoted,) if self.database == "postgres" else ()
        found = [row for name in names for row in connection.execute(query, (name, *table))]
        if found and self.database == "mariadb" and not _is_locked(connection, self._quoted):
            return []
        return found


@dataclass(frozen=True)
class IdleInTransaction(LockHolder):
    """A session that read from `table` and then sits idle in its open transaction."""

    does = "waits"

    def script(self, table: str, number: int) -> str:  # noqa: ARG002
        return f"BEGIN;\nSELECT count(*) FROM {table};\n"


@dataclass(frozen=True)
class LongQuery(LockHolder):
    """A report over `table` whose one statement runs for ten minutes."""

    does = "reads"

    def script(self, table: str, number: int) -> str:  # noqa: ARG002
        return self.report(table, 600)

    def report(self, table: str, seconds: int) -> str:
        """One statement that reads `table` and takes so long."""
        sleep = f"pg_sleep({seconds})" if self.database == "postgres" else f"(SELECT SLEEP({seconds}))"
        return f"SELECT count(*), {sleep} FROM {table};\n"  # noqa: S608 -- quoted


@dataclass(frozen=True)
class HeavyTraffic(LongQuery):
    """As many reporting sessions at once, each running one report over `table` after the other, for ten minutes.

    A report takes 30 s and longer, each session's a second longer than the one's before.
    """

    sessions: int = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.sessions < 1:
            raise LabError(f"{self.sessions} sessions are no traffic", mend="give one or more")

    @property
    def count(self) -> int:
        return self.sessions

    def script(self, table: str, number: int) -> str:
        return self.report(table, REPORT_S + number) * _REPORTS


def _is_locked(connection: Connection, table: str) -> bool:
    """Whether somebody holds, or waits for, a metadata lock on the table; asked without waiting in its queue."""
    try:
        connection.execute(f"LOCK TABLES {table} WRITE NOWAIT")
    except databases.ERRORS as error:
        if databases.waited_for_lock(error):
            return True
        raise
    connection.execute("UNLOCK TABLES")
    return False
