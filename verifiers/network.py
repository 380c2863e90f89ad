"""The platform's network as its owners see it: who is served, by which region, and where names lead.

Nothing here asks the API itself: a request that waits for a dead provider would keep one of its threads from the users.
Scenarios look for their goal through it; a step definition never gets one.
"""

from __future__ import annotations

import asyncio
import csv
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, TypeVar

import httpx
import pytest

from runlab.arm import Arm
from runlab.journal import Journal
from runlab.laboratory import Laboratory
from runlab.model import Impact, Json, JsonObject, LabError, Stack, UsersRecord
from runlab.waiting import DeadlineError, wait_until
from verifiers.users import Seen, UsersWatcher

NODES: Final = ("api1", "api2")
ZONES: Final = ("zone-a", "zone-b")
NODE_PORT: Final = 8001
STATS_PORT: Final = 8405
TOXIPROXY_PORT: Final = 8474
NAMES: Final[Mapping[str, str]] = {
    "db.platform.internal": "db",
    "sessions.platform.internal": "sessions-db",
    "east.provider.example": "east",
}
"""The names by which the platform calls what it needs, and the host that each should lead to."""

SOON_S: Final = 0.4
"""An answer that takes longer than this is not what the platform is for; usually they take a tenth of it."""

PATIENCE_S: Final = 4.0
"""How long one of a crowd waits for an answer; users give up after as long."""

PROBES: Final = {"http", "ping"}
"""How the canary asks."""

_BOTH_WITHIN_S = 3.0
_ROLLED_WITHIN_S = 15.0
_SETTING = re.compile(r"[A-Z][A-Z0-9_]*")
"""A release's settings are environment variables; what else a case sets is somebody else's."""
_ADDRESS = re.compile(r"^\d+\.\d+\.\d+\.\d+$", re.MULTILINE)
T = TypeVar("T")


class Requests:
    """What a prevention may bound for a part of the requests, e.g. `impact = Requests.suggestions_failed`."""

    @staticmethod
    def failed(words: str, *parts: str) -> Impact:
        """How many requests to endpoints whose name holds one of `parts` failed; `words` say which they are."""
        return Impact(f"failed requests for {words}", "requests", "users' record", lambda r: _seen(r, parts).failures)

    @staticmethod
    def longest_wait(words: str, *parts: str) -> Impact:
        """How long one request to such endpoints waited, finished or not."""
        return Impact(
            f"longest wait of one request for {words}", "s", "users' record", lambda r: _seen(r, parts).longest_wait_s
        )

    @staticmethod
    def blocked_s(words: str, *parts: str) -> Impact:
        """For how long no request to some such endpoint succeeded."""
        return Impact(
            f"longest stretch in which no request for {words} succeeded",
            "s",
            "users' record",
            lambda r: _seen(r, parts).blocked_s,
        )


def _seen(record: UsersRecord, parts: tuple[str, ...]) -> Seen:
    assert isinstance(record, Seen)
    return record.of(*parts)


