"""What all watchers share: a thread that looks again and again, and a measure of how long nothing was seen."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Protocol, runtime_checkable


@runtime_checkable
class Resets(Protocol):
    """A stack that says when its last reset was over, by CLOCK_MONOTONIC in seconds."""

    @property
    def reset_at(self) -> float: ...


def reset_at(stack: object) -> float:
    """When the last reset of `stack` was over; 0 when there was none, or it does not say."""
    return stack.reset_at if isinstance(stack, Resets) else 0.0


class Loop:
    """Calls `look` every `every_s` seconds in a thread of its own until closed.

    A crash does not end it, but is kept in `crash` until `forget`: a watcher that crashes has not watched.
    """

    def __init__(self, name: str, look: Callable[[], None], every_s: float) -> None:
        self._look, self._every_s = look, every_s
        self._over = threading.Event()
        self.crash = ""
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def forget(self) -> None:
        """Begin a new window: earlier crashes count no more."""
        self.crash = ""

    def close(self) -> None:
        """Stop looking; returns when the last look is over, or after five seconds."""
        self._over.set()
        self._thread.join(timeout=5.0)

    def _run(self) -> None:
        while not self._over.wait(self._every_s):
            try:
                self._look()
            except Exception as crash:  # noqa: BLE001 -- whatever it was, the window is void and the reader told
                self.crash = f"the watcher crashed: {type(crash).__name__}: {crash}"


class Pulse:
    """The longest time, in seconds, for which something that should happen again and again did not."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Start to measure now, as if it had just happened."""
        self._last, self._longest_s = time.monotonic(), 0.0

    def beat(self) -> None:
        """It happened now."""
        now = time.monotonic()
        self._longest_s, self._last = max(self._longest_s, now - self._last), now

    @property
    def since_s(self) -> float:
        return time.monotonic() - self._last

    @property
    def longest_pause_s(self) -> float:
        """The present pause included."""
        return max(self._longest_s, self.since_s)
