"""The platform's databases as the lab itself sees them, past everything that stands between them and the platform.

One form of connection for both servers: one statement a transaction, rows as dicts, placeholders `%s`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any, Final, Literal, Protocol, Self, TypeAlias, get_args

import psycopg
import pymysql
from psycopg.rows import dict_row
from pymysql.cursors import DictCursor

from runlab.model import JsonObject, LabError, Stack

Database: TypeAlias = Literal["postgres", "mariadb"]
"""The server product, which is also the name of its service and of its capability."""

Account: TypeAlias = Literal["superuser", "app"]

NAME: Final = "platform"
"""What the platform's database is called, on both servers."""

ERRORS: Final = (psycopg.Error, pymysql.Error)
"""What a server's refusal, or its absence, raises."""

_CONNECT_S: Final = 5
_LOCK_S: Final = 5
_MARIADB_LOCK_WAIT: Final = 1205


class Rows(Protocol):
    """The result of a statement."""

    def fetchone(self) -> JsonObject | None: ...
    def fetchall(self) -> Sequence[JsonObject]: ...
    def __iter__(self) -> Iterator[JsonObject]: ...


class Connection(Protocol):
    """A connection; as a context manager it closes itself. Whatever fails raises one of `ERRORS`."""

    def execute(self, statement: str, values: Sequence[Any] | None = None, /) -> Rows:
        """Run one statement; a literal `%` is doubled only where `values` are given."""
        ...

    def close(self) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...


def connect(
    stack: Stack,
    database: str = "postgres",
    *,
    account: Account = "superuser",
    program: str = "lab-observer",
) -> Connection:
    """A new connection to the platform's database, straight to the server, that names itself `program`.

    No statement of it waits longer than 5 s for a lock, unless it is told otherwise. LabError where there is no such
    server; one of `ERRORS` when it does not let us in within 5 s.
    """
    check(database)
    if database == "postgres":
        user, secret = ("postgres", "POSTGRES_PASSWORD") if account == "superuser" else ("app", "APP_PASSWORD")
        return psycopg.connect(
            host=stack.host("postgres"),
            dbname=NAME,
            user=user,
            password=stack.secret(secret),
            application_name=program,
            options=f"-c lock_timeout={_LOCK_S}s",
            connect_timeout=_CONNECT_S,
            autocommit=True,
            row_factory=dict_row,
        )
    user, secret = ("root", "MARIADB_ROOT_PASSWORD") if account == "superuser" else ("app", "APP_PASSWORD")
    return _MariaDB(
        pymysql.connect(
            host=stack.host("mariadb"),
            database=NAME,
            user=user,
            password=stack.secret(secret),
            program_name=program,
            init_command=f"SET lock_wait_timeout = {_LOCK_S}",
            connect_timeout=_CONNECT_S,
            autocommit=True,
            charset="utf8mb4",
            cursorclass=DictCursor,
        )
    )


def check(database: str) -> None:
    """LabError unless it is one of `Database`."""
    if database not in get_args(Database):
        raise LabError(f"no such database: {database!r}", mend=f"write {' or '.join(get_args(Database))}")


def quoted(identifier: str, database: str = "postgres") -> str:
    """The identifier as that server's SQL has it, whatever characters it holds."""
    mark = '"' if database == "postgres" else "`"
    return mark + identifier.replace(mark, 2 * mark) + mark


def waited_for_lock(error: Exception) -> bool:
    """Whether the server refused since it did not get a lock in time, or not at once where that was asked."""
    if isinstance(error, pymysql.Error):
        return bool(error.args) and error.args[0] == _MARIADB_LOCK_WAIT
    return isinstance(error, psycopg.errors.LockNotAvailable)


class _MariaDB:
    """PyMySQL's connection with psycopg's manners."""

    def __init__(self, connection: pymysql.Connection[DictCursor]) -> None:
        self._connection = connection

    def execute(self, statement: str, values: Sequence[Any] | None = None, /) -> Rows:
        cursor = self._connection.cursor()
        cursor.execute(statement, values)
        return cursor

    def close(self) -> None:
        if self._connection.open:
            self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
