"""SQL for PostgreSQL: what is let through, and what a value or a name can become in it."""

from __future__ import annotations

import pglast
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pglast import ast

from runlab.psql import check, command, fill, quoted
from runlab.sqltext import Login, RefusedError, named

HARMLESS = [
    "SELECT 1",
    "select * from pg_stat_activity where wait_event_type = 'Lock';",
    "SELECT 1; SELECT 2",
    "TABLE projects",
    "VALUES (1)",
    "WITH a AS (SELECT 1) SELECT * FROM a",
    "SELECT $tag$; DROP TABLE x $tag$",
    "SELECT 1 /* ; DROP TABLE x */ -- ; DROP TABLE x",
    "SELECT\n\tpg_terminate_backend(pid)\nFROM pg_stat_activity",
    "SELECT 'ü' || ';DROP TABLE x'",
]

HARMFUL = {
    "SELECT 1; DROP TABLE projects": "DROP is not among the statements",
    "SELECT 1 -- ;\n; DROP TABLE projects": "DROP",
    "/* SELECT 1 */ DROP TABLE projects": "DROP",
    "SELECT $a$ $a$; DROP TABLE projects": "DROP",
    "WITH gone AS (DELETE FROM projects RETURNING *) SELECT * FROM gone": "it contains DELETE",
    "WITH a AS (WITH b AS (INSERT INTO t VALUES (1) RETURNING 1) SELECT * FROM b) SELECT * FROM a": "INSERT",
    "WITH a AS (UPDATE t SET x = 1 RETURNING 1) SELECT 1": "UPDATE",
    "SELECT * INTO copy_of FROM projects": "it contains INTO",
    "SELECT * FROM projects FOR UPDATE": "it contains LOCKING",
    "DO $$ BEGIN PERFORM 1; END $$": "DO is not among",
    "COPY projects TO PROGRAM 'touch /tmp/canary'": "COPY is not among",
    "COPY (SELECT 1) TO PROGRAM 'touch /tmp/canary'": "COPY is not among",
    "COPY projects TO '/tmp/canary'": "COPY is not among",
    "CALL anything()": "CALL",
    "EXPLAIN ANALYZE DELETE FROM projects": "EXPLAIN",
    "PREPARE p AS DELETE FROM projects": "PREPARE",
    "BEGIN; SELECT 1": "TRANSACTION",
    "SET ROLE postgres; SELECT 1": "VARIABLESET",
    "ALTER TABLE projects DROP COLUMN name": "ALTERTABLE",
    "SHOW lock_timeout": "VARIABLESHOW is not among",
    "LOCK TABLE projects": "LOCK",
    "CREATE TABLE canary AS SELECT 1": "CREATETABLEAS",
    "\\! touch /tmp/canary": "a meta-command of psql",
    "  \\copy projects to program 'sh'": "a meta-command of psql",
    "SELECT 1 \\g |sh": "not SQL",
    "SELECT 1\n\\! sh": "not SQL",
    "SELECT :'x'": "not SQL",
    "SELECT :{?x}": "not SQL",
    "SELECT 1\0; DROP TABLE projects": "characters that are no text",
    "SELECT '\ud800'": "characters that are no text",
    "SELECT '\x1b]0;title'": "characters that are no text",
    "SELECT " + "1+" * 10_000 + "1": "longer than 20000 characters",
    "": "no statement",
    " ; ": "no statement",
    "identify the blocker": "not SQL",
}


@pytest.mark.parametrize("query", HARMLESS)
def test_a_query_that_only_looks_is_let_through(query: str) -> None:
    check(query, ("select",))


@pytest.mark.parametrize(("query", "why"), HARMFUL.items(), ids=[query[:60] for query in HARMFUL])
def test_everything_else_is_refused_in_words(query: str, why: str) -> None:
    with pytest.raises(RefusedError, match=why):
        check(query, ("select",))


def test_an_allowed_kind_is_allowed_only_where_it_is_listed() -> None:
    check("EXPLAIN SELECT 1", ("select", "explain"))
    with pytest.raises(RefusedError, match=r"SELECT is not among the statements that lab.toml allows \(\)"):
        check("SELECT 1", ())


DROP_COLUMN = "alter table drop column"


@pytest.mark.parametrize(
    "query",
    [
        "ALTER TABLE projects DROP COLUMN owner",
        'ALTER TABLE public."projects" DROP owner, DROP COLUMN IF EXISTS "state" RESTRICT;',
    ],
)
def test_dropping_columns_is_an_allowed_kind_of_its_own(query: str) -> None:
    check(query, (DROP_COLUMN,))
    with pytest.raises(RefusedError, match=r"ALTERTABLE is not among the statements that lab.toml allows \(select\)"):
        check(query, ("select",))


