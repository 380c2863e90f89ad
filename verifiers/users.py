"""The users' own record: what they asked for, what they got, and how long they waited. Nobody knows better."""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple, Self, TypeAlias

from runlab.journal import Journal
from runlab.model import Impact, JsonObject, Observation, Signal, Source, Stack, UsersSay
from verifiers.logs import Tail
from verifiers.watching import Loop, reset_at

_POLL_S: Final = 0.1

Request: TypeAlias = tuple[str, int]
"""The service that holds the user, and the request's id in its record."""


@dataclass(frozen=True)
class Seen:
    """A `UsersRecord`: what the users wrote down from the window's beginning to the moment of asking."""

    requests: int
    failures: int
    longest_wait_s: float
    blocked_s: float
    by_endpoint: Mapping[str, Seen] = field(default_factory=dict, compare=False, repr=False)
    """The same of each endpoint alone, e.g. "GET /projects"."""

    @classmethod
    def together(cls, endpoints: Mapping[str, Seen]) -> Self:
        """What several endpoints' records say as one."""
        every = endpoints.values()
        return cls(
            requests=sum(one.requests for one in every),
            failures=sum(one.failures for one in every),
            longest_wait_s=max((one.longest_wait_s for one in every), default=0.0),
            blocked_s=max((one.blocked_s for one in every), default=0.0),
            by_endpoint=endpoints,
        )

    def of(self, *parts: str) -> Seen:
        """The record of those endpoints alone whose names hold one of `parts`, e.g. "/projects". LookupError: there
        are none, so that nobody takes silence for a good word."""
        some = {name: one for name, one in self.by_endpoint.items() if any(part in name for part in parts)}
        if not some:
            raise LookupError(f"nobody asked for {' or '.join(parts)}, only for {', '.join(self.by_endpoint)}")
        return self.together(some)

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
    """`in_vain_since`: since when somebody has wanted it and nobody has got it; None while nobody waits or has failed.

    Without that, an endpoint that is seldom asked would look blocked for as long as nobody asks.
    """

    in_vain_since: float | None = None
    blocked_s: float = 0.0
    waiting: int = 0
    requests: int = 0
    failures: int = 0
    longest_wait_s: float = 0.0

    def start(self, t: float) -> None:
        self.waiting += 1
        if self.in_vain_since is None:
            self.in_vain_since = t

    def end(self, t: float, *, ok: bool) -> None:
        self.waiting -= 1
        if ok:
            self.blocked_s = max(self.blocked_s, self._stretch_s(t))
            self.in_vain_since = t if self.waiting else None

    def count(self, sent: float, t: float, *, ok: bool) -> None:
        self.requests += 1
        self.failures += not ok
        self.longest_wait_s = max(self.longest_wait_s, t - sent)

    def seen(self, now: float, waits: Iterable[float]) -> Seen:
        """`waits`: of the requests that still wait, for how long each does."""
        waiting = list(waits)
        return Seen(
            requests=self.requests + len(waiting),
            failures=self.failures,
            longest_wait_s=max([self.longest_wait_s, *waiting]),
            blocked_s=max(self.blocked_s, self._stretch_s(now)),
        )

    def _stretch_s(self, now: float) -> float:
        return 0.0 if self.in_vain_since is None else now - self.in_vain_since


@dataclass
class Tally:
    """Counts the record line by line. Of a request that was sent before `began`, only the wait since then counts."""

    began: float
    waiting: dict[Request, tuple[str, float]] = field(default_factory=dict)
    """Endpoint and time of sending, by request."""
    _endpoints: dict[str, _Endpoint] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for endpoint, _ in self.waiting.values():
            self._endpoints.setdefault(endpoint, _Endpoint()).start(self.began)

    def start(self, request: Request, endpoint: str, t: float) -> None:
        self.waiting[request] = endpoint, t
        self._endpoints.setdefault(endpoint, _Endpoint()).start(max(t, self.began))

    def end(self, request: Request, t: float, *, ok: bool) -> float | None:
        """Returns how long it waited in all, in seconds; None for a request whose beginning was not seen."""
        if request not in self.waiting:
            return None
        name, sent = self.waiting.pop(request)
        self._endpoints[name].end(max(t, self.began), ok=ok or t < self.began)
        if t >= self.began:
            self._endpoints[name].count(max(sent, self.began), t, ok=ok)
        return t - sent

    def seen(self, now: float) -> Seen:
        """The record up to `now`, requests that still wait included."""
        waits: dict[str, list[float]] = {name: [] for name in self._endpoints}
        for name, sent in self.waiting.values():
            waits[name].append(now - max(sent, self.began))
        return Seen.together({name: it.seen(now, waits[name]) for name, it in self._endpoints.items()})


