"""Migrations that people run past the pipeline: left behind half-way, or done at the same time as the pipeline's.

Both are of PostgreSQL, where DDL is part of a transaction and so can be left open.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, get_args

from faults import clients, schema, sockets
from faults.toxiproxy import Toxic, Toxiproxy
from runlab import databases
from runlab.databases import Connection
from runlab.model import Fault, JsonObject, LabError, Observation, Stack, Undo
from runlab.waiting import wait_until

SESSION_DEADLINE_S = 10.0
WAITS_FOR_ANOTHER_S = 30
"""For how long who upgrades by hand has the table locked until somebody else wants it."""

Loss = Literal["killed", "cut off"]
"""How a migration's client was lost."""

_POSTGRES: Final = "postgres"
_HOLDERS = """
SELECT a.pid, l.mode, a.state, host(a.client_addr) AS host, a.client_port AS port
FROM pg_locks l JOIN pg_stat_activity a USING (pid)
WHERE a.application_name = %s AND l.relation = to_regclass(%s) AND l.mode = 'AccessExclusiveLock' AND l.granted"""

# Toxiproxy passes on that a client is gone, for all that its toxic `timeout` swallows; this one keeps it for an hour.
_KEEPS_THE_END = Toxic("cut", "slow_close", "upstream", attributes={"delay": 3_600_000})


@dataclass(frozen=True)
class AbandonedMigration(Fault):
    """A migration by psql that altered `table` and whose client is gone, while its session on the server goes on.

    `killed`: the client died at a long statement, and a server that is at work does not look who waits for its answer
    (PostgreSQL manual, client_connection_check_interval). `cut off`: the network lost the client between two
    statements, so that the session waits for the next one.
    """

    table: str
    client: Loss = "killed"

    def __post_init__(self) -> None:
        if self.client not in get_args(Loss):
            raise LabError(f"no such end of a client: {self.client!r}", mend="write 'killed' or 'cut off'")

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({_POSTGRES, "toxiproxy"} if self.client == "cut off" else {_POSTGRES})

    def prepare(self, stack: Stack) -> Undo:  # noqa: ARG002 -- nothing of the stack is needed for a name
        name = clients.named("migration")
        return {"clients": [name], "proxy": name if self.client == "cut off" else None}

    def inject(self, stack: Stack, undo: Undo) -> None:
        """LabError, with nothing started, when there is no such table."""
        (name,) = clients.names(undo)
        address = None
        with databases.connect(stack) as connection:
            schema.refuse_missing_table(connection, _POSTGRES, self.table, self.name)
            if undo["proxy"]:
                address = _toxiproxy(stack).create(name, upstream=f"{stack.inside(_POSTGRES)}:5432").address
            clients.start(stack, _POSTGRES, name, self._script(), address=address)
            self._await("the lock", lambda: self._holders(connection, name))
            if undo["proxy"]:
                _toxiproxy(stack).add_toxic(name, _KEEPS_THE_END)
            stack.release(name)
            self._await("the client's end", lambda: not self._has_client(stack, self._holders(connection, name), undo))

    def revert(self, stack: Stack, undo: Undo) -> None:
        try:
            if undo["proxy"]:
                _toxiproxy(stack).remove(str(undo["proxy"]))
        finally:
            clients.end(stack, _POSTGRES, *clients.names(undo))

    def witness(self, stack: Stack, undo: Undo) -> Observation:
        with databases.connect(stack) as connection:
            holders = self._holders(connection, *clients.names(undo))
            pids = [row["pid"] for row in holders]
            others = clients.others(connection, _POSTGRES, pids)
        has_client = self._has_client(stack, holders, undo) if holders else False
        client = "its client is there" if has_client else "its client is gone"
        return Observation(
            holds=bool(holders) and not has_client,
            by="pg_locks of the server, over a connection of the witness's own, and the kernel's TCP connections",
            detail="; ".join(f"pid {it['pid']} holds {it['mode']} on {self.table}, {it['state']}" for it in holders)
            + f", {client}"
            if holders
            else f"no such session holds a lock on {self.table}",
            truth={"pid": pids},
            innocents={"pid": others},
        )

    def _script(self) -> str:
        alter = f"BEGIN;\nALTER TABLE {databases.quoted(self.table)} ADD COLUMN migrated_at timestamptz;\n"
        return alter + ("SELECT pg_sleep(600);\n" if self.client == "killed" else "")

    def _holders(self, connection: Connection, name: str) -> list[JsonObject]:
        doing = " AND a.wait_event = 'PgSleep'" if self.client == "killed" else " AND a.state = 'idle in transaction'"
        return list(connection.execute(_HOLDERS + doing, (name, databases.quoted(self.table))))

    def _has_client(self, stack: Stack, holders: list[JsonObject], undo: Undo) -> bool:
        """Whether whom the session was opened for is still connected, to the server or to the fault's own proxy."""
        connections = sockets.established(stack)
        if not undo["proxy"]:
            return any(own == (row["host"], row["port"]) for own, _ in connections for row in holders)
        proxy = _toxiproxy(stack).proxies().get(str(undo["proxy"]))
        return proxy is not None and any(other == proxy.address for _, other in connections)

    def _await(self, what: str, condition: schema.Condition) -> None:
        wait_until(f"{what} of {self.name}", condition, deadline_s=SESSION_DEADLINE_S, every_s=0.02)


