"""SQL for MariaDB: what is let through, and what a value or a name can become in it."""

from __future__ import annotations

import pytest
import sqlglot
from hypothesis import given
from hypothesis import strategies as st
from sqlglot import exp

from runlab.mariadb import check, command, fill, quoted
from runlab.sqltext import Login, RefusedError, named

LOOKS = ("select", "explain", "show", "kill")
DROP_COLUMN = "alter table drop column"

HARMLESS = [
    "SELECT 1",
    "select id from information_schema.processlist where time > 1 and command <> 'Sleep' order by time desc;",
    "SELECT 1; SELECT 2;",
    "(SELECT 1) UNION ALL (SELECT 2) LIMIT 1",
    "WITH a AS (SELECT 1) SELECT * FROM a",
    "SELECT 'into', \"load_file\", '/*! */', '-- #', ';DROP TABLE x', 'ü', N'x', x'00' FROM t",
    "SELECT trx_id\nFROM information_schema.innodb_trx\tWHERE TIMESTAMPDIFF(SECOND, trx_started, NOW()) > 1",
    "SELECT 1--1",
    "SHOW PROCESSLIST",
    "SHOW FULL PROCESSLIST",
    "SHOW ENGINE INNODB STATUS",
    "SHOW CREATE TABLE projects",
    "SHOW COLUMNS FROM projects",
    "EXPLAIN SELECT 1",
    "DESCRIBE projects",
    "KILL 5",
    "KILL 5;",
    "KILL CONNECTION 5; KILL QUERY 6",
    "kill pid",
    "KILL QUERY pid;",
]
HARMFUL = {
    "SELECT 1; DROP TABLE projects": "DROP is not among the statements that lab.toml allows",
    "DROP TABLE projects": "DROP is not among",
    "SET PASSWORD = 'x'": "SET is not among",
    "SET @x = 1": "SET is not among",
    "PREPARE p FROM 'DROP TABLE x'": "PREPARE is not among",
    "EXECUTE IMMEDIATE 'DROP TABLE x'": "EXECUTE is not among",
    "CALL p()": "CALL is not among",
    "LOCK TABLES t WRITE": "LOCK TABLES is not among",
    "SHOW EXPLAIN FOR 5": "SHOW is not among",
    "COPY t FROM 'x'": "COPY is not among",
    "ANALYZE TABLE t": "ANALYZE is not among",
    "USE mysql": "USE is not among",
    "ALTER TABLE t DROP COLUMN c": "ALTER is not among",
    "ALTER IGNORE TABLE t DROP COLUMN c": "ALTER is not among",
    "UPDATE t SET x = 1": "UPDATE is not among",
    "WITH a AS (SELECT 1) DELETE FROM t": "DELETE is not among",
    "HANDLER t OPEN": "not SQL that could be parsed",
    "DO SLEEP(1)": "not SQL that could be parsed",
    "BEGIN NOT ATOMIC DROP TABLE x; END": "not SQL that could be parsed",
    "LOAD DATA INFILE 'x' REPLACE TABLE t": "not SQL that could be parsed",
    "SELECT 1 PROCEDURE ANALYSE()": "not SQL that could be parsed",
    "SELECT 1 LOCK IN SHARE MODE": "not SQL that could be parsed",
    "SELECT * FROM t FOR UPDATE": "it contains LOCK",
    "SELECT * FROM (SELECT * FROM t FOR UPDATE) AS x": "it contains LOCK",
    "EXPLAIN DELETE FROM t": "it contains DELETE",
    "INSERT INTO t VALUES (1)": "INSERT is not among",
    "EXPLAIN INSERT INTO t VALUES (1)": "it contains INSERT",
    "SELECT 1 INTO OUTFILE '/tmp/canary'": "not SQL that could be parsed",
    "SELECT a FROM t INTO DUMPFILE '/tmp/canary'": "not SQL that could be parsed",
    "SELECT 1 into @x": "it contains INTO",
    "SELECT * INTO x FROM t": "it contains INTO",
    "SELECT LOAD_FILE('/etc/passwd')": "it contains LOAD_FILE",
    "SELECT `load_file`('/etc/passwd')": "it contains LOAD_FILE",
    "SELECT 1 /*! FROM t */": "it holds a comment",
    "SELECT 1 /*M! FROM t */": "it holds a comment",
    "SELECT 1 /*M!100100 FROM t */": "it holds a comment",
    "SELECT /*+ x */ 1": "it holds a comment",
    "/*! DROP TABLE projects */": "no statement",
    "SHOW TABLES /*!; DROP TABLE projects */": "it holds a comment",
    "KILL 5 /*! ; DROP TABLE projects */": "it holds a comment",
    "SELECT 1 # FROM t": "it holds a comment",
    "SELECT 1 -- FROM t": "it holds a comment",
    "SELECT 1 --": "it holds a comment",
    "{# x #} SELECT 1": "it holds a comment",
    "SELECT\u00a01": "white space that MariaDB does not know",
    "\\! touch /tmp/canary": "it holds a backslash",
    "SELECT 1 \\! touch /tmp/canary": "it holds a backslash",
    "SELECT 1 \\G": "it holds a backslash",
    "SELECT 'a\\'; DROP TABLE x; -- '": "it holds a backslash",
    "system touch": "ALIAS is not among",
    "system touch /tmp/canary": "not SQL that could be parsed",
    "SELECT 1;\nsystem touch": "is not among",
    "source canary": "is not among",
    "tee canary": "is not among",
    "delimiter //": "not SQL that could be parsed",
    "SELECT $$ ; DROP TABLE x; $$": "DROP is not among",
    "SELECT 'unclosed": "not SQL that could be parsed",
    "KILL USER app": "not SQL that could be parsed",
    "KILL 5 + 5": "not SQL that could be parsed",
    "KILL": "not SQL that could be parsed",
    "KILL (SELECT 1)": "KILL of what is no session's number",
    "KILL '5'": "KILL of what is no session's number",
    "KILL 5.5": "KILL of what is no session's number",
    "SELECT " + "(" * 9_000 + "1" + ")" * 9_000: "not SQL that could be parsed",
    "SELECT 1\0": "characters that are no text",
    "SELECT " + "1+" * 10_000 + "1": "longer than 20000 characters",
    "": "no statement",
    " ; ": "no statement",
}


