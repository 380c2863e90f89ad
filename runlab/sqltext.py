"""What a runbook's SQL is, by PostgreSQL's own grammar: which kinds of statements, and where its placeholders stand."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

import pglast
from pglast import ast
from pglast.visitors import Ancestor, Visitor

from runlab.model import Json

NO_TEXT = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
"""Characters that no text has, and that other programs may take for its end."""

_KINDS = {ast.SelectStmt: "select", ast.ExplainStmt: "explain"}
_WRITES = (ast.InsertStmt, ast.UpdateStmt, ast.DeleteStmt, ast.MergeStmt, ast.IntoClause, ast.LockingClause)
_LONGEST = 20_000
_WHOLE_NUMBER = re.compile(r"[0-9]{1,18}")


class RefusedError(Exception):
    """This command is not one that the operator may run; the message says why."""


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
    """Raise RefusedError unless every statement of `query` is of an allowed kind, changes no data and locks no row.

    What the functions that it calls may do is decided by the role's rights on the server, not here.
    """
    for statement in _parse(query):
        kind = _KINDS.get(type(statement))
        if kind not in allowed:
            name = type(statement).__name__.removesuffix("Stmt").upper()
            raise RefusedError(f"{name} is not among the statements that lab.toml allows ({', '.join(allowed)})")
        writes = _Writes()
        writes(statement)
        if writes.found:
            raise RefusedError(f"it contains {writes.found}")


def fill(query: str, values: Mapping[str, Json]) -> str:
    """Replace each bare word of `query` that names one of `values` by that value as an SQL literal.

    `SELECT pg_terminate_backend(pid);` with {"pid": 11} gives `SELECT pg_terminate_backend(11);`. Words inside
    strings, quoted names, and qualified ones such as `a.pid`, stay. A value comes from a server's output and is not
    trusted: it stays one literal. Raises RefusedError when a value's name does not occur.
    """
    columns = _Columns(values)
    for statement in _parse(query):
        columns(statement)
    places = [(at, name) for at, name in columns.found if query[at : at + len(name)].lower() == name]
    missing = sorted(set(values) - {name for _, name in places})
    if missing:
        raise RefusedError(f"it has no place for {', '.join(missing)}")
    for at, name in sorted(places, reverse=True):
        query = query[:at] + _literal(values[name]) + query[at + len(name) :]
    return query


def _literal(value: Json) -> str:
    """A number as it stands if it is unsigned (`- -5` would begin a comment), all else as a string constant.

    One that holds a backslash is written so that it means the same whatever standard_conforming_strings is.
    """
    text = str(value)
    if NO_TEXT.search(text):
        raise RefusedError("a value for it holds characters that are no text")
    if _WHOLE_NUMBER.fullmatch(text):
        return text
    quoted = "'" + text.replace("'", "''") + "'"
    return " E" + quoted.replace("\\", "\\\\") if "\\" in text else quoted


def _parse(query: str) -> list[ast.Node]:
    if len(query) > _LONGEST:
        raise RefusedError(f"it is longer than {_LONGEST} characters")
    if NO_TEXT.search(query):
        raise RefusedError("it holds characters that are no text")
    if query.lstrip().startswith("\\"):
        raise RefusedError("a meta-command of psql, not SQL")
    try:
        statements = [raw.stmt for raw in pglast.parse_sql(query) if raw.stmt is not None]
    except (pglast.parser.ParseError, RecursionError) as error:
        raise RefusedError(f"not SQL that PostgreSQL can parse: {error}") from None
    if not statements:
        raise RefusedError("no statement in it")
    return statements
