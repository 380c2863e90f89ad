"""POST /sessions and GET /suggestions with a real Redis, and with one that is not there or hangs."""

from __future__ import annotations

import logging
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis
from fastapi import FastAPI
from fastapi.testclient import TestClient

from runlab.waiting import wait_until
from sut.api.provider import Provider, ProviderError
from sut.api.suggestions import WAITS_S, log, make_router, make_sessions

HOST = "127.66.7.2"


class Suggesting(Provider):
    """A provider that answers, or fails as it is told to."""

    def __init__(self) -> None:
        self.failure: ProviderError | None = None

    def suggestions(self) -> dict[str, Any]:
        if self.failure:
            raise self.failure
        return {"region": "east", "suggestions": []}


@dataclass(frozen=True)
class Store:
    url: str
    process: subprocess.Popen[bytes]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server is not installed")
    folder: Path = tmp_path_factory.mktemp("redis")
    process = subprocess.Popen(
        ["redis-server", "--bind", HOST, "--port", "6379", "--save", "", "--dir", str(folder)],
        stdout=subprocess.DEVNULL,
    )

    def serves() -> bool:
        try:
            return bool(redis.Redis(HOST).ping())
        except redis.ConnectionError:
            return False

    try:
        wait_until("redis", serves, deadline_s=20)
        yield Store(f"redis://{HOST}:6379/0", process)
    finally:
        process.terminate()
        process.wait(10)


class Api:
    def __init__(self, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
        monkeypatch.setenv("SESSIONS_URL", url)
        self.provider = Suggesting()
        sessions = make_sessions()
        assert sessions
        app = FastAPI()
        app.include_router(make_router(sessions, self.provider))
        self.client = TestClient(app)

    def suggestions(self, session: str) -> int:
        return self.client.get("/suggestions", headers={"X-Session": session}).status_code


def test_suggestions_are_for_those_who_have_a_session(monkeypatch: pytest.MonkeyPatch, store: Store) -> None:
    api = Api(monkeypatch, store.url)
    opened = api.client.post("/sessions")
    assert opened.status_code == 201
    assert api.suggestions(opened.json()["session"]) == 200
    assert api.suggestions("made up") == 401
    assert api.client.get("/suggestions").status_code == 401


def test_a_provider_that_fails_is_502_and_one_that_is_late_504(monkeypatch: pytest.MonkeyPatch, store: Store) -> None:
    api = Api(monkeypatch, store.url)
    session = api.client.post("/sessions").json()["session"]
    api.provider.failure = ProviderError("it failed")
    assert api.suggestions(session) == 502
    api.provider.failure = ProviderError("it was late", late=True)
    assert api.suggestions(session) == 504


def test_a_closed_port_is_503_in_the_clients_own_words(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, log.name)
    api = Api(monkeypatch, "redis://127.0.0.1:1/0")
    assert api.client.post("/sessions").status_code == 503
    assert api.suggestions("any") == 503
    with pytest.raises(redis.ConnectionError) as caught:
        redis.Redis("127.0.0.1", 1).ping()
    said = [(record.kind, record.error) for record in caplog.records if record.name == log.name]  # type: ignore[attr-defined]
    assert said == [("ConnectionError", str(caught.value))] * 2


def test_a_store_that_hangs_is_503_after_one_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server((HOST, 0), backlog=8) as listening:
        api = Api(monkeypatch, f"redis://{HOST}:{listening.getsockname()[1]}/0")
        started = time.monotonic()
        assert api.suggestions("any") == 503
        assert WAITS_S <= time.monotonic() - started < 2 * WAITS_S


def test_a_store_that_hangs_once_it_was_asked_is_503_after_one_wait_too(
    monkeypatch: pytest.MonkeyPatch, store: Store
) -> None:
    api = Api(monkeypatch, store.url)
    session = api.client.post("/sessions").json()["session"]
    store.process.send_signal(signal.SIGSTOP)
    try:
        started = time.monotonic()
        assert api.suggestions(session) == 503
        assert WAITS_S <= time.monotonic() - started < 2 * WAITS_S
    finally:
        store.process.send_signal(signal.SIGCONT)
    assert api.suggestions(session) == 200


def test_a_store_that_fails_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client is told so: what it does of itself differs by how it is made, and by release."""
    with socket.create_server((HOST, 0), backlog=8) as listening:
        api = Api(monkeypatch, f"redis://{HOST}:{listening.getsockname()[1]}/0")
        hung_up: list[None] = []

        def hang_up() -> None:
            with suppress(OSError):
                while True:
                    listening.accept()[0].close()
                    hung_up.append(None)

        thread = threading.Thread(target=hang_up)
        thread.start()
        try:
            assert api.suggestions("any") == 503
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join(5)
    assert len(hung_up) == 1


def test_without_an_url_there_is_no_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SESSIONS_URL", raising=False)
    assert make_sessions() is None
