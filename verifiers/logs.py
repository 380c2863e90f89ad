"""Log signatures: literals of a runbook, searched for in every log of the stack as it grows."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from runlab.journal import Journal
from runlab.model import Observation, Signal, Source, Stack
from verifiers.watching import Loop

_POLL_S: Final = 0.08
_LONGEST_LINE: Final = 1024 * 1024
_LONGEST_DETAIL: Final = 2000


class Tail:
    """Gives the lines that were appended to a file since this was made, or all with `from_start`; each line once.

    A file that does not exist yet is read from its beginning when it appears, and so is one that was replaced or cut.
    """

    def __init__(self, path: Path, *, from_start: bool = False) -> None:
        self.path = path
        self._inode, self._read_to, self._partial = 0, 0, b""
        if not from_start:
            with contextlib.suppress(FileNotFoundError):
                found = path.stat()
                self._inode, self._read_to = found.st_ino, found.st_size

    def lines(self, *, last: bool = False) -> Iterator[str]:
        """The new whole lines; with `last` also one that has no end yet. Raises OSError, FileNotFoundError too."""
        with self.path.open("rb") as file:
            found = os.fstat(file.fileno())
            if found.st_ino != self._inode or found.st_size < self._read_to:
                self._inode, self._read_to, self._partial = found.st_ino, 0, b""
            file.seek(self._read_to)
            data = file.read()
        self._read_to += len(data)
        *whole, self._partial = (self._partial + data).split(b"\n")
        if self._partial and (last or len(self._partial) > _LONGEST_LINE):
            whole.append(self._partial)
            self._partial = b""
        for line in whole:
            yield line.decode("utf-8", errors="replace")


class LogWatcher:
    """Searches every log file of the stack for every signature, case-sensitive and literally. A `Watcher`.

    A line counts once it is whole, or at the end of the arm. Silence counts if every log of the stack was there and
    read to its end.
    """

    name = "logs"

    def __init__(self, stack: Stack, journal: Journal, signals: Sequence[Signal]) -> None:
        self._stack, self._journal = stack, journal
        self._signals = [signal for signal in signals if signal.kind == "signature"]
        self._arm: str | None = None
        self._tails: dict[str, Tail] = {}
        self._unseen: list[Signal] = []
        self._lock = threading.Lock()
        self._loop = Loop("logs", self._look, _POLL_S)

    def begin(self, arm: str) -> None:
        with self._lock:
            self._arm, self._unseen = arm, list(self._signals)
            self._tails = {service: Tail(path) for service, path in self._stack.log_files().items()}
            self._loop.forget()

    def settled(self) -> Observation:
        return Observation(holds=True, by="logs", detail="a line in a log is no state")

    def end(self) -> Sequence[Source]:
        with self._lock:
            unreadable, missing = self._read_all(last=True)
            self._arm = None
        if not self._tails:
            missing.append("the stack has no log")
        answers, exists = not unreadable and not self._loop.crash, not missing
        detail = "; ".join(filter(None, (self._loop.crash, *unreadable, *missing)))
        return [
            Source(signal.name, signal.claim, answers=answers, exists=exists, fresh=answers and exists, detail=detail)
            for signal in self._signals
        ]

    def close(self) -> None:
        self._loop.close()

    def _look(self) -> None:
        with self._lock:
            if self._arm is not None:
                self._read_all(last=False)

    def _read_all(self, *, last: bool) -> tuple[list[str], list[str]]:
        """Search what is new; returns which logs can't be read, and which are missing."""
        unreadable, missing = [], []
        for service, path in self._stack.log_files().items():
            tail = self._tails.setdefault(service, Tail(path))
            try:
                for line in tail.lines(last=last):
                    self._search(service, line)
            except FileNotFoundError:
                missing.append(f"the log of {service} does not exist")
            except OSError as error:
                unreadable.append(f"the log of {service} can't be read: {error.strerror}")
        return unreadable, missing

    def _search(self, service: str, line: str) -> None:
        for signal in [signal for signal in self._unseen if signal.name in line]:
            self._unseen.remove(signal)
            self._journal.write(
                "signal",
                arm=self._arm,
                claim=signal.claim,
                name=signal.name,
                signal_kind=signal.kind,
                by=service,
                detail=line[:_LONGEST_DETAIL],
            )