@pytest.mark.parametrize("query", HARMLESS)
def test_what_only_looks_or_ends_a_session_is_let_through(query: str) -> None:
    check(query, LOOKS)


@pytest.mark.parametrize(("query", "why"), HARMFUL.items(), ids=[query[:60] for query in HARMFUL])
def test_everything_else_is_refused_in_words(query: str, why: str) -> None:
    with pytest.raises(RefusedError, match=why):
        check(query, LOOKS)


def test_an_allowed_kind_is_allowed_only_where_it_is_listed() -> None:
    for query, kind in (("SELECT 1", "select"), ("SHOW TABLES", "show"), ("EXPLAIN t", "explain"), ("KILL 1", "kill")):
        check(query, (kind,))
        with pytest.raises(RefusedError, match="is not among"):
            check(query, {*LOOKS, DROP_COLUMN} - {kind})


def test_a_refusal_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(RefusedError):
        check("CALL p()", LOOKS)
    assert caplog.records == []


@pytest.mark.parametrize(
    "query",
    [
        "ALTER TABLE projects DROP COLUMN owner",
        "ALTER TABLE platform.`projects` DROP owner, DROP COLUMN IF EXISTS `state`;",
    ],
)
def test_dropping_columns_is_an_allowed_kind_of_its_own(query: str) -> None:
    check(query, (DROP_COLUMN,))
    with pytest.raises(RefusedError, match="ALTER is not among"):
        check(query, LOOKS)


@pytest.mark.parametrize(
    "change",
    [
        "DROP COLUMN a CASCADE",
        "DROP COLUMN a, ADD COLUMN b INT",
        "DROP COLUMN a, ALGORITHM=COPY",
        "DROP COLUMN a ENGINE=x",
        "DROP INDEX a",
        "DROP PRIMARY KEY",
        "DROP FOREIGN KEY a",
        "DROP CONSTRAINT a",
        "DROP SYSTEM VERSIONING",
        "DROP PARTITION a",
        "RENAME TO other",
        "MODIFY a INT",
        "DISABLE KEYS",
        "",
    ],
)
def test_who_may_drop_columns_may_nothing_else(change: str) -> None:
    with pytest.raises(RefusedError):
        check(f"ALTER TABLE projects {change}", (DROP_COLUMN,))


