"""Links that are slow, narrow, cut or gone: what an on-call engineer knows as "the network is acting up".

Each is done by Toxiproxy at one of the platform's links (faults/links.py), which stands between a client and the
server it wants. A toxic is on what the server says to its clients. The witness does not ask Toxiproxy: it uses the link
as a client would, and the server without the link, and compares.
"""

from __future__ import annotations

import uuid
from abc import abstractmethod
from dataclasses import dataclass
from typing import Final

from faults import links
from faults.links import Exchange
from faults.toxiproxy import Toxic, Toxiproxy
from runlab.model import Fault, LabError, Observation, Stack, Undo
from runlab.waiting import wait_until

IN_EFFECT_WITHIN_S: Final = 20.0
SILENCE_S: Final = 2.0
"""So long without a byte is silence; a server that works answers within some ms."""

_TRIES: Final = 3
_GRACE_S: Final = 5.0


@dataclass(frozen=True)
class OnLink(Fault):
    """Something is wrong with the link `link`: "db", "sessions-db" or "east"."""

    link: str

    def __post_init__(self) -> None:
        links.find(self.link)

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"api"}) | links.find(self.link).needs

    @abstractmethod
    def is_so(self, exchange: Exchange) -> bool:
        """Whether an exchange was what this fault makes of it."""

    @abstractmethod
    def examine(self, stack: Stack, *, straight: bool) -> Exchange:
        """An exchange that would show the fault, over the link or straight with the server behind it."""

    def prepare(self, stack: Stack) -> Undo:
        """LabError when Toxiproxy has no such link, or when it is down as it is."""
        proxied_by = links.find(self.link).proxied_by
        proxy = Toxiproxy(stack.host(proxied_by)).proxies().get(self.link)
        if proxy is None or not proxy.enabled:
            raise LabError(f"{self.name}: {proxied_by} has no link {self.link} that is up")
        return {"server": proxied_by, "proxy": self.link, "toxic": f"fault-{uuid.uuid4().hex[:8]}"}

    def witness(self, stack: Stack, undo: Undo) -> Observation:  # noqa: ARG002
        """The link does it, and the server does not: else the machine, or the server, is slow or gone."""
        for _ in range(_TRIES):
            over = self.examine(stack, straight=False)
            if not self.is_so(over):
                return self._seen(False, f"over {self.link}: {over}")
            straight = self.examine(stack, straight=True)
            detail = f"over {self.link}: {over}; straight to {links.find(self.link).server}: {straight}"
            if not self.is_so(straight):
                return self._seen(True, detail)
        return self._seen(False, detail)

    def _seen(self, holds: bool, detail: str) -> Observation:
        by = "exchanges of the witness's own from the machine of the link's clients, over the link and without it"
        return Observation(holds=holds, by=by, detail=detail)

    def _await(self, stack: Stack, undo: Undo) -> None:
        wait_until(self.name, lambda: self.witness(stack, undo).holds, deadline_s=IN_EFFECT_WITHIN_S)


class _ByToxic(OnLink):
    """Done by one toxic, for connections that are open too."""

    @abstractmethod
    def toxic(self, name: str) -> Toxic:
        """The toxic, by that name."""

    def inject(self, stack: Stack, undo: Undo) -> None:
        _server(stack, undo).add_toxic(str(undo["proxy"]), self.toxic(str(undo["toxic"])))
        self._await(stack, undo)

    def revert(self, stack: Stack, undo: Undo) -> None:
        _server(stack, undo).remove_toxic(str(undo["proxy"]), str(undo["toxic"]))


@dataclass(frozen=True)
class Latency(_ByToxic):
    """Every answer comes later by `latency_ms`, give or take up to `jitter_ms`."""

    latency_ms: int
    jitter_ms: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        _refuse_below(1, latency_ms=self.latency_ms - self.jitter_ms)
        _refuse_below(0, jitter_ms=self.jitter_ms)

    def toxic(self, name: str) -> Toxic:
        return Toxic(name, "latency", attributes={"latency": self.latency_ms, "jitter": self.jitter_ms})

    def is_so(self, exchange: Exchange) -> bool:
        return exchange.first_s is not None and exchange.first_s >= (self.latency_ms - self.jitter_ms) / 1000

    def examine(self, stack: Stack, *, straight: bool) -> Exchange:
        limit_s = (self.latency_ms + self.jitter_ms) / 1000 + _GRACE_S
        return links.examine(stack, links.find(self.link), straight=straight, limit_s=limit_s)


@dataclass(frozen=True)
class Timeout(_ByToxic):
    """Clients connect and send, and never hear anything; after `timeout_ms` they are cut off, with 0 never.

    Answers are lost for good: when the fault is over, connections that waited for one are closed.
    """

    timeout_ms: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        _refuse_below(0, timeout_ms=self.timeout_ms)

    def toxic(self, name: str) -> Toxic:
        return Toxic(name, "timeout", attributes={"timeout": self.timeout_ms})

    def is_so(self, exchange: Exchange) -> bool:
        """Silence for two seconds will do; to a shorter time-out the end belongs as well."""
        if exchange.connect_s is None or exchange.bytes:
            return False
        return exchange.end == "silent" or (exchange.end == "closed" and bool(self.timeout_ms))

    def examine(self, stack: Stack, *, straight: bool) -> Exchange:
        return links.examine(stack, links.find(self.link), straight=straight, limit_s=SILENCE_S)


