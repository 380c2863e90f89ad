"""A runbook, and what servers answer, are not trusted: what is refused is not run, what is run reaches little."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from runlab.console import Found, Operator
from runlab.journal import Journal
from runlab.model import Claim
from runlab.settings import load
from runlab.sqltext import RefusedError
from runlab.stack import processes
from runlab.stack.processes import ProcessStack
from runlab.waiting import wait_until

ROOT = Path(__file__).parent.parent.parent
TINY = ROOT / "tests" / "data" / "tiny"
LIMIT_S = 1.5
APART = pytest.mark.skipif(os.geteuid() != 0, reason="one account cannot be kept from its own files and processes")


@pytest.fixture
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="untrusted-", dir="/tmp"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


# -------------------------------------------------------------------------------------------- a hostile runbook

BY_SHELL = [
    "touch {canary}",
    "ls; touch {canary}",
    "ls && touch {canary}",
    "ls | tee {canary}",
    "ls > {canary}",
    "ls $(touch {canary})",
    "sh -c 'touch {canary}'",
    "env touch {canary}",
    "/usr/bin/touch {canary}",
    "psql -c '\\! touch {canary}'",
    "psql -o {canary} -c 'SELECT 1'",
    "curl file:///etc/passwd -o {canary}",
    "curl http://stone:5999/ -o {canary}",
    "curl -K {canary} http://stone:5999/",
    "curl http://127.0.0.1:1/",
    "ls -l <file>",
]
BY_SQL = [
    "COPY (SELECT 1) TO PROGRAM 'touch {canary}'",
    "SELECT 1; COPY (SELECT 1) TO PROGRAM 'touch {canary}'",
    "\\! touch {canary}",
    "\\copy (SELECT 1) TO '{canary}'",
    "DO $$ BEGIN COPY (SELECT 1) TO PROGRAM 'touch {canary}'; END $$",
    "WITH gone AS (DELETE FROM projects RETURNING 1) SELECT 1 FROM gone",
    "SELECT 1 INTO canary",
    "SELECT 1 \\g {canary}",
    "SELECT :'x'",
    "SELECT 1 /* harmless */; DROP TABLE projects -- harmless",
]
BY_MARIADB = [
    "SELECT 1 INTO OUTFILE '{canary}'",
    "SELECT 1 /*! INTO OUTFILE '{canary}' */",
    "SELECT LOAD_FILE('/etc/passwd')",
    "\\! touch {canary}",
    "SELECT 1 \\! touch {canary}",
    "system touch {canary}",
    "source {canary}",
    "tee {canary}",
    "SHOW TABLES; system touch {canary}",
    "SELECT 1 # harmless ; DROP TABLE projects",
    "PREPARE gone FROM 'DROP TABLE projects'",
    "KILL USER app",
    "ALTER TABLE projects DROP COLUMN title",
]
STEPS = """
@acts("Attack {n:d} by shell: {command:code}", promises={"fault": False}, within_s=0.1)
def by_shell(operator, n, command):
    operator.run(command)


@acts("Attack {n:d} by SQL: {command:code}", promises={"fault": False}, within_s=0.1)
def by_sql(operator, n, command):
    operator.sql(command)


@acts("Attack {n:d} by MariaDB: {command:code}", promises={"fault": False}, within_s=0.1)
def by_mariadb(operator, n, command):
    operator.sql(command, family="mariadb")
"""
FAMILIES = """
[console.families.curl]
services = ["stone"]

[console.families.psql]
service = "stone"
statements = ["select"]

