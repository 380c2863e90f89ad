"""A program under a pseudo-terminal of its own, as somebody who sits there: reads what it says, and types."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

CTRL_C, CTRL_D = b"\x03", b"\x04"
_STEERING = re.compile(r"\x1b(\[[0-9;?]*[A-Za-z]|[78D])|\r")


class Terminal:
    """`argv` in the foreground of a new terminal; it is killed on leaving, when it still runs."""

    def __init__(self, argv: Sequence[str | Path], cwd: Path, environment: Mapping[str, str] | None = None) -> None:
        self.pid, self._ours = pty.fork()
        if not self.pid:
            os.chdir(cwd)
            os.execvpe(str(argv[0]), [str(word) for word in argv], {**os.environ, **(environment or {})})
        self._raw = b""
        self.status: int | None = None

    @property
    def said(self) -> str:
        """All it has said so far, without what steers a terminal."""
        return _STEERING.sub("", self._raw.decode(errors="replace"))

    def expect(self, pattern: str, within_s: float = 30.0) -> re.Match[str]:
        """Wait until it has said this, a regular expression."""
        deadline = time.monotonic() + within_s
        while True:
            if found := re.search(pattern, self.said):
                return found
            over = not self._read(deadline)
            if over and not re.search(pattern, self.said):
                raise AssertionError(f"it did not say {pattern!r} within {within_s:g} s:\n{self.said}")

    def type(self, keys: bytes) -> None:
        os.write(self._ours, keys)

    def ends(self, within_s: float = 30.0) -> int:
        """Wait for its end; its exit status, negative for a signal."""
        deadline = time.monotonic() + within_s
        while self._read(deadline):
            pass
        assert time.monotonic() < deadline, f"it did not end within {within_s:g} s:\n{self.said}"
        self.status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.status

    def _read(self, deadline: float) -> bool:
        """False at its end, and after the deadline."""
        readable, _, _ = select.select([self._ours], [], [], max(0.0, deadline - time.monotonic()))
        if not readable:
            return False
        try:
            more = os.read(self._ours, 1 << 16)
        except OSError:  # the last process has closed the terminal
            return False
        self._raw += more
        return bool(more)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.status is None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self._ours)
