"""The keeper's children: started with the rights of an account, reaped when they end, adopted orphans included."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import IO, TypedDict

from runlab.stack.plan import Account

OUTPUT_LIMIT = 16 * 1024 * 1024
_NOT_FOUND = 127
_LAST_WORDS_S = 0.5


Enter = Callable[[str], list[str]]
"""(folder) -> the command under which a process is on its machine, in that folder; [] where there is but one."""


def _stay(_folder: str) -> list[str]:
    return []


class Outcome(TypedDict):
    """A finished command; `status` is None when it was killed at its time limit."""

    status: int | None
    stdout: str
    stderr: str
    seconds: float


class Child:
    """A running process; `ended` is set once it is reaped, and `status` is then what it left."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.pid = process.pid
        self.ended = threading.Event()

    @property
    def status(self) -> int | None:
        return self.process.returncode

    def kill_group(self, number: int = signal.SIGKILL) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)


class Children:
    """Starts processes, from any thread, and knows their ends. `reap` is called by the main thread on SIGCHLD."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._alive: dict[int, Child] = {}

    def spawn(
        self,
        argv: Sequence[str],
        account: Account,
        *,
        environment: Mapping[str, str] | None = None,
        cwd: str = "",
        stdin: int = subprocess.DEVNULL,
        stdout: int | IO[bytes] = subprocess.PIPE,
        stderr: int | IO[bytes] = subprocess.PIPE,
        nice: int = 0,
        enter: Enter = _stay,
    ) -> Child:
        """Start `argv` in a session of its own, with `account`'s rights and environment and nothing else.

        `enter` gives the command that enters the machine on which it is to run, from the folder to work in.
        FileNotFoundError when the program is on no PATH of that environment.
        """
        complete = {**account["environment"], **(environment or {})}
        program = shutil.which(argv[0], path=complete.get("PATH", ""))
        if program is None:
            raise FileNotFoundError(argv[0])
        niceness = ["nice", "-n", str(nice)] if nice else []
        folder = cwd or account["cwd"]
        with self._lock:
            process = subprocess.Popen(
                [*niceness, *enter(folder), *account["prefix"], program, *argv[1:]],
                env=complete,
                cwd=folder,
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
                umask=0o077,
            )
            child = self._alive[process.pid] = Child(process)
        return child

    def run(
        self,
        argv: Sequence[str],
        account: Account,
        *,
        environment: Mapping[str, str] | None = None,
        cwd: str = "",
        time_limit_s: float = 30.0,
        enter: Enter = _stay,
    ) -> Outcome:
        """Run a command to its end, or kill its whole process group at `time_limit_s`; each output up to 16 MiB."""
        started = time.monotonic()
        try:
            child = self.spawn(argv, account, environment=environment, cwd=cwd, enter=enter)
        except FileNotFoundError:
            return Outcome(status=_NOT_FOUND, stdout="", stderr=f"{argv[0]}: command not found\n", seconds=0.0)
        outputs = [_Drain(stream) for stream in (child.process.stdout, child.process.stderr) if stream]
        in_time = child.ended.wait(time_limit_s)
        child.kill_group()
        child.ended.wait()
        seconds = time.monotonic() - started
        stdout, stderr = (output.text() for output in outputs)
        return Outcome(status=child.status if in_time else None, stdout=stdout, stderr=stderr, seconds=seconds)

    def adopt(self, child: Child) -> None:
        """Reap `child` with the others, though it was started elsewhere."""
        with self._lock:
            self._alive[child.pid] = child

    def reap(self) -> None:
        """Take the status of every child that has ended, ours or adopted."""
        with self._lock:
            while True:
                try:
                    found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
                except ChildProcessError:
                    return
                if found is None:
                    return
                child = self._alive.pop(found.si_pid, None)
                if child is None:
                    os.waitpid(found.si_pid, 0)
                else:
                    child.process.wait()
                    child.ended.set()


class _Drain:
    """Reads a stream to its end in a thread; what exceeds the limit is counted, not kept."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._kept = bytearray()
        self._dropped = 0
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with self._stream:
            while piece := os.read(self._stream.fileno(), 1 << 16):
                room = OUTPUT_LIMIT - len(self._kept)
                self._kept += piece[:room]
                self._dropped += max(0, len(piece) - room)

    def text(self) -> str:
        """The output; a process that escaped its group may hold the stream open and is not waited for."""
        self._thread.join(_LAST_WORDS_S)
        text = bytes(self._kept).decode(errors="replace")
        return text + (f"\n[output cut here: {self._dropped} bytes more]\n" if self._dropped else "")
