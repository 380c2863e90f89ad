"""Ending processes for good: all descendants, and what they leave in the kernel.

A process is known by its pid *and* its start time; a pid alone may be somebody else's by now.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import NamedTuple

_PROC = Path("/proc")
_GRACE_S = 0.4
_DEADLINE_S = 5.0
_PR_SET_CHILD_SUBREAPER = 36


class Process(NamedTuple):
    """`started` is in clock ticks since boot (proc(5), field 22). `stop_signal`: what it should get before SIGKILL."""

    pid: int
    started: int
    stop_signal: int = signal.SIGKILL


class _Stat(NamedTuple):
    parent: int
    session: int
    started: int
    zombie: bool


def adopt_orphans() -> None:
    """Make this process the parent of its descendants whose own parent ends (prctl(2), PR_SET_CHILD_SUBREAPER)."""
    import ctypes  # noqa: PLC0415  (only where there is no namespace)

    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def identify(pid: int, stop_signal: int = signal.SIGKILL) -> Process | None:
    """The process that has `pid` now; None when there is none alive."""
    stat = _stat(pid)
    return None if stat is None or stat.zombie else Process(pid, stat.started, stop_signal)


def descendants(root: int) -> set[Process]:
    """Every living process below `root`, which is not among them."""
    table = {pid: stat for pid in _pids() if (stat := _stat(pid))}
    children: dict[int, list[int]] = {}
    for pid, stat in table.items():
        children.setdefault(stat.parent, []).append(pid)
    found: set[Process] = set()
    todo = list(children.get(root, []))
    while todo:
        pid = todo.pop()
        todo += children.get(pid, [])
        if not table[pid].zombie:
            found.add(Process(pid, table[pid].started))
    return found


def session(leader: int) -> set[int]:
    """The pids of every living process in the session of `leader`."""
    found = {pid: stat for pid in _pids() if (stat := _stat(pid))}
    return {pid for pid, stat in found.items() if stat.session == leader and not stat.zombie}


def carriers(name: str, folder: str) -> set[Process]:
    """Every living process, but this one, that has NAME=folder in its environment or works inside `folder`."""
    found, closed = set[int](), dict[int, list[int]]()
    for pid in _pids():
        try:
            if _carries(pid, name, folder):
                found.add(pid)
        except PermissionError:
            with contextlib.suppress(OSError):
                closed.setdefault((_PROC / str(pid)).stat().st_uid, []).append(pid)
        except OSError:
            continue
    if os.geteuid() == 0:
        for uid, pids in closed.items():
            found |= _carrying_by_owner(uid, pids, name, folder)
    return {it for pid in found if pid != os.getpid() and (it := identify(pid))}


def end(look: Callable[[], Iterable[Process]], recorded: Collection[Process] = ()) -> set[int]:
    """End whatever `look` finds, again and again until it finds nothing, and return the pids that were ended.

    Of `recorded`, those with a stop signal of their own get it first and 0.4 s to obey: a PostgreSQL that is ended
    by SIGKILL leaves a System V segment behind, by SIGQUIT none. Gives up after 5 s.
    """
    polite = [it for it in recorded if it.stop_signal != signal.SIGKILL and _same(it)]
    ended = {it.pid for it in (*recorded, *look())}
    for it in polite:
        _send(it.pid, it.stop_signal)
        _send(it.pid, signal.SIGCONT)
    deadline = time.monotonic() + _GRACE_S
    while any(_same(it) for it in polite) and time.monotonic() < deadline:
        _reap()
        time.sleep(0.005)
    deadline = time.monotonic() + _DEADLINE_S
    while (living := set(look())) and time.monotonic() < deadline:
        for it in living:
            _send(it.pid, signal.SIGKILL)
        ended |= {it.pid for it in living}
        _reap()
        time.sleep(0.005)
    _reap()
    return ended


def kill(processes: Iterable[Process]) -> None:
    """Send SIGKILL to those that are still the same processes."""
    for it in processes:
        if _same(it):
            _send(it.pid, signal.SIGKILL)


def reap_children(within_s: float) -> None:
    """Take the status of every child of a process that has ended all of them.

    One whose threads are still ending looks like a zombie but cannot be taken yet; were it left to process 1, it would
    stay for ever in a container whose process 1 takes nobody's status.
    """
    deadline = time.monotonic() + within_s
    with contextlib.suppress(ChildProcessError):
        while time.monotonic() < deadline:
            if not os.waitpid(-1, os.WNOHANG)[0]:
                time.sleep(0.002)


def remove_segments(creators: Collection[int]) -> None:
    """Remove System V shared memory that nobody is attached to and whose creator is among `creators`, all dead."""
    try:
        lines = (_PROC / "sysvipc/shm").read_text().splitlines()
    except OSError:
        return
    names = lines[0].split()
    for line in lines[1:]:
        row = dict(zip(names, line.split(), strict=False))
        if int(row["cpid"]) not in creators or int(row["nattch"]) or _stat(int(row["cpid"])):
            continue
        # only the owner may, unless one has CAP_SYS_ADMIN, which root in a container lacks
        owner = [] if os.geteuid() else ["setpriv", f"--reuid={row['uid']}", "--clear-groups", "--"]
        subprocess.run([*owner, "ipcrm", "-m", row["shmid"]], check=False, capture_output=True, timeout=5)


def _pids() -> list[int]:
    return [int(entry.name) for entry in _PROC.iterdir() if entry.name.isdigit()]


def _carries(pid: int, name: str, folder: str) -> bool:
    process = _PROC / str(pid)
    variables = (process / "environ").read_bytes().split(b"\0")
    return f"{name}={folder}".encode() in variables or f"{(process / 'cwd').readlink()}/".startswith(f"{folder}/")


def _carrying_by_owner(uid: int, pids: list[int], name: str, folder: str) -> set[int]:
    """The same, asked as the processes' own account: root in a container lacks CAP_SYS_PTRACE and may not look."""
    environs, places = ([f"/proc/{pid}/{what}" for pid in pids] for what in ("environ", "cwd"))
    found = set[int]()
    for command in (
        ["grep", "--files-with-matches", "--null-data", "-sxF", f"{name}={folder}", *environs],
        ["find", *places, "-maxdepth", "0", "-lname", f"{folder}*"],
    ):
        account = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "--"]
        seen = subprocess.run([*account, *command], check=False, capture_output=True, text=True, timeout=5)
        found |= {int(path.split("/")[2]) for path in seen.stdout.splitlines()}
    return found


def _stat(pid: int) -> _Stat | None:
    try:
        fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return _Stat(parent=int(fields[1]), session=int(fields[3]), started=int(fields[19]), zombie=fields[0] in "ZX")


def _same(it: Process) -> bool:
    now = identify(it.pid)
    return now is not None and now.started == it.started


def _send(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def _reap() -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
