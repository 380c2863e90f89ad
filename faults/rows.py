"""Data that a migration did not expect: rows where it thought of none, missing values, references to nothing.

All rows are made by the fault, with ids of its own far above those in use, so that undoing is to delete just these.
"""

from __future__ import annotations

import random
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from faults import schema
from faults.of_database import OfDatabase
from runlab import databases
from runlab.databases import Connection
from runlab.model import Json, LabError, Observation, Stack, Undo

FAR = 1_000_000
"""The least distance of an id made up here from the highest in use."""

_TEXT = "left as it came"
_FITS: dict[str, Json] = {
    "text": _TEXT,
    "character varying": _TEXT,
    "varchar": _TEXT,
    "longtext": _TEXT,
    "integer": 0,
    "int": 0,
    "bigint": 0,
    "boolean": False,
    "tinyint": 0,
    "date": "2000-01-01",
}
_PARENTS = {
    "postgres": "SELECT a.attname AS name, parent.relname AS parent FROM pg_constraint c"
    " JOIN pg_class child ON child.oid = c.conrelid JOIN pg_class parent ON parent.oid = c.confrelid"
    " JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = c.conkey[1]"
    " WHERE c.contype = 'f' AND child.relname = %s",
    "mariadb": "SELECT column_name AS name, referenced_table_name AS parent FROM information_schema.key_column_usage"
    " WHERE table_schema = DATABASE() AND table_name = %s AND referenced_table_name IS NOT NULL",
}


class MadeRows(OfDatabase):
    """So many `rows` of somebody's in `table`, whose key is `id`; subclasses say what is wrong with each."""

    table: str
    rows: int
    database: str

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rows < 1:
            raise LabError(f"{self.rows} rows are no fault", mend="give one or more")

    @abstractmethod
    def flaws(self, connection: Connection) -> Sequence[dict[str, Json]]:
        """For each row, the values of the columns that are wrong with it."""

    @abstractmethod
    def is_flawed(self) -> str:
        """What holds of a row that is still so, as SQL over the table's columns."""

    @property
    def columns(self) -> frozenset[str]:
        """The columns of `table` that `is_flawed` speaks of."""
        return frozenset()

    def prepare(self, stack: Stack) -> Undo:
        """Makes the rows up, whole. LabError for a table that is not there, or that needs a value nobody can guess."""
        with databases.connect(stack, self.database) as connection:
            self._refuse_missing(connection)
            plain = self._plain(connection)
            ids, flaws = self.far(connection, self.table), self.flaws(connection)
        rows = [plain | flaw | {"id": made} for made, flaw in zip(ids, flaws, strict=True)]
        return {"columns": list(rows[0]), "rows": [list(row.values()) for row in rows]}

    def inject(self, stack: Stack, undo: Undo) -> None:
        """LabError, in the server's words and with no row made, when the table takes no such rows."""
        columns, rows = undo["columns"], undo["rows"]
        assert isinstance(columns, list)
        assert isinstance(rows, list)
        names = ", ".join(self.quoted(str(name)) for name in columns)
        one = f"({', '.join(['%s'] * len(columns))})"
        statement = f"INSERT INTO {self.quoted(self.table)} ({names}) VALUES {', '.join([one] * len(rows))}"  # noqa: S608
        values = [value for row in rows for value in row]  # type: ignore[union-attr]
        with databases.connect(stack, self.database, account="app", program="import") as connection:
            try:
                connection.execute(statement, values)
            except databases.ERRORS as error:
                raise LabError(f"{self.name}: {' '.join(str(error).split())}") from None

    def revert(self, stack: Stack, undo: Undo) -> None:
        with databases.connect(stack, self.database) as connection:
            there = schema.columns(connection, self.database, self.table)
        if there:
            schema.alter(stack, self.database, f"DELETE FROM {self.quoted(self.table)} {self._made(undo)}")  # noqa: S608

    def witness(self, stack: Stack, undo: Undo) -> Observation:
        with databases.connect(stack, self.database) as connection:
            there = schema.columns(connection, self.database, self.table)
            left = []
            if there and self.columns <= set(there):
                query = f"SELECT id FROM {self.quoted(self.table)} {self._made(undo)} AND {self.is_flawed()}"  # noqa: S608
                left = sorted(row["id"] for row in connection.execute(f"{query} ORDER BY id"))
        return Observation(
            holds=bool(left),
            by="the table's rows, over a connection of the witness's own",
            detail=f"{len(left)} of {self.rows} rows are there and as they were made",
            truth={"id": left},
        )

    def quoted(self, identifier: str) -> str:
        return databases.quoted(identifier, self.database)

    def far(self, connection: Connection, table: str) -> list[int]:
        """As many ids as there are rows, that no row of `table` has and none will get in an arm's time."""
        query = f"SELECT COALESCE(MAX(id), 0) AS highest FROM {self.quoted(table)}"  # noqa: S608
        highest = next(iter(connection.execute(query)))["highest"]
        first = highest + FAR + random.randrange(1000) * FAR
        return list(range(first, first + self.rows))

    def _made(self, undo: Undo) -> str:
        columns, rows = undo["columns"], undo["rows"]
        assert isinstance(columns, list)
        assert isinstance(rows, list)
        place = columns.index("id")
        return f"WHERE id IN ({', '.join(str(int(row[place])) for row in rows)})"  # type: ignore[index, arg-type]

    def _refuse_missing(self, connection: Connection) -> None:
        schema.refuse_missing_table(connection, self.database, self.table, self.name)
        missing = self.columns - set(schema.columns(connection, self.database, self.table))
        if missing:
            raise LabError(
                f"{self.name}: {self.table} has no column {', '.join(sorted(missing))}", mend="name one it has"
            )

    def _plain(self, connection: Connection) -> dict[str, Json]:
        """A value for each column that must have one: for a reference any row's id, else what fits the type."""
        parents = {row["name"]: row["parent"] for row in connection.execute(_PARENTS[self.database], (self.table,))}
        plain: dict[str, Json] = {}
        for name, kind in schema.required(connection, self.database, self.table):
            if name == "id":
                continue
            if name in parents:
                query = f"SELECT MIN(id) AS any_id FROM {self.quoted(parents[name])}"  # noqa: S608
                plain[name] = next(iter(connection.execute(query)))["any_id"]
            elif kind in _FITS:
                plain[name] = _FITS[kind]
            else:
                raise LabError(f"{self.name}: no value is known for {self.table}.{name}, {kind}", mend="add one here")
        return plain


