"""A stack in another process, whose processes are killed; and what is left of it then."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from runlab.stack import ending, folder
from runlab.waiting import wait_until

ROOT = Path(__file__).parent.parent.parent
LEFT_AFTER_S = 2.0
LISTENING = "0A"


@dataclass(frozen=True)
class Run:
    """Whom to kill, and what must be gone."""

    runner: subprocess.Popen[str]
    guard: int
    keeper: int
    folder: Path
    address: str
    processes: frozenset[ending.Process]

    def pid(self, who: str) -> int:
        """Of "runner", "guard", "keeper", or in a sandbox the "network"."""
        known = {"runner": self.runner.pid, "guard": self.guard, "keeper": self.keeper}
        return known[who] if who in known else self._network()

    def left(self) -> list[str]:
        """What is still there of the run."""
        found = [f"process {it.pid}" for it in self.processes if ending.identify(it.pid) and _same(it)]
        found += [f"file {self.folder}"] if self.folder.exists() else []
        rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        found += [f"socket {row[1]}" for row in rows if row[1].startswith(self.address) and row[3] == LISTENING]
        pids = {it.pid for it in self.processes}
        segments = [line.split() for line in Path("/proc/sysvipc/shm").read_text().splitlines()[1:]]
        return found + [f"shared memory {row[1]}" for row in segments if int(row[4]) in pids]

    def names(self) -> list[str]:
        """The programs of its processes."""
        return [Path(f"/proc/{it.pid}/comm").read_text().strip() for it in self.processes]

    def _network(self) -> int:
        (found,) = (
            it.pid
            for it in self.processes
            if b"runlab.stack.network" in Path(f"/proc/{it.pid}/cmdline").read_bytes().split(b"\0")
        )
        return found


@contextmanager
def running(code: str, *arguments: str | Path) -> Iterator[Run]:
    """The run of this Python program, which says [folder, keeper's pid, an address] once its stack is up."""
    runner = subprocess.Popen([sys.executable, "-c", code, *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        made = _observe(runner)
        yield made
    finally:
        runner.kill()
        runner.wait()
    if alive(made.guard):
        os.kill(made.guard, signal.SIGCONT)
    wait_until("the guard's end", lambda: not alive(made.guard), deadline_s=5)
    folder.end_run(made.folder)


def nothing_left(run: Run) -> None:
    """Fail, saying what, if anything is left of it after 2 s."""
    seen: list[str] = []

    def gone() -> bool:
        run.runner.poll()
        seen[:] = run.left()
        return not seen

    try:
        wait_until("the end of everything", gone, deadline_s=LEFT_AFTER_S, every_s=0.02)
    except TimeoutError:
        pytest.fail(f"left after {LEFT_AFTER_S} s: {seen}")


def alive(pid: int) -> bool:
    """Whether there is such a process."""
    return ending.identify(pid) is not None


def _observe(runner: subprocess.Popen[str]) -> Run:
    assert runner.stdout
    with runner.stdout:
        place, keeper, host = json.loads(runner.stdout.readline())
    guard = next(it.pid for it in ending.descendants(runner.pid) if _parent(it.pid) == runner.pid)
    processes = frozenset(it for it in ending.descendants(runner.pid) if it.pid != guard)
    run = Run(runner, guard, keeper, Path(place), _in_hex(host), processes)
    assert {what.split()[0] for what in run.left()} >= {"process", "file", "socket"}
    return run


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def _same(it: ending.Process) -> bool:
    now = ending.identify(it.pid)
    return now is not None and now.started == it.started


def _in_hex(address: str) -> str:
    """An address as /proc/net/tcp has it."""
    return "".join(f"{int(part):02X}" for part in reversed(address.split("."))) + ":"
