"""A schema that is not what its revision says: somebody changed it by hand, or an earlier attempt left something.

What is there belongs to the fault for as long as alembic's table says what it said before; once a migration has moved
it, what it found there is the migration's.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

from faults import schema
from faults.of_database import OfDatabase
from runlab import databases
from runlab.databases import Connection
from runlab.model import LabError, Observation, Stack, Undo


class Drift(OfDatabase):
    """Something that the schema has and its revision knows nothing of; subclasses say what."""

    table: str
    database: str

    @property
    @abstractmethod
    def what(self) -> tuple[str, str]:
        """What is there, as one value of a fact: its kind, e.g. "column", and its name."""

    @abstractmethod
    def statements(self) -> tuple[str, str]:
        """The SQL that makes it and the SQL that drops it."""

    @abstractmethod
    def is_there(self, connection: Connection) -> bool:
        """Whether the schema has it, as the catalogue says."""

    def prepare(self, stack: Stack) -> Undo:
        """LabError when it is there before."""
        with databases.connect(stack, self.database) as connection:
            self.refuse(connection)
            if self.is_there(connection):
                raise LabError(
                    f"{self.name}: {' '.join(self.what)} is there before", mend="begin with a schema without"
                )
            return {"revision": schema.revision(connection)}

    def inject(self, stack: Stack, undo: Undo) -> None:  # noqa: ARG002
        schema.alter(stack, self.database, self.statements()[0])

    def revert(self, stack: Stack, undo: Undo) -> None:
        if self.witness(stack, undo).holds:
            schema.alter(stack, self.database, self.statements()[1])

    def witness(self, stack: Stack, undo: Undo) -> Observation:
        kind, name = self.what
        with databases.connect(stack, self.database) as connection:
            there, revision = self.is_there(connection), schema.revision(connection)
        return Observation(
            holds=there and revision == undo["revision"],
            by="the catalogue and alembic's table, over a connection of the witness's own",
            detail=f"{kind} {name} is{'' if there else ' not'} there; the schema's revision is {revision}",
            truth={kind: [name] if there else []},
        )

    def refuse(self, connection: Connection) -> None:
        """LabError for what it can't be made in."""

    @property
    def quoted(self) -> str:
        return databases.quoted(self.table, self.database)


@dataclass(frozen=True)
class ColumnAddedByHand(Drift):
    """A text column of `table` that somebody added with a client of their own."""

    table: str = "projects"
    column: str = "owner"
    database: str = "postgres"

    @property
    def what(self) -> tuple[str, str]:
        return "column", self.column

    def statements(self) -> tuple[str, str]:
        column = databases.quoted(self.column, self.database)
        drop = f"ALTER TABLE {self.quoted} DROP COLUMN IF EXISTS {column}"
        return f"ALTER TABLE {self.quoted} ADD COLUMN {column} TEXT", drop

    def is_there(self, connection: Connection) -> bool:
        return self.column in schema.columns(connection, self.database, self.table)

    def refuse(self, connection: Connection) -> None:
        schema.refuse_missing_table(connection, self.database, self.table, self.name)


@dataclass(frozen=True)
class TableLeftBehind(Drift):
    """A table that an attempt which was given up has left."""

    table: str = "milestone_archive"
    database: str = "postgres"

    @property
    def what(self) -> tuple[str, str]:
        return "table", self.table

    def statements(self) -> tuple[str, str]:
        columns = "id BIGINT PRIMARY KEY, title TEXT NOT NULL"
        return f"CREATE TABLE {self.quoted} ({columns})", f"DROP TABLE IF EXISTS {self.quoted}"

    def is_there(self, connection: Connection) -> bool:
        return schema.has_table(connection, self.database, self.table)