@dataclass(frozen=True)
class ResetPeer(_ByToxic):
    """Connections made from now on are reset `timeout_ms` after the server first answers; open ones are closed."""

    timeout_ms: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        _refuse_below(0, timeout_ms=self.timeout_ms)

    def toxic(self, name: str) -> Toxic:
        return Toxic(name, "reset_peer", attributes={"timeout": self.timeout_ms})

    def is_so(self, exchange: Exchange) -> bool:
        return exchange.end == "ECONNRESET"

    def examine(self, stack: Stack, *, straight: bool) -> Exchange:
        limit_s = self.timeout_ms / 1000 + _GRACE_S
        return links.examine(stack, links.find(self.link), straight=straight, limit_s=limit_s)


@dataclass(frozen=True)
class Bandwidth(_ByToxic):
    """No connection gets more than `rate_kb_per_s` (of 1000 bytes) of answers; at most 1000."""

    rate_kb_per_s: int

    def __post_init__(self) -> None:
        super().__post_init__()
        _refuse_below(1, rate_kb_per_s=self.rate_kb_per_s)
        if self.rate_kb_per_s > 1000:
            raise LabError(f"{self.rate_kb_per_s} KB/s can't be told from a busy machine", mend="write 1000 at most")

    def toxic(self, name: str) -> Toxic:
        return Toxic(name, "bandwidth", attributes={"rate": self.rate_kb_per_s})

    def is_so(self, exchange: Exchange) -> bool:
        return exchange.end == "answered" and exchange.bytes_per_s <= 1.25 * 1000 * self.rate_kb_per_s

    def examine(self, stack: Stack, *, straight: bool) -> Exchange:
        """As much as takes half a second at that rate."""
        least = 500 * self.rate_kb_per_s
        return links.examine(stack, links.find(self.link), straight=straight, least=least, limit_s=2 * _GRACE_S)


@dataclass(frozen=True)
class SlowClose(_ByToxic):
    """Clients learn `delay_ms` late that the server has closed a connection."""

    delay_ms: int

    def __post_init__(self) -> None:
        super().__post_init__()
        _refuse_below(1, delay_ms=self.delay_ms)

    def toxic(self, name: str) -> Toxic:
        return Toxic(name, "slow_close", attributes={"delay": self.delay_ms})

    def is_so(self, exchange: Exchange) -> bool:
        return exchange.close_s is not None and exchange.close_s >= self.delay_ms / 1000

    def examine(self, stack: Stack, *, straight: bool) -> Exchange:
        limit_s = self.delay_ms / 1000 + _GRACE_S
        return links.examine(stack, links.find(self.link), straight=straight, closing=True, limit_s=limit_s)


@dataclass(frozen=True)
class CutData(_ByToxic):
    """Every connection is closed once `limit_bytes` of answers have passed."""

    limit_bytes: int

    def __post_init__(self) -> None:
        super().__post_init__()
        _refuse_below(1, limit_bytes=self.limit_bytes)

    def toxic(self, name: str) -> Toxic:
        return Toxic(name, "limit_data", attributes={"bytes": self.limit_bytes})

    def is_so(self, exchange: Exchange) -> bool:
        cut = exchange.end in {"closed", "ECONNRESET"}
        return cut and exchange.connect_s is not None and exchange.bytes <= self.limit_bytes

    def examine(self, stack: Stack, *, straight: bool) -> Exchange:
        return links.examine(stack, links.find(self.link), straight=straight, least=self.limit_bytes + 1)


@dataclass(frozen=True)
class Down(OnLink):
    """Nobody listens at the link any more, and whoever was connected is cut off."""

    def inject(self, stack: Stack, undo: Undo) -> None:
        _server(stack, undo).enable(str(undo["proxy"]), enabled=False)
        self._await(stack, undo)

    def revert(self, stack: Stack, undo: Undo) -> None:
        _server(stack, undo).enable(str(undo["proxy"]), enabled=True)

    def is_so(self, exchange: Exchange) -> bool:
        return exchange.end == "ECONNREFUSED"

    def examine(self, stack: Stack, *, straight: bool) -> Exchange:
        return links.examine(stack, links.find(self.link), straight=straight)


def _server(stack: Stack, undo: Undo) -> Toxiproxy:
    return Toxiproxy(stack.host(str(undo["server"])))


def _refuse_below(least: int, **given: int) -> None:
    for name, value in given.items():
        if value < least:
            raise LabError(f"{name} is too little: {value}", mend=f"write {least} or more")