@dataclass
class _Symptom:
    signal: Signal
    probe: UsersSay
    seen: bool = False
    crash: str = ""


class _Ended(NamedTuple):
    t: float
    waited: float
    ok: bool
    endpoint: str


@dataclass
class _Stream:
    """The record of one service that holds users, as far as it was read."""

    service: str
    tail: Tail
    recent: deque[_Ended] = field(default_factory=deque)
    endpoints: set[str] = field(default_factory=set)
    last_line: float = 0.0
    ended: int = 0
    """Requests that ended in the window."""
    missing: str = ""
    malformed: str = ""

    def gap(self, began: float) -> str:
        """Why this record says nothing of the window; "" when it does."""
        grows = self.last_line > began
        return self.missing or self.malformed or ("" if grows else f"the record of {self.service} does not grow")

    def age_s(self, now: float) -> float:
        return now - self.last_line


class UsersWatcher:
    """Reads the users' records as they grow, and sees the symptoms that they tell of together. A `Watcher`.

    `records` has a file of JSON Lines for each service that holds users, two lines a request: `{"event": "start", "id",
    "t", "endpoint"}` and `{"event": "end", "id", "t", "ok", …}`; `t` is CLOCK_MONOTONIC in seconds, `id` is the file's
    own, `endpoint` everybody's. A record whose last line is older than `stale_s` is not fresh; users who give up after
    4 s write at least that often even when nothing is answered.

    Users are served if those of every record are: in the last `recent_s` seconds requests were answered, none failed
    and none waited for `slow_s`. What was sent before the stack's last reset says nothing of after it: it does not
    count, has to be over, and each endpoint must be answered anew, or `recent_s` pass.
    """

    name = "users"

    def __init__(
        self,
        stack: Stack,
        journal: Journal,
        signals: Sequence[Signal],
        *,
        records: Mapping[str, Path],
        slow_s: float = 1.0,
        recent_s: float = 1.0,
        stale_s: float = 5.0,
    ) -> None:
        self._stack, self._journal = stack, journal
        self._slow_s, self._recent_s, self._stale_s = slow_s, recent_s, stale_s
        self._symptoms = [_Symptom(s, s.probe) for s in signals if isinstance(s.probe, UsersSay)]
        self._arm: str | None = None
        self._streams = [_Stream(service, Tail(path, from_start=True)) for service, path in records.items()]
        self._tally = Tally(time.monotonic())
        self._lock = threading.Lock()
        self._loop = Loop("users", self._look, _POLL_S)

    def begin(self, arm: str) -> None:
        with self._lock:
            self._read()
            self._arm = arm
            for stream in self._streams:
                stream.malformed, stream.ended = "", 0
            self._tally = Tally(time.monotonic(), waiting=self._tally.waiting)
            for symptom in self._symptoms:
                symptom.seen, symptom.crash = False, ""
            self._loop.forget()

    def record(self) -> Seen:
        """What the users wrote down since the arm began."""
        with self._lock:
            self._read()
            return self._tally.seen(time.monotonic())

    def serves(self, *parts: str, within_s: float) -> bool:
        """Whether, in the last `recent_s`, requests to endpoints whose names hold one of `parts` were answered, of each
        part some, none failed and none waited for `within_s`, those that still wait included."""
        with self._lock:
            self._read()
            now, reset = time.monotonic(), reset_at(self._stack)
            late = [
                it
                for stream in self._streams
                for it in stream.recent
                if it.t >= max(now - self._recent_s, reset) and any(part in it.endpoint for part in parts)
            ]
            waits = [now - at for name, at in self._tally.waiting.values() if any(part in name for part in parts)]
            slow = any(waited >= within_s for waited in (*waits, *(it.waited for it in late)))
            answered = all(any(part in it.endpoint for it in late) for part in parts)
            return answered and all(it.ok for it in late) and not slow

    def settled(self) -> Observation:
        with self._lock:
            self._read()
            looks = [self._served(stream) for stream in self._streams]
        holds = bool(looks) and all(served for served, _ in looks)
        return Observation(holds, "users' record", "; ".join(said for _, said in looks) or "there is no record")

    def end(self) -> Sequence[Source]:
        self._look()
        with self._lock:
            now, began = time.monotonic(), self._tally.began
            silent = [self._loop.crash, *(stream.gap(began) for stream in self._streams)]
            unserved = [f"no request of {stream.service} ended" for stream in self._streams if not stream.ended]
            stale = [
                f"the last line of {stream.service} is {stream.age_s(now):.1f} s old"
                for stream in self._streams
                if stream.last_line and stream.age_s(now) > self._stale_s
            ]
            fresh = bool(self._streams) and all(stream.age_s(now) <= self._stale_s for stream in self._streams)
            self._arm = None
        return [
            Source(
                symptom.signal.name,
                symptom.signal.claim,
                answers=bool(self._streams) and not any((symptom.crash, *silent)),
                exists=bool(self._streams) and not unserved,
                fresh=fresh,
                detail="; ".join(filter(None, (symptom.crash, *silent, *unserved, *stale))),
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

    def _served(self, stream: _Stream) -> tuple[bool, str]:
        """Whether the users of one record are served, and how; to be asked after reading, under the lock."""
        now, reset = time.monotonic(), reset_at(self._stack)
        sent = [at for (service, _), (_, at) in self._tally.waiting.items() if service == stream.service]
        ended = [it for it in stream.recent if it.t >= now - self._recent_s and it.t - it.waited >= reset]
        waits = [it.waited for it in ended] + [now - at for at in sent]
        failed, longest_s = sum(not it.ok for it in ended), max(waits, default=0.0)
        detail = f"{stream.service}: {len(waits)} requests, {failed} failed, longest {longest_s:.2f} s"
        if stream.missing:
            return False, stream.missing
        if not ended:
            return False, f"{detail}; none was answered"
        unheard = stream.endpoints - {it.endpoint for it in ended} if reset > now - self._recent_s else ()
        if any(at < reset for at in sent):
            return False, f"{detail}; one of before the reset still waits"
        if unheard:
            return False, f"{detail}; since the reset none of {', '.join(sorted(unheard))} was answered"
        return not failed and longest_s < self._slow_s, detail

    def _read(self) -> None:
        oldest = time.monotonic() - self._recent_s
        for stream in self._streams:
            stream.missing = ""
            try:
                for line in stream.tail.lines():
                    self._note(stream, line)
            except OSError as error:
                stream.missing = f"the users' record can't be read: {error.strerror} ({stream.service})"
            while stream.recent and stream.recent[0].t < oldest:
                stream.recent.popleft()

    def _note(self, stream: _Stream, line: str) -> None:
        try:
            event: JsonObject = json.loads(line)
            t, request = float(event["t"]), (stream.service, event["id"])
            if event["event"] == "start":
                self._tally.start(request, event["endpoint"], t)
                stream.endpoints.add(event["endpoint"])
            else:
                endpoint, _ = self._tally.waiting.get(request, ("", 0.0))
                waited = self._tally.end(request, t, ok=event["ok"])
                if waited is not None:
                    stream.recent.append(_Ended(t, waited, event["ok"], endpoint))
                    stream.ended += t >= self._tally.began
        except (ValueError, KeyError, TypeError):
            stream.malformed = f"not a line of the record of {stream.service}: {line[:80]!r}"
            return
        stream.last_line = t