@dataclass(frozen=True)
class RowsInTable(MadeRows):
    """Rows in a table that a migration took for empty."""

    table: str = "milestones"
    rows: int = 20
    database: str = "postgres"

    def flaws(self, connection: Connection) -> list[dict[str, Json]]:  # noqa: ARG002
        return [{} for _ in range(self.rows)]

    def is_flawed(self) -> str:
        return "1 = 1"


@dataclass(frozen=True)
class NullValues(MadeRows):
    """Rows without a value in `column`, which a migration took for filled throughout."""

    table: str = "tasks"
    column: str = "assignee"
    rows: int = 20
    database: str = "postgres"

    @property
    def columns(self) -> frozenset[str]:
        return frozenset({self.column})

    def flaws(self, connection: Connection) -> list[dict[str, Json]]:  # noqa: ARG002
        return [{self.column: None} for _ in range(self.rows)]

    def is_flawed(self) -> str:
        return f"{self.quoted(self.column)} IS NULL"


@dataclass(frozen=True)
class OrphanRows(MadeRows):
    """Rows whose `column` holds the id of no row of `parent`, which nothing has hindered so far."""

    table: str = "comments"
    column: str = "task_id"
    parent: str = "tasks"
    rows: int = 20
    database: str = "postgres"

    @property
    def columns(self) -> frozenset[str]:
        return frozenset({self.column})

    def flaws(self, connection: Connection) -> list[dict[str, Json]]:
        schema.refuse_missing_table(connection, self.database, self.parent, self.name)
        return [{self.column: nowhere} for nowhere in self.far(connection, self.parent)]

    def is_flawed(self) -> str:
        column = f"{self.quoted(self.table)}.{self.quoted(self.column)}"
        return f"NOT EXISTS (SELECT 1 FROM {self.quoted(self.parent)} AS parent WHERE parent.id = {column})"  # noqa: S608
