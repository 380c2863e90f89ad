"""The users' own record: what they asked for, what they got, and how long they waited. Nobody knows better."""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from runlab.journal import Journal
from runlab.model import Impact, JsonObject, Observation, Signal, Source, Stack, UsersSay
from verifiers.logs import Tail
from verifiers.watching import Loop

_POLL_S: Final = 0.1


@dataclass(frozen=True)
class Seen:
    """A `UsersRecord`: what the users wrote down from the window's beginning to the moment of asking."""

    requests: int
    failures: int
    longest_wait_s: float
    blocked_s: float

    def __str__(self) -> str:
        waits = f"longest wait {self.longest_wait_s:.2f} s, an endpoint blocked for {self.blocked_s:.2f} s"
        return f"{self.requests} requests, {self.failures} failed, {waits}"


class Users:
    """What a prevention may bound for the users, e.g. `impact = Users.blocked_s`."""

    blocked_s = Impact(
        "longest stretch in which no request to some endpoint succeeded", "s", "users' record", lambda r: r.blocked_s
    )
    longest_wait_s = Impact("longest wait of one request", "s", "users' record", lambda r: r.longest_wait_s)
    failures = Impact("failed requests", "", "users' record", lambda r: float(r.failures))


@dataclass
class _Endpoint:
    """`without_since`: when it last succeeded, or was first asked for."""

    without_since: float
    longest_s: float = 0.0
    failed: bool = False


@dataclass
class Tally:
    """Counts the record line by line. Of a request that was sent before `began`, only the wait since then counts."""

    began: float
    requests: int = 0
    failures: int = 0
    longest_wait_s: float = 0.0
    waiting: dict[int, tuple[str, float]] = field(default_factory=dict)
    """Endpoint and time of sending, by id."""
    _endpoints: dict[str, _Endpoint] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for endpoint, _ in self.waiting.values():
            self._endpoints.setdefault(endpoint, _Endpoint(self.began))

    def start(self, number: int, endpoint: str, t: float) -> None:
        self.waiting[number] = endpoint, t
        self._endpoints.setdefault(endpoint, _Endpoint(max(t, self.began)))

    def end(self, number: int, t: float, *, ok: bool) -> float | None:
        """Returns how long it waited in all, in seconds; None for a request whose beginning was not seen."""
        if number not in self.waiting:
            return None
        name, sent = self.waiting.pop(number)
        if t >= self.began:
            self._count(self._endpoints[name], max(sent, self.began), t, ok=ok)
        return t - sent

    def _count(self, endpoint: _Endpoint, sent: float, t: float, *, ok: bool) -> None:
        self.requests += 1
        self.failures += not ok
        self.longest_wait_s = max(self.longest_wait_s, t - sent)
        endpoint.failed = not ok or endpoint.failed
        if ok:
            endpoint.longest_s = max(endpoint.longest_s, t - endpoint.without_since)
            endpoint.without_since, endpoint.failed = t, False

    def seen(self, now: float) -> Seen:
        """The record up to `now`, requests that still wait included."""
        wanted = {endpoint for endpoint, _ in self.waiting.values()}
        waits = [now - max(sent, self.began) for _, sent in self.waiting.values()]
        blocked = [
            # Without a request that failed or waits, nobody wanted it: that is no stretch of being blocked.
            max(endpoint.longest_s, now - endpoint.without_since if endpoint.failed or name in wanted else 0.0)
            for name, endpoint in self._endpoints.items()
        ]
        return Seen(
            requests=self.requests + len(self.waiting),
            failures=self.failures,
            longest_wait_s=max([self.longest_wait_s, *waits]),
            blocked_s=max(blocked, default=0.0),
        )


@dataclass
class _Symptom:
    signal: Signal
    probe: UsersSay
    seen: bool = False
    crash: str = ""


