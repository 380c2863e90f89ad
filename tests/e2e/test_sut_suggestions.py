"""GET /suggestions on real servers while the provider, or the sessions' store, fails: what bounds the harm, and how."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import httpx
import pytest

from faults.toxics import CutData, Down, Latency, OnLink, Timeout
from runlab.stack.processes import ProcessStack
from runlab.waiting import wait_until
from sut.api.provider import OPENS_AFTER, STAYS_OPEN_S
from sut.api.suggestions import WAITS_S
from tests.e2e import fault_stacks

SERVICES = {
    *("postgres", "migrate", "redis", "toxiproxy", "api1"),
    *("provider-east", "provider-west", "toxiproxy-east"),
}
AT_ONCE_S = 0.3
CALLS = re.compile(r'provider_call_duration_seconds_count\{outcome="(.+)",region="(.+)"\} (\S+)')


@dataclass(frozen=True)
class Got:
    status: int
    seconds: float
    region: str = ""


class Api:
    """A replica of the API, and one who has a session there."""

    def __init__(self, stack: ProcessStack) -> None:
        self.stack = stack
        self._node = f"http://{stack.host('api1')}:8001/release"
        self._http = httpx.Client(base_url=f"http://{stack.host('api1')}:8000", timeout=30, trust_env=False)

    def runs_with(self, **settings: str) -> None:
        """Begin anew with these settings, and a session."""
        for given in ({"PROVIDER_BACKOFF_S": "9"}, settings):  # with the same ones it would go on as it is
            order = {"release": "1", "settings": given}
            httpx.put(self._node, json=order, timeout=20, trust_env=False).raise_for_status()
        opened = self._http.post("/sessions").raise_for_status().json()
        self._session = {"X-Session": opened["session"]}

    def suggestions(self) -> Got:
        started = time.monotonic()
        answer = self._http.get("/suggestions", headers=self._session)
        region = answer.json().get("region", "") if answer.is_success else ""
        return Got(answer.status_code, time.monotonic() - started, region)

    def together(self, count: int) -> list[Got]:
        with ThreadPoolExecutor(count) as pool:
            return list(pool.map(lambda _: self.suggestions(), range(count)))

    def calls(self, region: str = "east") -> dict[str, int]:
        """How many calls of that region had each outcome."""
        page = self._http.get("/metrics").text
        return {outcome: int(float(count)) for outcome, of, count in CALLS.findall(page) if of == region}

    @contextmanager
    def with_fault(self, fault: OnLink) -> Iterator[None]:
        fault_stacks.need(self.stack, fault)
        undo = fault.prepare(self.stack)
        fault.inject(self.stack, undo)
        try:
            yield
        finally:
            fault.revert(self.stack, undo)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessStack]:
    yield from fault_stacks.start(tmp_path_factory.mktemp("reports"), *SERVICES)


@pytest.fixture
def api(stack: ProcessStack) -> Api:
    return Api(stack)


def test_a_breaker_opens_lets_one_call_through_and_closes_when_that_succeeds(api: Api) -> None:
    api.runs_with(PROVIDER_TIMEOUT_S="0.5", PROVIDER_BREAKER="on")
    with api.with_fault(Timeout("east")):
        got = [api.suggestions() for _ in range(OPENS_AFTER)]
        opened = time.monotonic()
        assert {it.status for it in got} == {504}
        assert min(it.seconds for it in got) >= 0.5
        got = [api.suggestions() for _ in range(10)]
        assert {it.status for it in got} == {502}
        assert max(it.seconds for it in got) < AT_ONCE_S
        assert api.calls() == {"ok": 0, "timeout": OPENS_AFTER, "error": 0, "not asked": 10}

        _await(opened + STAYS_OPEN_S)
        got = api.together(8)
        opened = time.monotonic()
        assert sorted(it.status for it in got) == [502] * 7 + [504]
        assert api.calls() == {"ok": 0, "timeout": OPENS_AFTER + 1, "error": 0, "not asked": 17}
        assert api.suggestions().status == 502  # open again

    _await(opened + STAYS_OPEN_S)
    assert api.suggestions().status == 200
    assert {it.status for it in api.together(8)} == {200}
    assert api.calls()["ok"] == 9


def test_without_a_breaker_every_call_waits(api: Api) -> None:
    api.runs_with(PROVIDER_TIMEOUT_S="0.5")
    with api.with_fault(Timeout("east")):
        got = [api.suggestions() for _ in range(OPENS_AFTER + 2)]
        assert {it.status for it in got} == {504}
        assert min(it.seconds for it in got) >= 0.5
        assert api.calls()["not asked"] == 0


@pytest.mark.parametrize(("settings", "waits_s"), [({"PROVIDER_TIMEOUT_S": "0.5"}, 0.5), ({}, 10.0)])
def test_a_call_waits_for_as_long_as_is_set_and_ten_seconds_where_nothing_is(
    api: Api, settings: dict[str, str], waits_s: float
) -> None:
    api.runs_with(**settings)
    with api.with_fault(Timeout("east")):
        got = api.suggestions()
        assert got.status == 504
        assert waits_s <= got.seconds < waits_s + 1


def test_a_timeout_shorter_than_answers_take_fails_them_all_however_often_it_is_tried(api: Api) -> None:
    with api.with_fault(Latency("east", latency_ms=300)):
        api.runs_with()
        assert {api.suggestions().status for _ in range(4)} == {200}
        api.runs_with(PROVIDER_TIMEOUT_S="0.2", PROVIDER_RETRIES="2")
        assert {api.suggestions().status for _ in range(4)} == {504}
        assert api.calls()["timeout"] == 12


def test_a_retry_has_what_breaks_off_now_and_then(api: Api) -> None:
    """Two answers come whole over a connection, and the third does not."""
    with api.with_fault(CutData("east", limit_bytes=10_000)):
        api.runs_with()
        assert [api.suggestions().status for _ in range(9)] == [200, 200, 502] * 3
        api.runs_with(PROVIDER_RETRIES="1")
        assert [api.suggestions().status for _ in range(9)] == [200] * 9
        assert api.calls()["error"] == 4  # of the 13 calls every third


def test_retries_wait_longer_each_time(api: Api) -> None:
    api.runs_with(PROVIDER_RETRIES="3", PROVIDER_BACKOFF_S="0.2")
    with api.with_fault(Down("east")):
        got = api.suggestions()
        assert got.status == 502
        assert 0.2 + 0.4 + 0.8 <= got.seconds < 3 * 0.2 + 0.2 + 0.4 + 0.8 + AT_ONCE_S
        assert api.calls()["error"] == 4


def test_the_other_region_is_asked_where_that_is_set(api: Api) -> None:
    with api.with_fault(Down("east")):
        api.runs_with()
        assert api.suggestions().status == 502
        api.runs_with(PROVIDER_FALLBACK="on")
        assert api.suggestions().region == "west"
    assert api.suggestions().region == "east"


def test_a_session_store_that_hangs_costs_one_wait(api: Api) -> None:
    api.runs_with()
    with api.with_fault(Timeout("sessions-db")):
        got = api.together(4)
        assert {it.status for it in got} == {503}
        assert max(it.seconds for it in got) < 2 * WAITS_S
    assert api.suggestions().status == 200


def _await(moment: float) -> None:
    wait_until("the breaker's time", lambda: time.monotonic() > moment, deadline_s=STAYS_OPEN_S + 1)