class Crowd:
    """People beside those of the users' record, who ask for suggestions on one session, `per_s` times a second.

    Each waits for 4 s at most, and they come however the others fare. They come from its making until `close`.
    """

    def __init__(self, url: str, session: str, per_s: float) -> None:
        self._url, self._session, self._pause_s = url, {"X-Session": session}, 1 / per_s
        self._over = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._come()), name="crowd", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Those who still wait go away."""
        self._over.set()
        self._thread.join()

    async def _come(self) -> None:
        anybody = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(base_url=self._url, timeout=PATIENCE_S, limits=anybody, trust_env=False) as http:
            waiting: set[asyncio.Task[None]] = set()
            while not self._over.is_set():
                task = asyncio.create_task(self._ask(http))
                waiting.add(task)
                task.add_done_callback(waiting.discard)
                await asyncio.sleep(self._pause_s)
            for task in waiting:
                task.cancel()

    async def _ask(self, http: httpx.AsyncClient) -> None:
        with suppress(httpx.HTTPError):
            await http.get("/suggestions", headers=self._session)


@dataclass
class Network:
    """The running platform's network, with the settings of the arm's case."""

    stack: Stack
    http: httpx.Client
    users: UsersWatcher
    journal: Journal
    settings: Mapping[str, Json]
    _crowd: Crowd | None = None

    def close(self) -> None:
        """Whom it had come goes away."""
        if self._crowd:
            self._crowd.close()

    def configure(self) -> None:
        """Have both replicas run with the settings of this case; returns once they serve. LabError: one does not."""
        settings = {name: value for name, value in self.settings.items() if _SETTING.fullmatch(name)}
        if not settings:
            return

        def put(node: str) -> None:
            url = f"http://{self.stack.host(node)}:{NODE_PORT}/release"
            answer = self.http.put(url, json={"release": "1", "settings": settings}, timeout=_ROLLED_WITHIN_S)
            if not answer.is_success:
                raise LabError(f"{node} does not run with {settings}: {answer.text}")

        _at_once(put, NODES)

    def take_out(self, replica: str) -> None:
        """Have the load balancer, by its own maintenance mode, send nothing to this replica. LabError: it does not."""
        stats = f"http://{self.stack.host('lb')}:{STATS_PORT}/stats"
        self.http.post(stats, data={"s": replica, "action": "maint", "b": "api"})
        table = self.http.get(f"{stats};csv").text.removeprefix("# ").splitlines()
        status = next((row["status"] for row in csv.DictReader(table) if row["svname"] == replica), "unknown")
        if status != "MAINT":
            raise LabError(f"the load balancer has {replica} as {status}, not in maintenance")

    def crowd(self, per_s: float) -> None:
        """From now on have so many more requests for suggestions a second as well. Returns at once."""
        url = f"http://{self.stack.host('lb')}:8000"
        opened = self.http.post(f"{url}/sessions").raise_for_status().json()
        self._crowd = Crowd(url, str(opened["session"]), per_s)

    def provider_is_away(self, for_s: float) -> None:
        """The provider's active region restarts: for so long nobody listens there. Returns once it is back; with 0 it
        was never away."""
        if not for_s:
            return
        link = f"http://{self.stack.host('toxiproxy-east')}:{TOXIPROXY_PORT}/proxies/east"
        self.http.post(link, json={"enabled": False}).raise_for_status()
        try:
            time.sleep(for_s)
        finally:
            self.http.post(link, json={"enabled": True}).raise_for_status()

    def serves(self, *parts: str) -> bool:
        """Whether of late requests to endpoints whose names hold one of `parts` were answered, all of them well and
        soon."""
        return self.users.serves(*parts, within_s=SOON_S)

    def region(self) -> str:
        """The provider's region that both replicas are told to use, or both answers where they differ."""
        told = _at_once(self._region, NODES)
        return " and ".join(dict.fromkeys(told))

    def names(self, name: str | None = None) -> str:
        """What both zones get for `name`, or for the case's own: the "right" address, a "wrong" one, "no answer"."""
        asked = name or str(self.settings["hostname"])
        right = self.stack.inside(NAMES[asked])
        answers = _at_once(lambda zone: self._address(asked, zone), ZONES)
        if not all(answers):
            return "no answer"
        return "right" if set(answers) == {right} else "wrong"

    def told_after_s(self, *alerts: str, probe: str = "") -> float:
        """Seconds from the trigger of this arm until the first of `alerts` was delivered; how long ago the trigger was
        when none was yet. Of those that a canary raises only its own: `probe` is "http" or "ping"."""
        began: float = next(event["t"] for event in self.journal.of_arm() if event["kind"] == "trigger")
        of_probe = [it["t"] for it in self._delivered() if it["alert"] in alerts and _is_of(probe, it["detail"])]
        return max(0.0, min(of_probe, default=time.monotonic()) - began)

    def told_by(self) -> set[str]:
        """The probes of the canary, "http" and "ping", whose alert was delivered in this arm, or is within three
        seconds: both have the time for it."""

        def told() -> set[str]:
            details = [it["detail"] for it in self._delivered()]
            return {probe for probe in PROBES if any(f"probe={probe}" in detail for detail in details)}

        with suppress(DeadlineError):
            wait_until("alerts of both probes", lambda: told() == PROBES, deadline_s=_BOTH_WITHIN_S)
        return told()

    def _delivered(self) -> list[JsonObject]:
        """The alerts of this arm that were delivered, without those that began before it."""
        events = [it for it in self.journal.of_arm() if it["kind"] == "hop" and it["hop"] == "delivered"]
        return [it for it in events if "does not count" not in it["detail"]]

    def _region(self, node: str) -> str:
        answer = self.http.get(f"http://{self.stack.host(node)}:{NODE_PORT}/release").raise_for_status()
        return str(answer.json().get("settings", {}).get("PROVIDER_REGION", "east"))

    def _address(self, name: str, zone: str) -> str:
        """The address that a program in this zone would get; "" for no answer."""
        argv = ["dig", "+short", "+time=1", "+tries=1", name]
        printed = self.stack.execute(argv, account="operator", on=zone, time_limit_s=5.0).stdout
        return next(iter(_ADDRESS.findall(printed)), "")


def _is_of(probe: str, labels: str) -> bool:
    """Whether an alert with these labels is the probe's, or no probe's at all; each is where `probe` is ""."""
    return not probe or "probe=" not in labels or f"probe={probe}" in labels


def _at_once(ask: Callable[[str], T], of: tuple[str, ...]) -> list[T]:
    """What each answers, asked side by side: one that hangs must not keep the other waiting."""
    with ThreadPoolExecutor(len(of)) as pool:
        return list(pool.map(ask, of))


@pytest.fixture
def network(arm: Arm, laboratory: Laboratory) -> Iterator[Network]:
    """The platform's network, for one arm."""
    users = next((watcher for watcher in laboratory.watchers if isinstance(watcher, UsersWatcher)), None)
    assert users is not None, "nobody watches the users"
    with httpx.Client(timeout=2.0, trust_env=False) as http:
        network = Network(laboratory.stack, http, users, laboratory.journal, arm.settings)
        yield network
        network.close()
