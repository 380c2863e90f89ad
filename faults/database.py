"""Sessions that keep a table locked: what an on-call engineer knows as "the migration hangs".

PostgreSQL grants `ALTER TABLE` its ACCESS EXCLUSIVE lock only once nobody else holds any lock on the table, not even
the ACCESS SHARE of a SELECT; and whoever comes after the waiting ALTER TABLE queues behind it (PostgreSQL manual,
section 13.3.1). Both faults here hold no more than ACCESS SHARE. The sessions are psql's, as a person's would be.
"""

from __future__ import annotations

import uuid
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import LiteralString

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from runlab.model import Fault, JsonObject, LabError, Observation, Stack, Undo
from runlab.waiting import wait_until

DATABASE = "platform"
ACCOUNT = "app"
SESSION_DEADLINE_S = 10.0


def connect(stack: Stack) -> psycopg.Connection[JsonObject]:
    """A superuser's connection of our own, one statement a transaction."""
    return psycopg.connect(
        host=stack.host("postgres"),
        dbname=DATABASE,
        user="postgres",
        password=stack.secret("POSTGRES_PASSWORD"),
        application_name="lab-observer",
        connect_timeout=5,
        autocommit=True,
        row_factory=dict_row,
    )


@dataclass(frozen=True)
class LockHolder(Fault):
    """A session of somebody's that holds a lock on `table`; subclasses say how it came to."""

    table: str

    needs = frozenset({"postgres"})

    @abstractmethod
    def script(self, table: str) -> str:
        """The SQL that the session runs; `table` is quoted."""

    @abstractmethod
    def condition(self) -> LiteralString:
        """What pg_stat_activity must say of the session, as SQL, for the fault to be in effect."""

    def prepare(self, stack: Stack) -> Undo:  # noqa: ARG002 -- nothing of the stack is needed to name a session
        return {"application_name": f"report-{uuid.uuid4().hex[:8]}"}

    def inject(self, stack: Stack, undo: Undo) -> None:
        """LabError, with nothing started, when there is no such table or the session may not read it."""
        name = str(undo["application_name"])
        with connect(stack) as connection:
            self._refuse_unreadable(connection)
            stack.hold(
                name,
                ("psql", "-X", "-q", "-v", "ON_ERROR_STOP=1"),
                stdin=self.script(self._quoted),
                environment=_psql_environment(stack, name),
            )
            wait_until(
                f"{type(self).__name__} on {self.table}",
                lambda: self._holders(connection, name),
                deadline_s=SESSION_DEADLINE_S,
                every_s=0.02,
            )

    def revert(self, stack: Stack, undo: Undo) -> None:
        name = str(undo["application_name"])
        stack.release(name)
        with connect(stack) as connection:
            wait_until(
                f"the end of session {name}",
                lambda: not self._end(connection, name),
                deadline_s=SESSION_DEADLINE_S,
                every_s=0.02,
            )

    def witness(self, stack: Stack, undo: Undo) -> Observation:
        with connect(stack) as connection:
            holders = self._holders(connection, str(undo["application_name"]))
            others = connection.execute(
                "SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND pid <> ALL (%s)"
                " AND usename IS DISTINCT FROM 'oncall' ORDER BY pid",
                ([row["pid"] for row in holders],),
            ).fetchall()
        return Observation(
            holds=bool(holders),
            by="pg_locks and pg_stat_activity of the server, over a connection of the witness's own",
            detail="; ".join(f"pid {row['pid']} holds {row['mode']} on {self.table}, {row['state']}" for row in holders)
            or f"no such session holds a lock on {self.table}",
            truth={"pid": [row["pid"] for row in holders]},
            innocents={"pid": [row["pid"] for row in others]},
        )

    @property
    def _quoted(self) -> str:
        """The table's name as SQL has it; to_regclass takes the same."""
        return sql.Identifier(self.table).as_string()

    def _refuse_unreadable(self, connection: psycopg.Connection[JsonObject]) -> None:
        """Ask the catalogue, which takes no lock: a session that is refused would only be missed at its deadline."""
        query = "SELECT has_table_privilege(%s, to_regclass(%s), 'SELECT') AS readable"
        row = connection.execute(query, (ACCOUNT, self._quoted)).fetchone()
        if row is None or not row["readable"]:
            raise LabError(
                f"{self.name}: database {DATABASE} has no table {self._quoted} that {ACCOUNT} may read",
                mend="give the fault the name of one, as the catalogue has it",
            )

    def _holders(self, connection: psycopg.Connection[JsonObject], name: str) -> list[JsonObject]:
        query: LiteralString = (
            "SELECT a.pid, l.mode, a.state FROM pg_locks l JOIN pg_stat_activity a USING (pid)"
            " WHERE a.application_name = %s AND l.granted AND l.relation = to_regclass(%s) AND "
        )
        return connection.execute(query + self.condition(), (name, self._quoted)).fetchall()

    def _end(self, connection: psycopg.Connection[JsonObject], name: str) -> list[JsonObject]:
        """Terminate the session where it still is; the rows are the sessions that were still there."""
        return connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = %s", (name,)
        ).fetchall()


@dataclass(frozen=True)
class IdleInTransaction(LockHolder):
    """A session that read from `table` and then sits idle in its open transaction."""

    def script(self, table: str) -> str:
        return f"BEGIN;\nSELECT count(*) FROM {table};\n"

    def condition(self) -> LiteralString:
        return "a.state = 'idle in transaction'"


@dataclass(frozen=True)
class LongQuery(LockHolder):
    """A report over `table` whose one statement runs for ten minutes."""

    def script(self, table: str) -> str:
        return f"SELECT count(*), pg_sleep(600) FROM {table};\n"  # noqa: S608 -- quoted by psycopg.sql.Identifier

    def condition(self) -> LiteralString:
        return "a.state = 'active' AND a.wait_event = 'PgSleep'"


def _psql_environment(stack: Stack, application_name: str) -> Mapping[str, str]:
    return {
        "PGHOST": stack.host("postgres"),
        "PGDATABASE": DATABASE,
        "PGUSER": ACCOUNT,
        "PGPASSWORD": stack.secret("APP_PASSWORD"),
        "PGAPPNAME": application_name,
    }
