"""runlab.databases without a server: names, quoting, and what counts as a lock that was not to be had."""

from __future__ import annotations

import psycopg
import pymysql
import pytest

from runlab import databases
from runlab.model import LabError


class Nowhere:
    """A stack on whose addresses nobody listens."""

    def host(self, service: str) -> str:
        assert service in {"postgres", "mariadb"}
        return "127.93.255.254"

    def secret(self, name: str) -> str:
        return name


@pytest.mark.parametrize("database", ["postgres", "mariadb"])
def test_an_absent_server_is_one_of_the_errors(database: str) -> None:
    with pytest.raises(databases.ERRORS):
        databases.connect(Nowhere(), database)  # type: ignore[arg-type]


@pytest.mark.parametrize("database", ["mysql", "", "Postgres"])
def test_another_database_is_one_clear_error(database: str) -> None:
    with pytest.raises(LabError) as caught:
        databases.connect(Nowhere(), database)  # type: ignore[arg-type]
    assert str(caught.value) == f"no such database: {database!r}; write postgres or mariadb"


@pytest.mark.parametrize(
    ("identifier", "postgres", "mariadb"),
    [("tasks", '"tasks"', "`tasks`"), ('a"b`c', '"a""b`c"', '`a"b``c`')],
)
def test_an_identifier_is_quoted_as_the_server_has_it(identifier: str, postgres: str, mariadb: str) -> None:
    assert databases.quoted(identifier) == postgres
    assert databases.quoted(identifier, "mariadb") == mariadb


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (psycopg.errors.LockNotAvailable("canceling statement due to lock timeout"), True),
        (psycopg.errors.QueryCanceled("canceling statement due to statement timeout"), False),
        (pymysql.err.OperationalError(1205, "no lock in time"), True),
        (pymysql.err.OperationalError(2013, "the connection was lost"), False),
        (pymysql.err.InterfaceError(), False),
        (ValueError(1205), False),
    ],
)
def test_a_lock_that_was_not_to_be_had_is_told_from_other_errors(error: Exception, *, expected: bool) -> None:
    assert databases.waited_for_lock(error) is expected
