"""The API's calls to the provider: against a real one, a closed port, and a socket that never answers."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from circuitbreaker import CircuitBreakerError
from prometheus_client import CollectorRegistry

from runlab.waiting import wait_until
from sut.api import provider as module
from sut.api.provider import Bounds, Breaker, Provider, ProviderError

ROOT = Path(__file__).parents[1]
CLOSED = "http://127.0.0.1:1"


@pytest.fixture(scope="module")
def west() -> Iterator[str]:
    """A real region."""
    url, environment = "http://127.66.7.1:8000", {"REGION": "west", "LISTEN_HOST": "127.66.7.1"}
    process = subprocess.Popen([sys.executable, "-m", "sut.provider"], env={**os.environ, **environment}, cwd=ROOT)

    def serves() -> bool:
        try:
            return httpx.get(f"{url}/status", trust_env=False).json()["region"] == "west"
        except httpx.TransportError:
            return False

    try:
        wait_until("the provider", serves, deadline_s=20)
        yield url
    finally:
        process.terminate()
        assert process.wait(10) == 0


@pytest.fixture
def silent() -> Iterator[str]:
    """It accepts, and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


def made(east: str, west: str = CLOSED, **bounds: Any) -> tuple[Provider, Callable[[str], float]]:
    """A provider, and how many calls to the east had an outcome."""
    registry = CollectorRegistry()

    def count(outcome: str) -> float:
        labels = {"region": "east", "outcome": outcome}
        return registry.get_sample_value("provider_call_duration_seconds_count", labels) or 0.0

    return Provider({"east": east, "west": west}, Bounds(**bounds), registry), count


def failed(provider: Provider) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        provider.suggestions()
    return caught.value


def test_the_region_that_is_set_answers_at_once(west: str) -> None:
    provider, _ = made(CLOSED, west, region="west")
    provider.suggestions()
    started = time.monotonic()
    found = [provider.suggestions() for _ in range(20)]
    assert {answer["region"] for answer in found} == {"west"}
    assert len(found[0]["suggestions"]) == 20
    assert time.monotonic() - started < 0.4  # an answer that waits for the delayed ACK takes 40 ms


def test_a_failure_is_told_in_the_clients_own_words(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, module.log.name)
    provider, count = made(CLOSED)
    assert not failed(provider).late
    (record,) = caplog.records
    said = httpx.ConnectError.__name__, "east", f"[Errno 111] {os.strerror(111)}"
    assert (record.kind, record.region, record.error) == said  # type: ignore[attr-defined]
    assert (count("error"), count("timeout")) == (1, 0)


def test_a_provider_that_hangs_is_late_after_the_timeout(silent: str) -> None:
    provider, count = made(silent, timeout_s=0.3)
    started = time.monotonic()
    assert failed(provider).late
    assert 0.3 <= time.monotonic() - started < 2
    assert (count("timeout"), count("error")) == (1, 0)


def test_retries_come_on_top_and_wait_longer_each_time() -> None:
    provider, count = made(CLOSED, retries=2, backoff_s=0.1)
    started = time.monotonic()
    failed(provider)
    assert 0.1 + 0.2 <= time.monotonic() - started < 2
    assert count("error") == 3


def test_the_other_region_is_asked_with_a_fallback_only(west: str) -> None:
    failed(made(CLOSED, west)[0])
    assert made(CLOSED, west, fallback=True)[0].suggestions()["region"] == "west"


def test_with_a_breaker_nobody_waits_for_a_provider_that_hangs(silent: str) -> None:
    provider, count = made(silent, timeout_s=0.2, breaker=True)
    for _ in range(module.OPENS_AFTER):
        failed(provider)
    started = time.monotonic()
    assert not failed(provider).late
    assert time.monotonic() - started < 0.1
    assert (count("timeout"), count("not asked")) == (module.OPENS_AFTER, 1)


class Called:
    """Has `threads` call through a breaker at the same time, and notes what came of each."""

    def __init__(self, breaker: Breaker, threads: int, fails: bool = False) -> None:
        self.calls, self.refused, self._fails = 0, 0, fails
        self._together = threading.Barrier(threads)
        self._guarded = breaker(self._call)
        running = [threading.Thread(target=self._try) for _ in range(threads)]
        started = time.monotonic()
        for thread in running:
            thread.start()
        for thread in running:
            thread.join()
        self.seconds = time.monotonic() - started

    def _call(self) -> None:
        self.calls += 1
        time.sleep(0.2)
        if self._fails:
            raise httpx.ReadTimeout("late")

    def _try(self) -> None:
        self._together.wait()
        try:
            self._guarded()
        except CircuitBreakerError:
            self.refused += 1
        except httpx.ReadTimeout:
            pass


def test_a_breaker_does_not_have_calls_wait_for_each_other() -> None:
    called = Called(Breaker("east"), 16)
    assert called.calls == 16
    assert called.seconds < 1


def test_half_open_it_lets_one_call_through_and_closes_when_that_succeeds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STAYS_OPEN_S", 0.3)
    breaker = Breaker("east")
    Called(breaker, module.OPENS_AFTER, fails=True)
    assert breaker.opened
    wait_until("half open", lambda: not breaker.opened, deadline_s=5)
    called = Called(breaker, 16, fails=True)
    assert (called.calls, called.refused) == (1, 15)
    wait_until("half open again", lambda: not breaker.opened, deadline_s=5)
    assert Called(breaker, 1).calls == 1
    assert breaker.closed


def test_bounds_are_those_of_the_environment() -> None:
    assert Bounds.of({}) == Bounds()
    given = {"PROVIDER_TIMEOUT_S": "2", "PROVIDER_RETRIES": "3", "PROVIDER_BREAKER": "on", "PROVIDER_FALLBACK": "on"}
    assert Bounds.of(given) == Bounds(2.0, 2.0, retries=3, breaker=True, fallback=True)
    with pytest.raises(ValueError, match="there is no north, only east, west"):
        Bounds.of({"PROVIDER_REGION": "north"})
