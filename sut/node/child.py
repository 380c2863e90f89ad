"""A running release: its process, what it writes, and its end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence

ENDS_WITHIN_S = 5.0


class Child:
    """One process of a release. What it writes goes to this process' standard output, line by line."""

    def __init__(self, argv: Sequence[str], environment: dict[str, str], ended: Callable[[Child], None]) -> None:
        """Start it; `ended` is called, from a thread, once it has ended. To be called from the main thread: a process
        that ends with its parent ends with the thread that started it.
        """
        self._process = subprocess.Popen(
            argv,
            env={**os.environ, **environment, "PARENT_PID": str(os.getpid())},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        self.last_words = ""
        self._ended = ended
        threading.Thread(target=self._relay, daemon=True).start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def ending(self) -> str:
        """Why it ended: what it said last and its status."""
        return f"{self.last_words or 'it wrote nothing'} (status {self._process.returncode})"

    def end(self) -> None:
        """SIGTERM, and SIGKILL if it has not ended within 5 s; returns when it has."""
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(ENDS_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _relay(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            sys.stdout.write(line)
            sys.stdout.flush()
            self.last_words = _words(line) or self.last_words
        self._process.wait()
        self._ended(self)


def _words(line: str) -> str:
    """A line of a log as people read it."""
    try:
        return str(json.loads(line)["message"])
    except (ValueError, KeyError, TypeError):
        return line.strip()
