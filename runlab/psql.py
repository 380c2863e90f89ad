"""SQL for PostgreSQL, read by its own grammar and run by psql; a runlab.sqltext.Client."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import pglast
from pglast import ast
from pglast.enums import AlterTableType, DropBehavior, ObjectType
from pglast.visitors import Ancestor, Visitor

from runlab.model import Json
from runlab.sqltext import WHOLE_NUMBER, Login, RefusedError, ensure_text, not_allowed, spliced

_KINDS = {ast.SelectStmt: "select", ast.ExplainStmt: "explain", ast.VariableShowStmt: "show"}
_WRITES = (ast.InsertStmt, ast.UpdateStmt, ast.DeleteStmt, ast.MergeStmt, ast.IntoClause, ast.LockingClause)


class _Writes(Visitor):
    """Finds what changes data, or locks rows, inside a statement that begins like a harmless one."""

    def __init__(self) -> None:
        self.found: str | None = None

    def visit(self, ancestors: Ancestor, node: ast.Node) -> None:  # noqa: ARG002 -- pglast's own signature
        if isinstance(node, _WRITES):
            self.found = type(node).__name__.removesuffix("Stmt").removesuffix("Clause").upper()


class _Columns(Visitor):
    """Finds bare column references of the wanted names, each with its offset in characters."""

    def __init__(self, wanted: Collection[str]) -> None:
        self.wanted, self.found = wanted, list[tuple[int, str]]()

    def visit_ColumnRef(self, ancestors: Ancestor, node: ast.ColumnRef) -> None:  # noqa: ARG002, N802
        fields = node.fields or ()
        if len(fields) == 1 and isinstance(fields[0], ast.String) and fields[0].sval in self.wanted:
            self.found.append((int(node.location or 0), str(fields[0].sval)))


def check(query: str, allowed: Collection[str]) -> None:
    """See Client. A statement changes no data, locks no row, and drops columns at most."""
    for statement in _parse(query):
        if _kind(statement) not in allowed:
            raise not_allowed(type(statement).__name__.removesuffix("Stmt").upper(), allowed)
        writes = _Writes()
        writes(statement)
        if writes.found:
            raise RefusedError(f"it contains {writes.found}")


def fill(query: str, values: Mapping[str, Json]) -> str:
    """See Client. `SELECT pg_terminate_backend(pid);` with {"pid": 11} gives `SELECT pg_terminate_backend(11);`."""
    columns = _Columns(values)
    for statement in _parse(query):
        columns(statement)
    places = [(at, name) for at, name in columns.found if query[at : at + len(name)].lower() == name]
    return spliced(query, places, values, _literal)


def quoted(name: str) -> str:
    return f'"{name}"'


def command(query: str, login: Login) -> tuple[Sequence[str], Mapping[str, str]]:
    """See Client. A query whose psql was killed at the time limit ends too, within half a second."""
    return ("psql", "-X", "--csv", "-c", query), {
        "PGOPTIONS": "-c client_connection_check_interval=500ms",
        "PGHOST": login.host,
        "PGDATABASE": login.database,
        "PGUSER": login.role,
        "PGPASSWORD": login.password,
        "PGAPPNAME": "operator",
        "PGCONNECT_TIMEOUT": "5",
    }


def _kind(statement: ast.Node) -> str | None:
    if isinstance(statement, ast.AlterTableStmt):
        return "alter table drop column" if _drops_columns(statement) else None
    return _KINDS.get(type(statement))


def _drops_columns(statement: ast.AlterTableStmt) -> bool:
    """Whether it drops columns of a table, without what depends on them, and does nothing else."""
    return statement.objtype == ObjectType.OBJECT_TABLE and all(
        change.subtype == AlterTableType.AT_DropColumn and change.behavior == DropBehavior.DROP_RESTRICT
        for change in statement.cmds or ()
    )


def _literal(text: str) -> str:
    """A number as it stands if it is unsigned (`- -5` would begin a comment), all else as a string constant.

    One that holds a backslash is written so that it means the same whatever standard_conforming_strings is.
    """
    if WHOLE_NUMBER.fullmatch(text):
        return text
    constant = "'" + text.replace("'", "''") + "'"
    return " E" + constant.replace("\\", "\\\\") if "\\" in text else constant


def _parse(query: str) -> list[ast.Node]:
    ensure_text(query)
    if query.lstrip().startswith("\\"):
        raise RefusedError("a meta-command of psql, not SQL")
    try:
        statements = [raw.stmt for raw in pglast.parse_sql(query) if raw.stmt is not None]
    except (pglast.parser.ParseError, RecursionError) as error:
        raise RefusedError(f"not SQL that PostgreSQL can parse: {error}") from None
    if not statements:
        raise RefusedError("no statement in it")
    return statements