@pytest.mark.parametrize(
    "query",
    [
        "ALTER TABLE projects DROP COLUMN owner CASCADE",
        "ALTER TABLE projects DROP COLUMN owner, ADD COLUMN x int",
        "ALTER TABLE projects DROP CONSTRAINT x",
        "ALTER TABLE projects OWNER TO oncall",
        "ALTER TABLE projects DISABLE TRIGGER ALL",
        "ALTER VIEW projects RENAME TO x",
        "ALTER FOREIGN TABLE projects DROP COLUMN owner",
        "ALTER TABLE projects RENAME COLUMN owner TO x",
        "ALTER ROLE app SUPERUSER",
        "ALTER SYSTEM SET port = 1",
        "DROP TABLE projects",
        "ALTER TABLE projects DROP COLUMN owner; DROP TABLE projects",
        "SELECT 1",
    ],
)
def test_who_may_drop_columns_may_nothing_else(query: str) -> None:
    with pytest.raises(RefusedError, match=r"is not among the statements that lab.toml allows \(alter table drop"):
        check(query, (DROP_COLUMN,))


def test_a_blank_becomes_a_quoted_name() -> None:
    query = named("ALTER TABLE ... DROP COLUMN ...", ["projects", "Owner"], quoted)
    assert query == 'ALTER TABLE "projects" DROP COLUMN "Owner"'
    check(query, (DROP_COLUMN,))


def test_the_password_is_in_the_environment_alone() -> None:
    argv, environment = command("SELECT 1", Login("127.9.9.2", "platform", "oncall", "hidden", 7.0))
    assert environment["PGPASSWORD"] == "hidden"
    assert not any("hidden" in word for word in argv)


def test_what_explain_would_run_is_looked_at_too() -> None:
    for query in ("EXPLAIN ANALYZE DELETE FROM t", "EXPLAIN (ANALYZE) CREATE TABLE canary AS SELECT 1"):
        with pytest.raises(RefusedError, match="it contains"):
            check(query, ("select", "explain"))


@pytest.mark.parametrize("depth", [100, 3_000, 9_900])
def test_a_deeply_nested_query_does_not_end_the_lab(depth: int) -> None:
    query = f"SELECT {'(' * depth}pid{')' * depth}"
    check(query, ("select",))
    assert fill(query, {"pid": 11}) == query.replace("pid", "11")


def test_bare_words_are_filled_and_nothing_else() -> None:
    query = """SELECT pid, a.pid, "pid", 'pid', PID AS pid FROM pids -- pid"""
    assert fill(query, {"pid": "11"}) == """SELECT 11, a.pid, "pid", 'pid', 11 AS pid FROM pids -- pid"""
    assert fill("SELECT 'ü', pid", {"pid": 1}) == "SELECT 'ü', 1"
    assert fill("SELECT größe, pid", {"größe": "x", "pid": 1}) == "SELECT 'x', 1"


def test_a_value_without_a_place_is_refused() -> None:
    for query in ("SELECT pg_terminate_backend(12)", 'SELECT "pid"', "SELECT 'pid'"):
        with pytest.raises(RefusedError, match="it has no place for pid"):
            fill(query, {"pid": 11})


@pytest.mark.parametrize(
    ("value", "literal"),
    [
        ("11", "11"),
        (11, "11"),
        ("1); DROP TABLE projects; --", "'1); DROP TABLE projects; --'"),
        ("'; DROP TABLE projects; --", "'''; DROP TABLE projects; --'"),
        ("\\'; DROP TABLE projects; --", " E'\\\\''; DROP TABLE projects; --'"),
        ("-5", "'-5'"),
        ("--5", "'--5'"),
        ("١٢", "'١٢'"),
        ("9" * 400, f"'{'9' * 400}'"),
        ("", "''"),
        ("$$", "'$$'"),
    ],
)
def test_a_value_stays_one_literal(value: str | int, literal: str) -> None:
    assert fill("SELECT pg_terminate_backend(pid);", {"pid": value}) == f"SELECT pg_terminate_backend({literal});"


def test_a_value_behind_a_minus_does_not_become_a_comment() -> None:
    filled = fill("SELECT 1 -pid", {"pid": "-5"})
    assert filled == "SELECT 1 -'-5'"


@pytest.mark.parametrize("value", ["1\0", "\x1b[2J", "\ud800"])
def test_a_value_that_is_no_text_is_refused(value: str) -> None:
    with pytest.raises(RefusedError, match="no text"):
        fill("SELECT pg_terminate_backend(pid)", {"pid": value})


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"])))
def test_whatever_the_value_the_statement_keeps_its_shape(value: str) -> None:
    (statement,) = pglast.parse_sql(fill("SELECT f(pid), U&pid FROM t WHERE x -pid > 0", {"pid": value}))
    (call, _) = statement.stmt.targetList
    (argument,) = call.val.args
    assert isinstance(argument, ast.A_Const)
    constant = argument.val
    assert str(
        constant.ival
        if isinstance(constant, ast.Integer)
        else constant.sval
        if isinstance(constant, ast.String)
        else constant.fval
    ) in (value, value.lstrip("0") or "0")
    assert statement.stmt.whereClause is not None