@dataclass(frozen=True)
class UpgradeByHand(Fault):
    """Somebody applies the SQL of the migration `revision` with psql, without the lock that migrations take.

    It adds the text column `column` to `table` and moves alembic's table on; before it commits, it waits until another
    session wants `table` for itself, as the pipeline's own attempt does, for 30 s at most.
    """

    revision: str = "add_project_owner"
    table: str = "projects"
    column: str = "owner"

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({_POSTGRES})

    def prepare(self, stack: Stack) -> Undo:
        """LabError when that has been done before."""
        with databases.connect(stack) as connection:
            schema.refuse_missing_table(connection, _POSTGRES, self.table, self.name)
            schema.refuse_column(connection, _POSTGRES, self.table, self.column, self.name)
            before = schema.revision(connection)
        if before == self.revision:
            raise LabError(f"{self.name}: the schema's revision is {before} as it is", mend="start below it")
        return {"clients": [clients.named("upgrade")], "revision": before}

    def inject(self, stack: Stack, undo: Undo) -> None:
        (name,) = clients.names(undo)
        with databases.connect(stack) as connection:
            clients.start(stack, _POSTGRES, name, self._script(name, str(undo["revision"])))
            wait_until(
                f"{self.name} to have the table",
                lambda: self._holders(connection, name) or self._is_done(connection, name),
                deadline_s=SESSION_DEADLINE_S,
                every_s=0.02,
            )

    def revert(self, stack: Stack, undo: Undo) -> None:
        """Column and revision are put back only where they are as this upgrade left them."""
        (name,) = clients.names(undo)
        clients.end(stack, _POSTGRES, name)
        with databases.connect(stack) as connection:
            done = self._is_done(connection, name)
        if done:
            drop = f"ALTER TABLE {databases.quoted(self.table)} DROP COLUMN {self._column}"
            schema.alter(stack, _POSTGRES, drop, self._moves(self.revision, str(undo["revision"])))

    def witness(self, stack: Stack, undo: Undo) -> Observation:
        (name,) = clients.names(undo)
        with databases.connect(stack) as connection:
            holders, done = self._holders(connection, name), self._is_done(connection, name)
            pids = [row["pid"] for row in holders]
            others = clients.others(connection, _POSTGRES, pids)
            revision = schema.revision(connection)
        said = [f"pid {row['pid']} holds {row['mode']} on {self.table}" for row in holders]
        if done:
            said.append(f"{self.table} has its column {self.column}")
        return Observation(
            holds=bool(holders) or done,
            by="pg_locks and the catalogue of the server, over a connection of the witness's own",
            detail=f"{', '.join(said) or 'nothing of it is there'}; the schema's revision is {revision}",
            truth={"pid": pids},
            innocents={"pid": others},
        )

    @property
    def _column(self) -> str:
        return databases.quoted(self.column)

    def _script(self, name: str, before: str) -> str:
        """The column's comment says by whom it is: the same column of another migration is none of this fault's."""
        table = databases.quoted(self.table)
        waits = (
            f"DECLARE deadline timestamptz := clock_timestamp() + interval '{WAITS_FOR_ANOTHER_S} s'; BEGIN"
            " WHILE clock_timestamp() < deadline AND NOT EXISTS (SELECT FROM pg_locks WHERE NOT granted"
            f" AND mode = 'AccessExclusiveLock' AND relation = to_regclass({_literal(table)}))"
            " LOOP PERFORM pg_sleep(0.02); END LOOP; END"
        )
        return (
            f"BEGIN;\nALTER TABLE {table} ADD COLUMN {self._column} text;\n"
            f"COMMENT ON COLUMN {table}.{self._column} IS {_literal(name)};\n"
            f"{self._moves(before, self.revision)};\nDO {_literal(waits)};\nCOMMIT;\n\\q\n"
        )

    def _moves(self, before: str, after: str) -> str:
        where = f"WHERE version_num = {_literal(before)}"
        return f"UPDATE alembic_version SET version_num = {_literal(after)} {where}"  # noqa: S608 -- quoted

    def _holders(self, connection: Connection, name: str) -> list[JsonObject]:
        return list(connection.execute(_HOLDERS, (name, databases.quoted(self.table))))

    def _is_done(self, connection: Connection, name: str) -> bool:
        """Whether it was committed, and is still as it was then."""
        ours = connection.execute(
            "SELECT 1 AS it FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attname = %s AND NOT attisdropped"
            " AND col_description(attrelid, attnum) = %s",
            (databases.quoted(self.table), self.column, name),
        ).fetchone()
        return ours is not None and schema.revision(connection) == self.revision


def _toxiproxy(stack: Stack) -> Toxiproxy:
    return Toxiproxy(stack.host("toxiproxy"), inside=stack.inside("toxiproxy"))


def _literal(text: str) -> str:
    """PostgreSQL's string constant, where a statement takes no placeholders."""
    return "'" + text.replace("'", "''") + "'"
