"""Stacks in other processes, whose processes are killed; what is left of them then, and of what they did."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pytest

from runlab.stack import ending, folder
from runlab.waiting import wait_until

ROOT = Path(__file__).parent.parent.parent
LEFT_AFTER_S = 2.0
LISTENING = "0A"

EVERYBODY = ("runner", "keeper", "guard", "network")
ANY = [who for number in range(1, 5) for who in itertools.combinations(EVERYBODY, number)]
"""One, two, three, or all of a sandbox at once."""

_OF_THE_MACHINE = (
    ("iptables-save",),
    ("ip", "-o", "link"),
    ("ip", "-o", "address"),
    ("ip", "route", "show", "table", "all"),
    ("ip", "rule"),
    ("cat", "/etc/resolv.conf", "/etc/hosts", "/proc/self/mounts", "/proc/sys/net/ipv4/ip_local_port_range"),
)
_KINDS = ("net", "mnt", "pid", "ipc")


class Killed(Protocol):
    """A run of which nothing should be left."""

    @property
    def runner(self) -> subprocess.Popen[str] | subprocess.Popen[bytes]: ...
    def left(self) -> list[str]:
        """What is still there of it."""
        ...


@dataclass(frozen=True)
class Run:
    """Whom to kill, and what must be gone."""

    runner: subprocess.Popen[str]
    guard: int
    keeper: int
    folder: Path
    address: str
    processes: frozenset[ending.Process]
    namespaces: frozenset[str]

    def pid(self, who: str) -> int:
        """Of "runner", "guard", "keeper", which is a sandbox's first process, or in a sandbox the "network"."""
        known = {"runner": self.runner.pid, "guard": self.guard, "keeper": self.keeper}
        return known[who] if who in known else self._network()

    def left(self) -> list[str]:
        """What is still there of the run."""
        found = [f"process {it.pid}" for it in self.processes if ending.identify(it.pid) and _same(it)]
        found += [f"file {self.folder}"] if self.folder.exists() else []
        found += listening(lambda address: address.startswith(self.address))
        found += shared_memory({it.pid for it in self.processes})
        return found or [f"namespace {it}" for it in sorted(self.namespaces & _namespaces(_everybody()))]

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


def kill(run: Run, killed: Collection[str]) -> None:
    """SIGKILL for all of these, one right after the other."""
    for pid in [run.pid(who) for who in killed]:
        with contextlib.suppress(ProcessLookupError):  # it has ended with the one before
            os.kill(pid, signal.SIGKILL)


def nothing_left(run: Killed, said: Path | None = None) -> None:
    """Fail, saying what, if anything is left of it after 2 s; `said` is a file with what it printed."""
    seen: list[str] = []

    def gone() -> bool:
        run.runner.poll()
        seen[:] = run.left()
        return not seen

    try:
        wait_until("the end of everything", gone, deadline_s=LEFT_AFTER_S, every_s=0.1)
    except TimeoutError:
        pytest.fail(f"left after {LEFT_AFTER_S} s: {seen}\n{said.read_text() if said else ''}")


def listening(is_ours: Callable[[str], bool]) -> list[str]:
    """The TCP sockets that listen at our addresses, as /proc/net/tcp has these."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return [f"socket {row[1]}" for row in rows if is_ours(row[1]) and row[3] == LISTENING]


def shared_memory(creators: Collection[int]) -> list[str]:
    """The System V segments that these processes have made."""
    segments = [line.split() for line in Path("/proc/sysvipc/shm").read_text().splitlines()[1:]]
    return [f"shared-memory {row[1]}" for row in segments if int(row[4]) in creators]


def machine() -> list[str]:
    """What a sandbox would have changed if it were none; of what iptables-save says, without the times."""
    found = []
    for argv in _OF_THE_MACHINE:
        if shutil.which(argv[0]) and (os.geteuid() == 0 or argv[0] != "iptables-save"):
            said = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
            found += [line for line in said.splitlines() if not line.startswith("#") and "valid_lft" not in line]
            found += [line.partition("valid_lft")[0] for line in said.splitlines() if "valid_lft" in line]
    return found


def alive(pid: int) -> bool:
    """Whether there is such a process."""
    return ending.identify(pid) is not None


def _observe(runner: subprocess.Popen[str]) -> Run:
    assert runner.stdout
    with runner.stdout:
        place, keeper, host = json.loads(runner.stdout.readline())
    guard = next(it.pid for it in ending.descendants(runner.pid) if _parent(it.pid) == runner.pid)
    processes = frozenset(it for it in ending.descendants(runner.pid) if it.pid != guard)
    namespaces = _namespaces({it.pid for it in processes}) - _namespaces({os.getpid()})
    run = Run(runner, guard, keeper, Path(place), _in_hex(host), processes, frozenset(namespaces))
    assert {what.split()[0] for what in run.left()} >= {"process", "file", "socket"}
    return run


def _namespaces(pids: Collection[int]) -> set[str]:
    """The namespaces that these processes are in or hold open."""
    found: set[str] = set()
    for pid in pids:
        place = Path(f"/proc/{pid}")
        with contextlib.suppress(OSError):  # it has ended, or is somebody else's
            links = [*(place / "ns" / kind for kind in _KINDS), *(place / "fd").iterdir()]
            found |= {target for link in links if (target := _target(link)).partition(":[")[0] in _KINDS}
    return found


def _everybody() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _target(link: Path) -> str:
    with contextlib.suppress(OSError):
        return str(link.readlink())
    return ""


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def _same(it: ending.Process) -> bool:
    now = ending.identify(it.pid)
    return now is not None and now.started == it.started


def _in_hex(address: str) -> str:
    """An address as /proc/net/tcp has it."""
    return "".join(f"{int(part):02X}" for part in reversed(address.split("."))) + ":"