class UsersWatcher:
    """Reads the users' record as it grows, and sees the symptoms that it tells of. A `Watcher`.

    `record` is a file of JSON Lines, two a request: `{"event": "start", "id", "t", "endpoint"}` and `{"event": "end",
    "id", "t", "ok", …}`; `t` is CLOCK_MONOTONIC in seconds. Users are served if in the last `recent_s` seconds requests
    were answered, none failed and none waited for `slow_s`. A record whose last line is older than `stale_s` is not
    fresh; users who give up after 4 s write at least that often even when nothing is answered.
    """

    name = "users"

    def __init__(
        self,
        stack: Stack,  # noqa: ARG002 -- watchers are built alike
        journal: Journal,
        signals: Sequence[Signal],
        *,
        record: Path,
        slow_s: float = 1.0,
        recent_s: float = 1.0,
        stale_s: float = 5.0,
    ) -> None:
        self._journal, self._slow_s, self._recent_s, self._stale_s = journal, slow_s, recent_s, stale_s
        self._symptoms = [_Symptom(s, s.probe) for s in signals if isinstance(s.probe, UsersSay)]
        self._arm: str | None = None
        self._tail = Tail(record, from_start=True)
        self._tally = Tally(time.monotonic())
        self._recent: deque[tuple[float, float, bool]] = deque()  # ended, waited, ok
        self._last_line = 0.0
        self._missing, self._malformed = "", ""
        self._lock = threading.Lock()
        self._loop = Loop("users", self._look, _POLL_S)

    def begin(self, arm: str) -> None:
        with self._lock:
            self._read()
            self._arm, self._malformed = arm, ""
            self._tally = Tally(time.monotonic(), waiting=self._tally.waiting)
            for symptom in self._symptoms:
                symptom.seen, symptom.crash = False, ""
            self._loop.forget()

    def record(self) -> Seen:
        """What the users wrote down since the arm began."""
        with self._lock:
            self._read()
            return self._tally.seen(time.monotonic())

    def settled(self) -> Observation:
        with self._lock:
            self._read()
            now = time.monotonic()
            ended = [(waited, ok) for t, waited, ok in self._recent if t >= now - self._recent_s]
            waits = [waited for waited, _ in ended] + [now - sent for _, sent in self._tally.waiting.values()]
            missing = self._missing
        failed, longest_s = sum(not ok for _, ok in ended), max(waits, default=0.0)
        holds = not missing and bool(ended) and not failed and longest_s < self._slow_s
        detail = missing or f"{len(waits)} requests, {failed} failed, longest {longest_s:.2f} s"
        return Observation(holds, "users' record", detail if ended or missing else f"{detail}; none was answered")

    def end(self) -> Sequence[Source]:
        self._look()
        with self._lock:
            age_s = time.monotonic() - self._last_line
            served, missing = self._tally.requests > 0, self._missing or self._malformed or self._loop.crash
            silent = missing or ("" if self._last_line > self._tally.began else "the users' record does not grow")
            self._arm = None
        gaps = [
            silent,
            "" if served else "no request ended",
            f"the users' last line is {age_s:.1f} s old" if age_s > self._stale_s and self._last_line else "",
        ]
        return [
            Source(
                symptom.signal.name,
                symptom.signal.claim,
                answers=not (silent or symptom.crash),
                exists=served,
                fresh=age_s <= self._stale_s,
                detail="; ".join(filter(None, (symptom.crash, *gaps))),
            )
            for symptom in self._symptoms
        ]

    def close(self) -> None:
        self._loop.close()

    def _look(self) -> None:
        with self._lock:
            self._read()
            if self._arm is not None:
                self._evaluate(self._tally.seen(time.monotonic()))

    def _evaluate(self, seen: Seen) -> None:
        for symptom in self._symptoms:
            if symptom.seen:
                continue
            try:
                symptom.seen = bool(symptom.probe.predicate(seen))
            except Exception as crash:  # noqa: BLE001 -- a scenario's own code; its silence will not count
                symptom.crash = f"the predicate crashed: {type(crash).__name__}: {crash}"
            if symptom.seen:
                self._journal.write(
                    "signal",
                    arm=self._arm,
                    claim=symptom.signal.claim,
                    name=symptom.signal.name,
                    signal_kind=symptom.signal.kind,
                    by="users' record",
                    detail=f"{symptom.probe.what}: {seen}",
                )

    def _read(self) -> None:
        self._missing = ""
        try:
            for line in self._tail.lines():
                self._note(line)
        except OSError as error:
            self._missing = f"the users' record can't be read: {error.strerror}"
        oldest = time.monotonic() - self._recent_s
        while self._recent and self._recent[0][0] < oldest:
            self._recent.popleft()

    def _note(self, line: str) -> None:
        try:
            event: JsonObject = json.loads(line)
            t = float(event["t"])
            if event["event"] == "start":
                self._tally.start(event["id"], event["endpoint"], t)
            else:
                waited = self._tally.end(event["id"], t, ok=event["ok"])
                if waited is not None:
                    self._recent.append((t, waited, event["ok"]))
        except (ValueError, KeyError, TypeError):
            self._malformed = f"not a line of a users' record: {line[:80]!r}"
            return
        self._last_line = t
