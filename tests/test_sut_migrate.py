"""The revisions where no server answers: what each edition would execute, and what the linter says of it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory

from sut.migrate import schema
from sut.migrate.lint import EXCLUDED, lint
from sut.migrate.locks import bounds_of_lock_waits
from sut.migrate.names import DATABASES, Database, MigrateError

ROOT = Path(__file__).parents[1]
ON_BOTH = ("add_project_owner", "require_milestone_due", "require_task_assignee", "link_comments",
           "add_milestone_archive", "own_and_link", "rename_project_status")  # fmt: skip
ON_POSTGRES = ("expand_project_status", "contract_project_status")
EDITIONS = ("candidate", "fixed")


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DATABASE", "MIGRATION_EDITION", "MIGRATION_LOCK_TIMEOUT"):
        monkeypatch.delenv(name, raising=False)


Sql = Callable[..., str]


@pytest.fixture
def sql(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Sql:
    """What a revision of an edition would execute, on one line."""

    def sql(revision: str, edition: str, database: Database = "postgres") -> str:
        monkeypatch.setenv("MIGRATION_EDITION", edition)
        schema.sql(database, revision)
        return " ".join(capsys.readouterr().out.split())

    return sql


@pytest.mark.parametrize("database", DATABASES)
@pytest.mark.parametrize("edition", EDITIONS)
@pytest.mark.parametrize("revision", ON_BOTH)
def test_each_is_one_step_from_the_baseline(sql: Sql, revision: str, edition: str, database: Database) -> None:
    written = sql(revision, edition, database)
    assert f"SET version_num='{revision}' WHERE alembic_version.version_num = '0001_baseline'" in written


def test_the_baseline_itself_begins_at_nothing(sql: Sql) -> None:
    assert "CREATE TABLE comments" in sql("0001_baseline", "candidate", "mariadb")


@pytest.mark.parametrize("revision", ON_POSTGRES)
def test_the_trigger_is_postgresqls_alone(sql: Sql, revision: str) -> None:
    assert "projects_status_in_step" in sql(revision, "candidate")
    with pytest.raises(MigrateError, match=f"{revision} is written for PostgreSQL only, and this is mariadb"):
        sql(revision, "candidate", "mariadb")


@pytest.mark.parametrize(("revision", "mended"), [
    ("add_project_owner", "ADD COLUMN IF NOT EXISTS owner"),
    ("require_milestone_due", "due DATE DEFAULT '2026-12-31' NOT NULL"),
    ("require_task_assignee", "UPDATE tasks SET assignee = 'nobody' WHERE assignee IS NULL"),
    ("link_comments", "DELETE FROM comments WHERE NOT EXISTS"),
    ("own_and_link", "DELETE FROM comments WHERE NOT EXISTS"),
    ("add_milestone_archive", "CREATE TABLE IF NOT EXISTS milestone_archive"),
])  # fmt: skip
def test_the_fixed_edition_mends_what_the_candidate_lacks(sql: Sql, revision: str, mended: str) -> None:
    assert mended in sql(revision, "fixed")
    assert mended not in sql(revision, "candidate")


@pytest.mark.parametrize("database", DATABASES)
def test_own_and_link_does_not_run_over_a_half_that_is_there(sql: Sql, database: Database) -> None:
    assert "FOREIGN KEY" in sql("own_and_link", "fixed", database).partition("ADD COLUMN owner TEXT")[2]


PASS = [*(("candidate", name) for name in ("add_project_owner", "add_milestone_archive", "expand_project_status")),
        *(("fixed", name) for name in ON_BOTH if name != "rename_project_status")]  # fmt: skip
STOPPED = {
    "require_milestone_due": "adding-required-field",
    "require_task_assignee": "adding-not-nullable-field",
    "link_comments": "constraint-missing-not-valid",
    "own_and_link": "constraint-missing-not-valid",
    "rename_project_status": "renaming-column",
    "contract_project_status": "ban-drop-column",
}


@pytest.mark.parametrize(("edition", "revision"), PASS)
def test_the_linter_lets_pass(edition: str, revision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIGRATION_EDITION", edition)
    monkeypatch.setenv("MIGRATION_LOCK_TIMEOUT", "2s")
    lint("postgres", revision)


@pytest.mark.parametrize(("revision", "rule"), STOPPED.items())
def test_the_linter_stops(
    revision: str, rule: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MIGRATION_LOCK_TIMEOUT", "2s")
    with pytest.raises(MigrateError, match=revision):
        lint("postgres", revision)
    assert rule in caplog.text
    assert not any(excluded in caplog.text for excluded in EXCLUDED)


def test_the_linter_sees_that_nothing_bounds_the_wait_for_a_lock(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(MigrateError, match="add_project_owner"):
        lint("postgres", "add_project_owner")
    assert "require-lock-timeout" in caplog.text


def test_a_linter_that_fails_by_itself_has_found_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sut.migrate.lint._program", lambda: "/bin/false")
    with pytest.raises(MigrateError, match=r"^squawk failed"):
        lint("postgres", "add_project_owner")


def test_the_linter_owns_that_it_cannot_read_mariadbs_sql(caplog: pytest.LogCaptureFixture) -> None:
    lint("mariadb", "link_comments")
    assert "link_comments for mariadb goes on unread" in caplog.text


@pytest.mark.parametrize(("database", "given", "statements"), [
    ("postgres", "500ms", ("SET lock_timeout = '500ms'",)),
    ("mariadb", "500ms", ("SET SESSION lock_wait_timeout = 1", "SET SESSION innodb_lock_wait_timeout = 1")),
    ("mariadb", "1500ms", ("SET SESSION lock_wait_timeout = 2", "SET SESSION innodb_lock_wait_timeout = 2")),
    ("mariadb", "0s", ("SET SESSION lock_wait_timeout = 1", "SET SESSION innodb_lock_wait_timeout = 1")),
])  # fmt: skip
def test_waits_for_locks_are_bounded(database: Database, given: str, statements: tuple[str, ...]) -> None:
    assert bounds_of_lock_waits(database, given) == statements


@pytest.mark.parametrize("given", ["2", "2h", "'; DROP TABLE projects", "-1s", ""])
def test_another_duration_is_refused(given: str) -> None:
    with pytest.raises(MigrateError, match="write it like 2s or 500ms"):
        bounds_of_lock_waits("postgres", given)


@pytest.mark.parametrize(("environment", "said"), [
    ({"DATABASE": "oracle"}, "DATABASE is 'oracle', and there are only postgres and mariadb"),
    ({"MIGRATION_EDITION": "third"}, "MIGRATION_EDITION is 'third', and there are only candidate and fixed"),
])  # fmt: skip
def test_a_setting_that_does_not_exist_is_one_line(environment: dict[str, str], said: str) -> None:
    argv = [sys.executable, "-m", "sut.migrate", "sql", "link_comments"]
    ran = subprocess.run(
        argv, capture_output=True, text=True, check=False, cwd=ROOT, timeout=30, env={**os.environ, **environment}
    )
    assert (ran.returncode, ran.stderr) == (1, f"{said}\n")


@pytest.mark.parametrize("edition", EDITIONS)
def test_each_edition_has_every_revision_once(edition: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIGRATION_EDITION", edition)
    found = ScriptDirectory.from_config(schema.configuration("postgres")).walk_revisions()
    names = sorted(script.revision for script in found)
    assert names == sorted((schema.BASELINE, *ON_BOTH, *ON_POSTGRES))
    # Alembic reads `-` as "so many steps back", and its table holds 32 characters.
    assert all(re.fullmatch(r"\w{1,32}", name) for name in names)


@pytest.mark.parametrize("database", DATABASES)
@pytest.mark.parametrize("arguments", [("upgrade", "link_comments"), ("rehearse", "link_comments"), ("prepare",)])
def test_a_failure_is_a_traceback_and_a_status(arguments: tuple[str, ...], database: Database) -> None:
    nowhere = {"PGHOST": "127.0.0.1", "PGPORT": "1", "PGUSER": "app", "PGPASSWORD": "not-to-be-told",
               "MARIADB_HOST": "127.0.0.1", "MARIADB_PORT": "1", "MARIADB_USER": "app",
               "MARIADB_PASSWORD": "nor-that-one"}  # fmt: skip
    passwords = {"APP_PASSWORD": "nor-this", "ONCALL_PASSWORD": "nor-that"}
    ended = subprocess.run(
        [sys.executable, "-m", "sut.migrate", *arguments, "--database", database],
        env={**os.environ, **nowhere, **passwords},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert ended.returncode != 0
    assert "Traceback" in ended.stderr
    assert "OperationalError" in ended.stderr
    assert not re.search("not-to-be-told|nor-th", ended.stdout + ended.stderr)
