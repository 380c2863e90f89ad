"""The API without its database: what it answers, counts and logs then. With one: tests/e2e/test_sut.py."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import httpx
import pytest
from sqlalchemy.exc import OperationalError

from sut.api import startup
from sut.api.app import Readiness, create_app
from sut.api.database import make_engine
from sut.api.releases import RELEASES


class Client:
    """Asks the application without a socket between."""

    def __init__(self) -> None:
        self.readiness = Readiness()
        self._transport = httpx.ASGITransport(create_app(RELEASES["1"], make_engine(), self.readiness))

    def request(self, method: str, path: str, **body: Any) -> httpx.Response:
        async def ask() -> httpx.Response:
            async with httpx.AsyncClient(transport=self._transport, base_url="http://api") as client:
                return await client.request(method, path, json=body or None)

        return asyncio.run(ask())

    def get(self, path: str) -> httpx.Response:
        return self.request("GET", path)


ACCOUNT = {"HOST": "127.0.0.1", "PORT": "1", "USER": "app", "PASSWORD": "not-to-be-told"}


@pytest.fixture(params=["postgres", "mariadb"])
def client(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Client:
    """An API whose database, of either kind, is a closed port."""
    monkeypatch.setenv("DATABASE", request.param)
    for name, value in ACCOUNT.items():
        monkeypatch.setenv(f"PG{name}", value)
        monkeypatch.setenv(f"MARIADB_{name}", value)
    return Client()


def counted(client: Client, route: str, status: int) -> float:
    start = f'http_requests_total{{route="{route}",status="{status}"}} '
    lines = client.get("/metrics").text.splitlines()
    return next((float(line.removeprefix(start)) for line in lines if line.startswith(start)), -1.0)


def test_failures_exist_as_0_before_the_first(client: Client) -> None:
    for route in ("GET /projects", "POST /projects", "GET /projects/{project_id}", "PATCH /projects/{project_id}"):
        assert counted(client, route, 500) == counted(client, route, 503) == 0


def test_without_its_database_it_says_so_and_counts_it(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "sut.api")
    assert client.get("/projects/7").status_code == 503
    assert counted(client, "GET /projects/{project_id}", 503) == 1
    told = [vars(record) for record in caplog.records]
    assert [(it["route"], it["status"]) for it in told if "route" in it] == [("GET /projects/{project_id}", 503)]
    assert any("refused" in it.get("error", "") for it in told)
    assert "not-to-be-told" not in str(told)


def test_health_asks_nobody_and_says_when_it_is_about_to_end(client: Client) -> None:
    assert (client.get("/health").status_code, client.get("/health").json()) == (200, {"status": "ok", "release": "1"})
    client.readiness.ready = False
    assert (client.get("/health").status_code, client.get("/health").json()["status"]) == (503, "ending")
    # whoever comes all the same is answered
    assert client.get("/metrics").status_code == 200


def test_paths_that_no_route_knows_share_one_series(client: Client) -> None:
    for path in ("/a", "/b"):
        assert client.get(path).status_code == 404
    assert counted(client, "unknown", 404) == 2


def test_a_body_that_makes_no_sense_never_reaches_the_database(client: Client) -> None:
    assert client.request("POST", "/projects", name="").status_code == 422
    assert client.request("PATCH", "/projects/1", status="lost").status_code == 422


def schema_has(monkeypatch: pytest.MonkeyPatch, *columns: str) -> None:
    there = {("projects", column) for column in ("id", "name", "created_at", "updated_at", *columns)}
    monkeypatch.setattr(startup, "columns", lambda _engine: there)


@pytest.mark.parametrize(
    ("columns", "fitting"),
    [
        (["status"], {"1"}),
        (["status", "owner"], {"1", "2"}),
        (["state"], {"3"}),
        (["status", "state"], {"1", "3"}),
        ([], set()),
    ],
)
def test_a_release_fits_a_schema_that_has_its_columns(
    monkeypatch: pytest.MonkeyPatch, columns: list[str], fitting: set[str]
) -> None:
    schema_has(monkeypatch, *columns)
    assert {number for number, release in RELEASES.items() if startup.fits(release, make_engine())} == fitting


def test_what_is_missing_is_named_once_each(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    schema_has(monkeypatch)
    assert not startup.fits(RELEASES["2"], make_engine())
    assert [(it["levelname"], it["release"], it["table"], it["column"]) for it in map(vars, caplog.records)] == [
        ("CRITICAL", "2", "projects", "status"),
        ("CRITICAL", "2", "projects", "owner"),
    ]
    assert "release 2 cannot start: it needs projects.owner" in caplog.text


def test_a_database_that_cannot_be_asked_does_not_keep_a_release_from_starting(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def unavailable(_engine: object) -> set[tuple[str, str]]:
        raise OperationalError("SELECT", {}, Exception("nobody there"))

    monkeypatch.setattr(startup, "columns", unavailable)
    assert startup.fits(RELEASES["2"], make_engine())
    assert "schema not compared" in caplog.text
