"""The one way to wait: for a condition, with a deadline, while people can see what is awaited and for how long."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol, TypeVar

T = TypeVar("T")


class Progress(Protocol):
    """Shows what is awaited. `elapsed_s` grows up to `deadline_s`; `done` ends the line."""

    def update(self, what: str, elapsed_s: float, deadline_s: float) -> None: ...
    def done(self) -> None: ...


class Silent:
    """Shows nothing."""

    def update(self, what: str, elapsed_s: float, deadline_s: float) -> None: ...
    def done(self) -> None: ...


class DeadlineError(TimeoutError):
    """The condition did not come true in time; `last` is what was last seen of it, `waited_s` how long it had."""

    def __init__(self, what: str, deadline_s: float, last: object) -> None:
        self.what, self.waited_s, self.last = what, deadline_s, last
        super().__init__(f"waited {deadline_s:g} s for {what}; last seen: {last!r}")


def wait_until(
    what: str,
    condition: Callable[[], T],
    *,
    deadline_s: float,
    every_s: float = 0.05,
    progress: Progress | None = None,
) -> T:
    """Ask `condition` every `every_s` seconds until its answer is true, and return that answer.

    It is asked at least once, and once more at the deadline. Raises DeadlineError with the last answer.
    """
    show = progress or Silent()
    started = time.monotonic()
    try:
        while True:
            answer = condition()
            if answer:
                return answer
            elapsed = time.monotonic() - started
            if elapsed >= deadline_s:
                raise DeadlineError(what, deadline_s, answer)
            show.update(what, elapsed, deadline_s)
            time.sleep(min(every_s, max(0.0, deadline_s - elapsed)))
    finally:
        show.done()