[console.families.mariadb]
service = "stone"
statements = ["select", "explain", "show", "kill"]
"""


def test_no_command_of_a_hostile_runbook_is_run(folder: Path) -> None:
    project, canary = folder / "project", folder / "canary"
    shutil.copytree(TINY, project)
    folder.chmod(0o777)  # it could be written
    commands = [
        (how, text.format(canary=canary))
        for how, texts in (("shell", BY_SHELL), ("SQL", BY_SQL), ("MariaDB", BY_MARIADB))
        for text in texts
    ]
    book = (project / "runbooks" / "RB-900-stone.md").read_text(encoding="utf-8")
    bullets = [f"{n}. Attack {n} by {how}: `{' '.join(text.split())}`" for n, (how, text) in enumerate(commands, 1)]
    before, mark, after = book.partition("1. Look at the stone: `ls`\n2. Mend the stone: `rm crack`\n")
    assert mark
    (project / "runbooks" / "RB-900-stone.md").write_text(before + "\n".join(bullets) + "\n" + after, encoding="utf-8")
    for file, more in (("scenarios/steps_rb900.py", STEPS), ("lab.toml", FAMILIES)):
        with (project / file).open("a", encoding="utf-8") as opened:
            opened.write(more)

    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "scenarios", "-k", "recovered"],
        cwd=project,
        env={**os.environ, "TMPDIR": str(folder)},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )

    assert ended.returncode == 1, ended.stdout  # it did not recover
    assert "Traceback" not in ended.stdout + ended.stderr
    assert not canary.exists()
    results = json.loads((project / "reports" / "latest" / "results.json").read_text(encoding="utf-8"))
    steps = [claim for claim in results["claims"] if claim["kind"] == "recover"]
    assert len(steps) == len(commands)
    for step in steps:
        assert step["verdict"] == "untested", step
        assert step["reason"].startswith("command not allowed: "), step
        assert (
            f"`{step['text'].split('`')[1]}`" in Path(project, step["file"]).read_text().splitlines()[step["line"] - 1]
        )
    lines = (project / "reports" / "latest" / "journal" / "main.jsonl").read_text(encoding="utf-8").splitlines()
    refused = [event for event in map(json.loads, lines) if event["kind"] == "command"]
    assert [event["refused"] is not None and event["status"] is None for event in refused] == [True] * len(commands)


# ---------------------------------------------------------------------------------------------- a real on-call role


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessStack]:
    running = processes.start(
        ROOT / "compose" / "compose.yaml",
        reports=tmp_path_factory.mktemp("reports"),
        run_id="untrusted",
        time_scale=600,
        rules=lambda text, _: text,
        services={"postgres", "migrate"},
    )
    yield running
    running.stop()


@pytest.fixture
def operator(stack: ProcessStack, tmp_path: Path) -> Iterator[Operator]:
    """As scenarios have it, with this repository's own lab.toml, but with little time."""
    settings = load(ROOT / "lab.toml").console.model_copy(update={"time_limit_s": LIMIT_S})
    journal = Journal(tmp_path, "untrusted")
    claim = Claim("RB-900/recover/1", "RB-900", "recover", "", "", "x.md", 1)
    yield Operator(stack, journal, settings, claim)
    journal.close()


def ask(stack: ProcessStack, query: str) -> list[tuple[object, ...]]:
    """The server, asked by its owner."""
    with psycopg.connect(
        host=stack.host("postgres"), dbname="platform", user="postgres", password=stack.secret("POSTGRES_PASSWORD")
    ) as connection:
        return connection.execute(query).fetchall()  # type: ignore[call-overload,no-any-return]


@pytest.mark.parametrize(
    "query",
    [
        "SELECT pg_read_file('/etc/passwd')",
        "SELECT pg_ls_dir('/')",
        "SELECT lo_import('/etc/passwd')",
        "SELECT lo_export(1, '/tmp/canary')",
        "SELECT set_config('role', 'postgres', false)",
        "SELECT pg_reload_conf()",
        "SELECT query_to_xml('DELETE FROM projects', true, true, '')",
        "SELECT dblink('', 'DELETE FROM projects')",
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'postgres' AND pid <> pg_backend_pid()",
    ],
)
def test_what_sql_functions_could_do_the_role_may_not(operator: Operator, stack: ProcessStack, query: str) -> None:
    with psycopg.connect(
        host=stack.host("postgres"), dbname="platform", user="postgres", password=stack.secret("POSTGRES_PASSWORD")
    ) as owner:
        output = operator.sql(query)
        assert output.result.status == 1
        assert "ERROR:" in output.result.stderr
        assert owner.execute("SELECT count(*) > 0 FROM projects").fetchone() == (True,)


def test_a_query_that_takes_too_long_ends_on_the_server_too(operator: Operator, stack: ProcessStack) -> None:
    began = time.monotonic()
    output = operator.sql("SELECT count(*), pg_sleep(1000) FROM projects")
    assert output.result.status is None
    assert time.monotonic() - began < LIMIT_S + 2
    sleeping = "SELECT pid FROM pg_stat_activity WHERE usename = 'oncall'"
    wait_until("the query's end", lambda: not ask(stack, sleeping), deadline_s=3)


def test_a_value_of_the_output_does_not_become_sql(operator: Operator, stack: ProcessStack) -> None:
    for value in (
        "1); DROP TABLE projects; --",
        "1) FROM (SELECT pg_sleep(1000)) x; --",
        "\\'); DROP TABLE projects; --",
    ):
        found = Found(((value, "main:1"),), "line")
        output = operator.sql("SELECT pg_cancel_backend(pid)", each={"pid": found})
        assert output.result.status == 1
        assert "invalid input syntax for type integer" in output.result.stderr
    assert ask(stack, "SELECT count(*) > 0 FROM projects") == [(True,)]


def test_what_is_refused_never_reaches_the_server(operator: Operator, stack: ProcessStack) -> None:
    log = stack.log_files()["postgres"]
    for query in ("SELECT 'canary-1'; DROP TABLE nothing_such", "COPY nothing_such TO PROGRAM 'true'"):
        with pytest.raises(RefusedError):
            operator.sql(query)
    assert "nothing_such" not in log.read_text(encoding="utf-8")
    operator.sql("SELECT * FROM nothing_such")
    assert "nothing_such" in log.read_text(encoding="utf-8")  # it would have been seen there


