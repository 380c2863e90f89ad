"""The system under test on real servers: what it does in quiet, and how exactly it suffers from a held lock."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from runlab.stack import processes
from runlab.stack.processes import ProcessStack
from runlab.waiting import wait_until

ROOT = Path(__file__).parents[2]
REVISION = "add_project_owner"


class Platform:
    """The running platform, as its operators and users reach it."""

    def __init__(self, stack: ProcessStack) -> None:
        self.stack = stack
        self.api = httpx.Client(base_url=f"http://{stack.host('lb')}:8000", timeout=10, trust_env=False)
        self.pipeline = httpx.Client(base_url=f"http://{stack.host('pipeline')}:8080", timeout=10, trust_env=False)

        self.pushgateway = f"http://{stack.host('pushgateway')}:9091"

    def deploy(self, **order: Any) -> None:
        answer = self.pipeline.post("/deployments", json={"revision": REVISION, "deadline_s": 10, **order})
        assert answer.status_code == 202, answer.text

    def deployment(self) -> dict[str, Any]:
        report: dict[str, Any] = self.pipeline.get("/deployment").json()
        return report

    def deployment_is(self, *states: str) -> dict[str, Any]:
        wait_until(f"deployment {states}", lambda: self.deployment()["status"] in states, deadline_s=15)
        return self.deployment()

    def failed(self) -> float | None:
        """What the Pushgateway says of the migration step."""
        text = httpx.get(f"{self.pushgateway}/metrics", trust_env=False).text
        found = re.search(
            r'^deploy_step_failed\{database="postgres",.*step="alembic upgrade"\} (\S+)$', text, re.MULTILINE
        )
        return float(found[1]) if found else None

    @contextmanager
    def session(self, role: str = "oncall", database: str = "platform") -> Iterator[psycopg.Connection]:
        password = self.stack.secret({"postgres": "POSTGRES_PASSWORD"}.get(role, f"{role.upper()}_PASSWORD"))
        host = self.stack.host("postgres")
        with psycopg.connect(
            host=host, user=role, password=password, dbname=database, autocommit=True, application_name="test"
        ) as connection:
            yield connection

    def columns(self) -> set[str]:
        with self.session() as session:
            rows = session.execute("SELECT attname FROM pg_attribute WHERE attrelid = 'projects'::regclass")
            return {name for (name,) in rows}

    def waiting(self, application: str) -> int:
        """How many sessions of `application` wait for a lock."""
        with self.session() as session:
            row = session.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s AND wait_event_type = 'Lock'",
                (application,),
            ).fetchone()
            return int(row[0]) if row else 0

    @contextmanager
    def held_lock(self) -> Iterator[psycopg.Connection]:
        """A session that has read `projects` and then idles in its transaction."""
        with self.session("app") as session, session.transaction():
            session.execute("SELECT FROM projects LIMIT 1")
            yield session


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessStack]:
    running = processes.start(
        ROOT / "compose" / "compose.yaml",
        reports=tmp_path_factory.mktemp("reports"),
        run_id="sut",
        time_scale=600,
        rules=lambda text, _file: text,
        services=["migrate", "lb", "pipeline"],
    )
    yield running
    running.stop()


@pytest.fixture
def platform(stack: ProcessStack) -> Platform:
    stack.reset()
    return Platform(stack)


def test_the_series_exist_as_0_although_nothing_was_deployed(platform: Platform) -> None:
    httpx.put(f"{platform.pushgateway}/api/v1/admin/wipe", trust_env=False).raise_for_status()
    platform.stack.restart("pipeline")
    wait_until("the first push", lambda: platform.failed() == 0, deadline_s=5)


def test_a_quiet_deployment_succeeds_and_the_release_serves_before_and_after(platform: Platform) -> None:
    def in_use() -> None:
        created = platform.api.post("/projects", json={"name": "A new one"})
        assert created.status_code == 201
        one = f"/projects/{created.json()['id']}"
        assert platform.api.patch(one, json={"status": "done"}).json()["status"] == "done"
        assert platform.api.get(one).json()["name"] == "A new one"
        assert len(platform.api.get("/projects?limit=7").json()) == 7

    in_use()
    platform.deploy()
    assert platform.deployment_is("succeeded", "failed")["error"] is None
    assert "owner" in platform.columns()
    assert platform.failed() == 0
    in_use()


def test_a_held_lock_stalls_the_deployment_and_everybody_behind_it(platform: Platform) -> None:
    with platform.held_lock():
        platform.deploy(deadline_s=4, retry_every_s=60)
        wait_until("the migration waits", lambda: platform.waiting("migrate") == 1, deadline_s=5)
        with pytest.raises(httpx.ReadTimeout):
            platform.api.get("/projects/1", timeout=1)
        # Those who do not ask the database are answered meanwhile.
        assert platform.api.get("/health", timeout=1).status_code == 200
        assert platform.api.get("/metrics", timeout=1).status_code == 200

        report = platform.deployment_is("waiting")
        assert report["error"] == "alembic upgrade: not done within 4 s, client process ended"
        wait_until("the failure is pushed", lambda: platform.failed() == 1, deadline_s=5)

        # Stopping ends the client and its repetition; the server goes on with what the client had asked for.
        assert platform.pipeline.post("/deployment/stop").json()["status"] == "stopped"
        assert platform.waiting("migrate") == 1
        with pytest.raises(httpx.ReadTimeout):
            platform.api.get("/projects/1", timeout=1)

    wait_until("nobody waits", lambda: not platform.waiting("migrate") + platform.waiting("api"), deadline_s=5)
    assert platform.api.get("/projects/1").status_code == 200
    assert "owner" not in platform.columns(), "what the server did for a client that is gone must not stay"
    assert platform.failed() == 1
    assert platform.pipeline.post("/deployment/retry").status_code == 202
    report = platform.deployment_is("succeeded", "failed")
    assert (report["status"], report["attempts"], report["error"]) == ("succeeded", 2, None)
    assert platform.failed() == 0
    assert "owner" in platform.columns()


def test_a_migration_with_a_lock_timeout_gives_up_by_itself(platform: Platform) -> None:
    log = platform.stack.log_files()["pipeline"]
    before = log.stat().st_size
    with platform.held_lock():
        platform.deploy(lock_timeout="300ms")
        assert platform.deployment_is("failed")["error"] == "alembic upgrade: ended with status 1"
        assert platform.failed() == 1
        assert platform.waiting("migrate") == 0
        assert platform.api.get("/projects/1", timeout=1).status_code == 200
    # The server's own words reach the pipeline's log.
    assert "canceling statement due to lock timeout" in log.read_text()[before:]


def test_a_reset_ends_what_waits_and_the_api_recovers_by_itself(platform: Platform) -> None:
    platform.api.post("/projects", json={"name": "Gone after the reset"})
    with suppress(psycopg.OperationalError), platform.held_lock() as holder:
        platform.deploy(retry_every_s=0.1)
        wait_until("the migration waits", lambda: platform.waiting("migrate") == 1, deadline_s=5)
        platform.stack.reset()
        with pytest.raises(psycopg.OperationalError):
            holder.execute("SELECT 1")
    assert platform.deployment()["status"] == "idle"
    assert platform.failed() == 0
    assert platform.waiting("migrate") == 0
    wait_until("the API serves", lambda: platform.api.get("/projects/1").status_code == 200, deadline_s=5)
    assert platform.api.get("/projects?after=3000").json() == []
    assert "owner" not in platform.columns()


def test_a_server_that_was_prepared_can_be_prepared_again(platform: Platform) -> None:
    platform.stack.restart("migrate")
    wait_until("the API serves", lambda: platform.api.get("/projects/3000").status_code == 200, deadline_s=5)


def test_an_on_call_person_looks_reads_and_ends_sessions_and_no_more(platform: Platform) -> None:
    with platform.session("app") as app, platform.session("postgres") as root, platform.session() as oncall:
        assert oncall.execute("SELECT version_num FROM alembic_version").fetchall() == [("0001_baseline",)]
        app.execute("SELECT 'seen by those who are on call'")
        query = "SELECT query FROM pg_stat_activity WHERE pid = %s"
        assert oncall.execute(query, (app.info.backend_pid,)).fetchall() == [
            ("SELECT 'seen by those who are on call'",)
        ]
        for forbidden in (
            "UPDATE projects SET name = ''",
            "CREATE TABLE mine ()",
            "ALTER TABLE projects ADD COLUMN mine int",
            "COPY projects TO PROGRAM 'cat'",
            "COPY projects TO '/tmp/projects'",
            "CREATE ROLE mine",
            "SELECT rolpassword FROM pg_authid",
            f"SELECT pg_terminate_backend({root.info.backend_pid})",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                oncall.execute(forbidden)
        assert oncall.execute("SELECT pg_terminate_backend(%s)", (app.info.backend_pid,)).fetchone() == (True,)
        with pytest.raises(psycopg.OperationalError):
            app.execute("SELECT 1")


def test_no_password_stands_in_a_log(platform: Platform) -> None:
    for name in ("POSTGRES_PASSWORD", "APP_PASSWORD", "ONCALL_PASSWORD"):
        for log in platform.stack.log_files().values():
            assert platform.stack.secret(name) not in log.read_text(), log
