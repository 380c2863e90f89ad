"""The API without its database: what it answers, counts and logs then. With one: tests/e2e/test_sut.py."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import httpx
import pytest

from sut.api.app import create_app


class Client:
    """Asks the application without a socket between."""

    def __init__(self) -> None:
        self._transport = httpx.ASGITransport(create_app())

    def request(self, method: str, path: str, **body: Any) -> httpx.Response:
        async def ask() -> httpx.Response:
            async with httpx.AsyncClient(transport=self._transport, base_url="http://api") as client:
                return await client.request(method, path, json=body or None)

        return asyncio.run(ask())

    def get(self, path: str) -> httpx.Response:
        return self.request("GET", path)


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Client:
    """An API whose database is a closed port."""
    for name, value in {"PGHOST": "127.0.0.1", "PGPORT": "1", "PGUSER": "app", "PGPASSWORD": "not-to-be-told"}.items():
        monkeypatch.setenv(name, value)
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
    assert any("port 1" in it.get("error", "") for it in told)
    assert "not-to-be-told" not in str(told)


def test_health_asks_nobody(client: Client) -> None:
    assert client.get("/health").json() == {"status": "ok"}


def test_paths_that_no_route_knows_share_one_series(client: Client) -> None:
    for path in ("/a", "/b"):
        assert client.get(path).status_code == 404
    assert counted(client, "unknown", 404) == 2


def test_a_body_that_makes_no_sense_never_reaches_the_database(client: Client) -> None:
    assert client.request("POST", "/projects", name="").status_code == 422
    assert client.request("PATCH", "/projects/1", status="lost").status_code == 422
