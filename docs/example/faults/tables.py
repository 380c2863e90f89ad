"""Tables that people get hold of: what an on-call engineer knows as "everything hangs, and nothing is down"."""

from __future__ import annotations

from dataclasses import dataclass

from runlab.databases import NAME, connect, quoted
from runlab.model import Fault, JsonObject, Observation, Stack, Undo
from runlab.waiting import wait_until

DEADLINE_S = 10.0


@dataclass(frozen=True)
class LeftOpen(Fault):
    """Somebody adds a column to `table` by hand and does not say COMMIT.

    ALTER TABLE takes an ACCESS EXCLUSIVE lock, which lasts until the transaction ends (PostgreSQL manual, section
    13.3.1). `idle_limit_s` is the idle_in_transaction_session_timeout of the session's role; 0 is none.
    """

    table: str
    idle_limit_s: float = 0.0

    needs = frozenset({"postgres"})

    def prepare(self, stack: Stack) -> Undo:
        """What the session will be called: all that `revert` and `witness` have to know."""
        return {"application_name": f"by-hand-{stack.run_id}"}

    def inject(self, stack: Stack, undo: Undo) -> None:
        name = str(undo["application_name"])
        stack.hold(
            name,
            ("psql", "-X", "-q", "-v", "ON_ERROR_STOP=1"),
            stdin=f"BEGIN;\nALTER TABLE {quoted(self.table)} ADD COLUMN note text;\n",
            environment={
                "PGHOST": stack.inside("postgres"),
                "PGDATABASE": NAME,
                "PGUSER": "app",
                "PGPASSWORD": stack.secret("APP_PASSWORD"),
                "PGAPPNAME": name,
                "PGOPTIONS": f"-c idle_in_transaction_session_timeout={self.idle_limit_s * 1000:.0f}",
            },
        )
        wait_until(self.name, lambda: self._holders(stack, name), deadline_s=DEADLINE_S)

    def revert(self, stack: Stack, undo: Undo) -> None:
        """From the undo alone, in any process, and again and again: it must also mend half of an injection."""
        name = str(undo["application_name"])
        stack.release(name)
        with connect(stack) as database:
            database.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = %s", (name,)
            )

    def witness(self, stack: Stack, undo: Undo) -> Observation:
        """Asks the server's lock table, which knows nothing of how the lock came about."""
        holders = self._holders(stack, str(undo["application_name"]))
        with connect(stack) as database:
            sessions = database.execute("SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend'")
            others = {row["pid"] for row in sessions} - {row["pid"] for row in holders}
        return Observation(
            holds=bool(holders),
            by="pg_locks, over a connection of the witness's own",
            detail=f"{len(holders)} such session holds an ACCESS EXCLUSIVE lock on {self.table}",
            truth={"pid": [row["pid"] for row in holders]},
            innocents={"pid": sorted(others)},
        )

    def _holders(self, stack: Stack, name: str) -> list[JsonObject]:
        with connect(stack) as database:
            return list(
                database.execute(
                    "SELECT a.pid FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE a.application_name = %s"
                    " AND l.granted AND l.mode = 'AccessExclusiveLock' AND l.relation = to_regclass(%s)",
                    (name, quoted(self.table)),
                )
            )
