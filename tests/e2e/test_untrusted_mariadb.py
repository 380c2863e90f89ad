"""MariaDB's client and server under what an untrusted runbook, or another session's output, might have in it."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from runlab.console import Found, Operator
from runlab.journal import Journal
from runlab.mariadb import command
from runlab.model import Claim, CommandResult
from runlab.settings import load
from runlab.sqltext import Login, RefusedError
from runlab.stack import processes
from runlab.stack.processes import ProcessStack
from runlab.waiting import wait_until

ROOT = Path(__file__).parent.parent.parent
LIMIT_S = 1.5
SESSIONS = "SELECT id FROM information_schema.processlist WHERE user = 'oncall' AND id <> connection_id()"

pytestmark = pytest.mark.skipif(shutil.which("mariadb") is None, reason="MariaDB's client is not installed")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessStack]:
    running = processes.start(
        ROOT / "compose" / "compose.yaml",
        reports=tmp_path_factory.mktemp("reports"),
        run_id="untrusted",
        time_scale=600,
        rules=lambda text, _: text,
        services={"mariadb", "migrate-mariadb"},
    )
    yield running
    running.stop()


@pytest.fixture
def operator(stack: ProcessStack, tmp_path: Path) -> Iterator[Operator]:
    """As scenarios have it, with this repository's own lab.toml, but with little time."""
    settings = load(ROOT / "lab.toml").console.model_copy(update={"time_limit_s": LIMIT_S})
    journal = Journal(tmp_path, "untrusted")
    yield Operator(stack, journal, settings, Claim("RB-900/recover/1", "RB-900", "recover", "", "", "x.md", 1))
    journal.close()


def unchecked(
    stack: ProcessStack, query: str, role: str = "oncall", password: str = "ONCALL_PASSWORD"
) -> CommandResult:
    """The client with this query, as if nothing had looked at it."""
    login = Login(stack.inside("mariadb"), "platform", role, stack.secret(password), 5.0)
    argv, environment = command(query, login)
    return stack.execute(argv, account="operator", environment=environment)


def as_root(stack: ProcessStack, query: str) -> list[str]:
    result = unchecked(stack, query, "root", "MARIADB_ROOT_PASSWORD")
    assert result.status == 0, result.stderr
    return result.stdout.splitlines()[1:]


# ------------------------------------------------------------------------------------------- client and role alone


@pytest.mark.parametrize(
    "query",
    [
        "system touch canary",
        "\\! touch canary",
        "SELECT 1 \\! touch canary",
        "SELECT 1;\nsystem touch canary",
        "SELECT 1\n;\nsystem touch canary",
        "tee canary",
        "SELECT 1 \\T canary",
        "delimiter //\nsystem touch canary//",
    ],
)
def test_the_client_has_no_commands_of_its_own(stack: ProcessStack, query: str) -> None:
    unchecked(stack, query)
    assert stack.execute(["ls"], account="operator").stdout == ""


@pytest.mark.parametrize(
    "query",
    [
        "DROP TABLE projects",
        "UPDATE projects SET name = ''",
        "ALTER TABLE projects DROP COLUMN name",
        "SELECT 1 INTO OUTFILE '/tmp/canary'",
        "SET GLOBAL general_log = 1",
        "CREATE USER canary",
        "SELECT * FROM mysql.global_priv",
    ],
)
def test_the_role_may_not_either(stack: ProcessStack, query: str) -> None:
    result = unchecked(stack, query)
    assert result.status == 1
    assert "ERROR" in result.stderr
    assert "denied" in result.stderr


# ------------------------------------------------------------------------------------------------- the operator


def test_a_session_is_found_and_ended(operator: Operator, stack: ProcessStack) -> None:
    owner = Login(stack.inside("mariadb"), "platform", "app", stack.secret("APP_PASSWORD"), 60)
    stack.hold(
        "sleeper",
        command("SELECT SLEEP(60)", owner)[0],
        environment={"MYSQL_PWD": stack.secret("APP_PASSWORD")},
    )
    query = "SELECT id, info FROM information_schema.processlist WHERE user = 'app'"
    output = wait_until(
        "the session", lambda: (o := operator.sql(query, family="mariadb")).result.stdout and o, deadline_s=5
    )
    assert list(output.column("info")) == ["SELECT SLEEP(60)"]
    assert operator.sql("KILL id;", family="mariadb", each={"id": output.column("id")}).ok
    wait_until("its end", lambda: not operator.sql(query, family="mariadb").result.stdout, deadline_s=5)
    stack.release("sleeper")


def test_text_comes_through_as_the_server_has_it(operator: Operator) -> None:
    output = operator.sql(
        "SELECT CONCAT('a', CHAR(9), 'b', CHAR(10), CHAR(92), 'n ü') AS x, NULL AS y", family="mariadb"
    )
    assert list(output.column("x")) == ["a\tb\n\\n ü"]
    assert list(output.column("y")) == []


@pytest.mark.parametrize("value", ["1'; DROP TABLE projects; -- ", "1 OR 1", "' OR ''='", '" OR ""="'])
def test_a_value_of_an_output_does_not_become_sql(operator: Operator, stack: ProcessStack, value: str) -> None:
    found = Found(((value, "main:1"),), "line")
    output = operator.sql("SELECT id FROM projects WHERE name = x", family="mariadb", each={"x": found})
    assert (output.ok, output.result.stdout) == (True, "")
    with pytest.raises(RefusedError, match="no session's number"):
        operator.sql("KILL x", family="mariadb", each={"x": found})
    assert as_root(stack, "SELECT COUNT(*) > 0 FROM projects") == ["1"]


def test_a_query_that_takes_too_long_ends_on_the_server_too(operator: Operator, stack: ProcessStack) -> None:
    began = time.monotonic()
    output = operator.sql("SELECT SLEEP(1000), COUNT(*) FROM projects", family="mariadb")
    assert output.result.status is None
    assert time.monotonic() - began < LIMIT_S + 2
    wait_until("the query's end", lambda: not as_root(stack, SESSIONS), deadline_s=3)


def test_the_owner_s_family_drops_a_column_by_the_names_of_an_output(operator: Operator, stack: ProcessStack) -> None:
    columns = (
        "SELECT column_name FROM information_schema.columns WHERE table_schema = 'platform' AND table_name = 'projects'"
    )
    as_root(stack, "ALTER TABLE platform.projects ADD COLUMN a_first_try TEXT")
    names = operator.sql("SELECT 'projects' AS t, 'a_first_try' AS c", family="mariadb")
    blanks = [names.column("t"), names.column("c")]
    assert "a_first_try" in as_root(stack, columns)
    assert operator.sql("ALTER TABLE ... DROP COLUMN ...", family="mariadb-owner", blanks=blanks).ok
    assert "a_first_try" not in as_root(stack, columns)


def test_the_password_is_in_no_process_s_arguments(operator: Operator, stack: ProcessStack) -> None:
    output = operator.sql("SELECT 1", family="mariadb")
    assert not any(stack.secret("ONCALL_PASSWORD") in word for word in output.result.argv)


def test_psql_has_no_server_here(operator: Operator) -> None:
    with pytest.raises(RefusedError, match=r"^postgres is not among the services that this run started$"):
        operator.sql("SELECT 1")
