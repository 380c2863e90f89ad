"""Releases of the API on a real stack: which schema each fits, and what the users notice while one is rolled out."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from runlab.stack import processes
from runlab.stack.processes import ProcessStack
from runlab.waiting import wait_until

ROOT = Path(__file__).parents[2]
NODES = ("api1", "api2")


class Platform:
    """The running platform, as its operators and users reach it."""

    def __init__(self, stack: ProcessStack) -> None:
        self.stack = stack
        self.lb = httpx.Client(base_url=f"http://{stack.host('lb')}:8000", timeout=10, trust_env=False)

    def roll(self, node: str, release: str) -> httpx.Response:
        url = f"http://{self.stack.host(node)}:8001/release"
        return httpx.put(url, json={"release": release}, timeout=20, trust_env=False)

    def serving(self, *nodes: str) -> bool:
        """Whether lb sends requests to exactly these."""
        metrics = httpx.get(f"http://{self.stack.host('lb')}:8405/metrics?scope=server", trust_env=False).text
        line = 'haproxy_server_status{{proxy="api",server="{}",state="UP"}} {}'
        return all(line.format(node, int(node in nodes)) in metrics for node in NODES)

    def alter(self, statement: str) -> None:
        host, password = self.stack.host("postgres"), self.stack.secret("APP_PASSWORD")
        with psycopg.connect(
            host=host, user="app", password=password, dbname="platform", autocommit=True
        ) as connection:
            connection.execute(statement)  # type: ignore[arg-type]

    def requests_since(self, began: float) -> list[dict[str, Any]]:
        """How each of the users' requests that ended since then went."""
        record = self.stack.data_folder("users") / "users.jsonl"
        if not record.exists():  # they have only just been started
            return []
        events = [json.loads(line) for line in record.read_text().splitlines(keepends=True) if line.endswith("\n")]
        return [event for event in events if event["event"] == "end" and event["t"] >= began]

    def users_are_served(self) -> bool:
        recent = self.requests_since(time.monotonic() - 1.0)
        return len(recent) > 10 and all(request["ok"] for request in recent)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessStack]:
    running = processes.start(
        ROOT / "compose" / "compose.yaml",
        reports=tmp_path_factory.mktemp("reports"),
        run_id="releases",
        time_scale=600,
        rules=lambda text, _file: text,
        services=["users"],
    )
    yield running
    running.stop()


@pytest.fixture
def platform(stack: ProcessStack) -> Platform:
    stack.reset()
    platform = Platform(stack)
    wait_until("both replicas", lambda: platform.serving(*NODES), deadline_s=10)
    wait_until("the users are served", platform.users_are_served, deadline_s=20)
    return platform


def test_a_roll_out_costs_the_users_no_request(platform: Platform) -> None:
    platform.alter("ALTER TABLE projects ADD COLUMN owner text")
    began = time.monotonic()
    for release in ("2", "1"):
        for node in NODES:
            assert platform.roll(node, release).status_code == 200
            wait_until("lb has both", lambda: platform.serving(*NODES), deadline_s=5)
        assert ("owner" in platform.lb.get("/projects/1").json()) == (release == "2")
    requests = platform.requests_since(began)
    assert len(requests) > 50
    assert [request for request in requests if not request["ok"]] == []


def test_a_release_that_does_not_fit_says_so_and_leaves_the_other_replica_to_serve(platform: Platform) -> None:
    began = time.monotonic()
    refused = platform.roll("api1", "2")
    assert refused.status_code == 409
    assert "release 2 cannot start: it needs projects.owner" in refused.json()["detail"]
    assert "(status 3)" in refused.json()["detail"]
    assert "it needs projects.owner" in platform.stack.log_files()["api1"].read_text()
    wait_until("lb has the other alone", lambda: platform.serving("api2"), deadline_s=5)
    # once the schema fits, it starts by itself
    platform.alter("ALTER TABLE projects ADD COLUMN owner text")
    wait_until("lb has both", lambda: platform.serving(*NODES), deadline_s=10)
    assert [request for request in platform.requests_since(began) if not request["ok"]] == []


def test_a_reset_puts_the_first_release_back_though_it_did_not_fit_the_schema(platform: Platform) -> None:
    platform.alter("ALTER TABLE projects RENAME status TO state")
    assert platform.lb.get("/projects/1").status_code == 500
    assert [platform.roll(node, "3").status_code for node in NODES] == [200, 200]
    wait_until("lb has both", lambda: platform.serving(*NODES), deadline_s=5)
    created = platform.lb.post("/projects", json={"name": "New", "status": "active"})
    assert (created.status_code, created.json()["status"]) == (201, "active")
    one = f"/projects/{created.json()['id']}"
    assert platform.lb.patch(one, json={"status": "done"}).json()["status"] == "done"
    assert {project["status"] for project in platform.lb.get("/projects").json()} <= {"planned", "active", "done"}
    assert platform.roll("api2", "1").status_code == 409
    platform.stack.reset()
    wait_until("lb has both", lambda: platform.serving(*NODES), deadline_s=5)
    assert platform.lb.get("/projects/1").status_code == 200
    assert platform.lb.get(one).status_code == 404
