"""Which release runs, and what becomes of an order to run another."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from queue import Empty, SimpleQueue
from threading import Event
from typing import Literal

from sut.node.child import Child

log = logging.getLogger("sut.node")

RESTART_AFTER_S = 1.0
LOOK_EVERY_S = 0.05


@dataclass(frozen=True)
class Release:
    """A release of the API and the settings, variables of its environment, with which it runs."""

    number: str
    settings: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, number: str, settings: Mapping[str, str]) -> Release:
        return cls(number, tuple(sorted(settings.items())))

    def __str__(self) -> str:
        return " ".join((self.number, *(f"{name}={value}" for name, value in self.settings)))


@dataclass(frozen=True)
class Status:
    """`failing`: the release has ended by itself and is started again. `starts` counts from when it was ordered;
    `detail` says how it last ended, until it serves.
    """

    release: Release
    state: Literal["starting", "serving", "failing"] = "starting"
    starts: int = 0
    detail: str = ""


class Order:
    """To run `release`; decided once it serves or has failed for the first time."""

    def __init__(self, release: Release) -> None:
        self.release = release
        self._failure = ""
        self._decided = Event()

    def decide(self, failure: str) -> None:
        self._failure = failure
        self._decided.set()

    def outcome(self, within_s: float) -> str:
        """Wait for the decision: "" when the release serves, else why it does not."""
        if not self._decided.wait(within_s):
            return f"release {self.release} does not serve after {within_s:g} s"
        return self._failure


class _Stop:
    """The order to run nothing any more."""


class Node:
    """Keeps one release running. A release that ends by itself is started again a second later, for ever.

    `start` starts a release and calls back when it has ended; `serves` says whether that release answers.
    """

    def __init__(
        self,
        first: Release,
        start: Callable[[Release, Callable[[Child], None]], Child],
        serves: Callable[[Release], bool],
    ) -> None:
        self._start, self._serves = start, serves
        self._events: SimpleQueue[Order | Child | _Stop] = SimpleQueue()
        self._events.put(Order(first))
        self.status = Status(first)

    def roll(self, release: Release, within_s: float) -> str:
        """Have `release` run in place of the present one; "" once it serves, else why it does not. From any thread."""
        order = Order(release)
        self._events.put(order)
        return order.outcome(within_s)

    def told(self) -> dict[str, object]:
        """The status as it is told to others."""
        it = self.status
        kept = {name: getattr(it, name) for name in ("state", "starts", "detail")}
        return {"release": it.release.number, "settings": dict(it.release.settings), **kept}

    def stop(self) -> None:
        """End the release, and `run`. May be called from a signal handler."""
        self._events.put(_Stop())

    def run(self) -> None:
        """Carry out orders until `stop`; to be called from the main thread, see `Child`."""
        order = self._events.get()
        while isinstance(order, Order):
            order = self._keep(order)

    def _keep(self, order: Order) -> Order | Child | _Stop:
        """Keep a release running until there is an order for another one, which is returned."""
        self.status = Status(order.release)
        orders = [order]
        while True:
            self._note("starting")
            child = self._start(order.release, self._events.put)
            event = self._attend(child, orders)
            if event is not child:
                _decide(orders, "another release was ordered")
                log.info("release is ended", extra={"release": str(order.release), "child": child.pid})
                child.end()
                return event
            _decide(orders, child.ending)
            self._note("failing", child.ending)
            if other := self._next(RESTART_AFTER_S):
                return other

    def _attend(self, child: Child, orders: list[Order]) -> Order | Child | _Stop:
        """Decide `orders`, and those for the same release that come, once it serves; returns the child when it has
        ended, or the next order.
        """
        release = self.status.release
        while True:
            serving = self.status.state == "serving"
            event = self._next(None if serving else LOOK_EVERY_S, child)
            if isinstance(event, Order) and event.release == release:
                orders.append(event)
            elif event:
                return event
            elif self._serves(release):
                self._note("serving")
            if self.status.state == "serving":
                _decide(orders)

    def _next(self, within_s: float | None, child: Child | None = None) -> Order | Child | _Stop | None:
        """The next event in that time, None if there is none; the end of any other child is old news."""
        deadline = None if within_s is None else time.monotonic() + within_s
        while True:
            try:
                event = self._events.get(timeout=deadline and max(0.0, deadline - time.monotonic()))
            except Empty:
                return None
            if not isinstance(event, Child) or event is child:
                return event

    def _note(self, state: Literal["starting", "serving", "failing"], detail: str = "") -> None:
        starts = self.status.starts + (state == "starting")
        kept = "" if state == "serving" else self.status.detail
        self.status = replace(self.status, state=state, starts=starts, detail=detail or kept)
        log.log(logging.ERROR if state == "failing" else logging.INFO, "release", extra=self.told())


def _decide(orders: list[Order], failure: str = "") -> None:
    while orders:
        orders.pop().decide(failure)
