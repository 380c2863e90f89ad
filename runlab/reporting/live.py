"""The line that shows what is awaited: `⏳ alert X   3.2 s of 20 s   TestLockTimeout/fault/waiting`."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from typing import TextIO

from rich.cells import cell_len, set_cell_size

from runlab.reporting import digest

SAVE, RESTORE, CLEAR = "\x1b7", "\x1b8", "\x1b[2K"
WRAP_OFF, WRAP_ON = "\x1b[?7l", "\x1b[?7h"
# IND makes sure that there is a line below (it scrolls at the bottom) and keeps the column, as "\n" would not.
BELOW, LINE_BELOW = "\x1bD\x1b[1A", "\r\x1b[1B"


def real_terminal() -> TextIO:
    """The standard output as it is now, out of reach of a later capture; call it while pytest does not capture."""
    sys.stdout.flush()
    return os.fdopen(os.dup(1), "w", encoding="utf-8", errors="replace", buffering=1)


class LiveLine:
    """A `runlab.waiting.Progress`. On a terminal: one line below the cursor, at most ten times a second, then gone.

    The cursor stays where it was, so that pytest's own line of dots goes on. Elsewhere (a CI log): nothing for ten
    seconds, then a plain line every ten. `arm` is shown at the end of the line; set it when an arm begins.
    """

    def __init__(
        self, stream: TextIO, *, arm: str = "", every_s: float = 10.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.arm = arm
        self._stream, self._every_s, self._clock = stream, every_s, clock
        self._tty = stream.isatty() and os.environ.get("TERM") != "dumb"
        self._drawn = False
        self._next_draw = 0.0
        self._next_line_s = every_s

    def update(self, what: str, elapsed_s: float, deadline_s: float) -> None:
        text = f"⏳ {digest.one_line(what, 60)}   {elapsed_s:.1f} s of {deadline_s:g} s   {digest.one_line(self.arm)}"
        if self._tty:
            self._draw(text.rstrip())
        elif elapsed_s >= self._next_line_s:
            self._next_line_s = elapsed_s - elapsed_s % self._every_s + self._every_s
            self._write(f"\n{text.rstrip()}\n" if self._next_line_s == 2 * self._every_s else f"{text.rstrip()}\n")

    def done(self) -> None:
        if self._drawn:
            self._write(SAVE + LINE_BELOW + CLEAR + RESTORE)
        self._drawn = False
        self._next_line_s = self._every_s

    def _draw(self, text: str) -> None:
        now = self._clock()
        if now < self._next_draw:
            return
        self._next_draw = now + 0.1
        try:
            width = os.get_terminal_size(self._stream.fileno()).columns
        except OSError:
            width = 80
        if cell_len(text) >= width:
            text = set_cell_size(text, width - 2) + "…"
        self._write(BELOW + SAVE + LINE_BELOW + CLEAR + WRAP_OFF + text + WRAP_ON + RESTORE)
        self._drawn = True

    def _write(self, text: str) -> None:
        encoding = self._stream.encoding or "utf-8"
        self._stream.write(text.encode(encoding, "replace").decode(encoding))
        self._stream.flush()