def test_a_server_that_was_not_started_is_said_in_one_line(operator: Operator) -> None:
    with pytest.raises(RefusedError, match=r"^mariadb is not among the services that this run started$"):
        operator.sql("SELECT 1", family="mariadb")


def test_the_owner_s_family_drops_a_column_by_the_names_of_an_output(operator: Operator, stack: ProcessStack) -> None:
    columns = "SELECT column_name FROM information_schema.columns WHERE table_name = 'projects'"
    with psycopg.connect(
        host=stack.host("postgres"), dbname="platform", user="app", password=stack.secret("APP_PASSWORD")
    ) as owner:
        owner.execute("ALTER TABLE projects ADD COLUMN a_first_try text")
    names = operator.sql("SELECT 'projects' AS t, 'a_first_try' AS c")
    blanks = [names.column("t"), names.column("c")]
    assert ("a_first_try",) in ask(stack, columns)
    assert operator.sql("ALTER TABLE ... DROP COLUMN ...", family="psql-owner", blanks=blanks).ok
    assert ("a_first_try",) not in ask(stack, columns)


@APART
def test_the_operator_reaches_nothing_of_the_lab(stack: ProcessStack, tmp_path: Path) -> None:
    folder = stack.control.parent
    server = stack.data_folder("postgres").joinpath("postmaster.pid").read_text(encoding="utf-8").split()[0]

    def may(*argv: str) -> bool:
        return stack.execute(list(argv), account="operator").status == 0

    assert may("id")
    assert not may("ls", str(stack.data_folder("postgres")))
    assert not may("cat", f"/proc/{server}/environ")
    assert not may("ls", "-l", f"/proc/{server}/fd/")
    assert not may("kill", "-0", server)
    assert not may("kill", "-9", str(os.getpid()))
    assert not may("ls", str(folder / "config"))
    assert not may("ls", str(folder))
    assert not may("touch", str(folder / "canary"))
    assert not may("curl", "-sS", "--unix-socket", str(stack.control), "http://keeper/")
    assert not may("cat", f"/proc/{os.getpid()}/environ")


# ------------------------------------------------------------------------------------------------------- secrets

SPY = """
import json, os, pathlib
import pytest
from runlab.plugin import RUN

found = []

def argv_of_all():
    for file in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        try:
            yield file.read_bytes().decode(errors="replace")
        except OSError:
            pass

@pytest.hookimpl(tryfirst=True)
def pytest_runtest_teardown(item):
    stack = item.config.stash[RUN].laboratory.stack
    found.extend(argv for argv in argv_of_all() for value in stack._about["secrets"].values() if value in argv)

@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session):
    stack = session.config.stash[RUN].laboratory.stack
    told = {"secrets": stack._about["secrets"], "found": found}
    pathlib.Path(os.environ["SPY"]).write_text(json.dumps(told))
"""


def test_the_passwords_of_a_run_stand_nowhere(folder: Path) -> None:
    """A real run of this repository's own scenarios; all that it printed, logged and reported is searched."""
    text = (ROOT / "lab.toml").read_text(encoding="utf-8")
    for name in ("runbooks", "compose/compose.yaml"):
        assert f'= "{name}"' in text
        text = text.replace(f'= "{name}"', f'= "{ROOT / name}"')
    assert 'reports = "reports"' in text
    (folder / "lab.toml").write_text(text.replace('reports = "reports"', f'reports = "{folder / "reports"}"'))
    (folder / "spying.py").write_text(SPY)
    told = folder / "told.json"

    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "spying", "scenarios", "--drill", "--lab", str(folder / "lab.toml")],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(folder), "PYTHONPATH": f"{folder}:{ROOT}", "SPY": str(told)},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )

    spied = json.loads(told.read_text(encoding="utf-8"))
    told.unlink()
    secrets = {name: value.encode() for name, value in spied["secrets"].items()}
    assert {"POSTGRES_PASSWORD", "APP_PASSWORD", "ONCALL_PASSWORD"} <= set(secrets)
    assert all(len(value) >= 16 for value in secrets.values())
    assert spied["found"] == []
    files = [file for file in (folder / "reports").rglob("*") if file.is_file()]
    assert {"main.jsonl", "results.json", "junit.xml", "summary.md", "index.html", "postgres.log", "keeper.log"} <= {
        file.name for file in files
    }
    places = {str(file): file.read_bytes() for file in files} | {"output": (ended.stdout + ended.stderr).encode()}
    assert [(where, name) for where, text in places.items() for name, value in secrets.items() if value in text] == []