def test_a_blank_becomes_a_quoted_name() -> None:
    query = named("ALTER TABLE ... DROP COLUMN ...", ["projects", "Owner"], quoted)
    assert query == "ALTER TABLE `projects` DROP COLUMN `Owner`"
    check(query, (DROP_COLUMN,))


def test_bare_words_are_filled_and_nothing_else() -> None:
    query = "SELECT 'ü', pid, a.pid, `pid`, 'pid', \"pid\", PID AS pid, pid() FROM pids WHERE x IN (pid)"
    filled = "SELECT 'ü', 11, a.pid, `pid`, 'pid', \"pid\", 11 AS pid, pid() FROM pids WHERE x IN (11)"
    assert fill(query, {"pid": "11"}) == filled
    assert fill("SELECT 1 FROM t WHERE name = name_of", {"name_of": "a b"}) == "SELECT 1 FROM t WHERE name = 'a b'"
    assert fill("SHOW COLUMNS FROM t WHERE Field = x", {"x": "id"}) == "SHOW COLUMNS FROM t WHERE Field = 'id'"


@pytest.mark.parametrize("words", ["KILL", "KILL QUERY", "kill connection"])
@pytest.mark.parametrize("name", ["pid", "id", "a", "thread_id"])
def test_a_session_to_end_is_filled_in(words: str, name: str) -> None:
    assert fill(f"{words} {name};", {name: 11}) == f"{words} 11;"
    assert fill(f"SELECT 1; {words} {name}", {name: 11}) == f"SELECT 1; {words} 11"


def test_a_value_without_a_place_is_refused() -> None:
    for query in ("KILL 5", "KILL QUERY", "SELECT `pid`", "SELECT 'pid'", "KILL x"):
        with pytest.raises(RefusedError, match=r"it has no place for pid|not SQL"):
            fill(query, {"pid": 11})


@pytest.mark.parametrize(
    ("value", "literal"),
    [
        ("11", "11"),
        (11, "11"),
        ("1); DROP TABLE projects; --", "'1); DROP TABLE projects; --'"),
        ("'; DROP TABLE projects; --", "'''; DROP TABLE projects; --'"),
        ("-5", "'-5'"),
        ("", "''"),
        ("\"'`", "'\"''`'"),
    ],
)
def test_a_value_stays_one_literal(value: str | int, literal: str) -> None:
    filled = fill("SELECT f(pid);", {"pid": value})
    assert filled == f"SELECT f({literal});"
    check(filled, LOOKS)


@pytest.mark.parametrize("value", ["11; DROP TABLE x", "-5", "USER root", "0x5", "1 OR 1", "9" * 19, ""])
def test_only_a_number_is_ended(value: str) -> None:
    with pytest.raises(RefusedError, match="KILL of what is no session's number"):
        check(fill("KILL pid", {"pid": value}), LOOKS)


@pytest.mark.parametrize("value", ["\\", "\\'; DROP TABLE x; #", "a\\"])
def test_a_value_with_a_backslash_is_not_run(value: str) -> None:
    with pytest.raises(RefusedError, match="it holds a backslash"):
        check(fill("SELECT f(pid)", {"pid": value}), LOOKS)


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\\")))
def test_whatever_the_value_the_statement_keeps_its_shape(value: str) -> None:
    filled = fill("SELECT f(pid), pid FROM t WHERE x -pid > 0", {"pid": value})
    check(filled, LOOKS)
    (statement,) = sqlglot.parse(filled, dialect="mysql")
    assert statement is not None
    shapes = [type(node).__name__ for node in statement.walk()]
    plain = sqlglot.parse_one("SELECT f(1), 1 FROM t WHERE x -1 > 0", dialect="mysql")
    assert shapes == [type(node).__name__ for node in plain.walk()]
    assert [it.this for it in statement.find_all(exp.Literal)].count(value) >= (3 if value != "0" else 4)


def test_the_client_reads_no_file_of_options_and_the_password_is_in_no_argument() -> None:
    argv, environment = command("SELECT 1", Login("127.9.9.2", "platform", "oncall", "hidden", 7.0))
    assert argv[:2] == ("mariadb", "--no-defaults")  # of all places it must stand first
    assert "--binary-mode" in argv
    assert argv[-2:] == ("--init-command=SET SESSION max_statement_time=8", "--execute=SELECT 1")
    assert environment == {"MYSQL_PWD": "hidden"}
    assert not any("hidden" in word for word in argv)
