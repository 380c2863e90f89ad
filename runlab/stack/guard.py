"""The guard: a process of its own session that holds the run's folder and block, and sees to the end of everything.

runner → guard → keeper → services. The guard ends all when the runner dies, when the keeper dies, when its pipe is
closed (an orderly stop: the same way, so that it is tried at each run), or when it is told to by SIGTERM. In a PID
namespace the kernel does the ending; without one the guard adopts orphans and ends its descendants until none is
left. If the guard dies, the keeper does the same.

Protocol: one line of JSON in (Reservation), one out ({folder, hosts} or {error, mend}); one in (Plan), one out by the
keeper once it listens.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from runlab.model import LabError
from runlab.stack import block, ending, folder, namespaces
from runlab.stack.plan import Plan, Reservation

_REAPED_WITHIN_S = 1.0


def main() -> int:
    """Serve one run, from the first line on standard input until its end."""
    reservation: Reservation = json.loads(sys.stdin.buffer.readline() or b"null")
    if not reservation:
        return 0
    try:
        runner = os.pidfd_open(reservation["runner"])
        folder.end_dead_runs(reservation["parent"])
        lock, hosts = block.take(reservation["run_id"], reservation["hosts"])
        listeners = block.listen(hosts, reservation["hosts"]) if reservation["sandbox"] else {}
        place, _ = folder.create(reservation["run_id"], reservation["parent"])
    except (LabError, OSError) as error:
        message, mend = (error.message, error.mend) if isinstance(error, LabError) else (str(error), "")
        _say(error=message, mend=mend)
        return 0
    with lock:
        try:
            _guard(place, hosts, runner, _command(reservation), listeners)
        finally:
            folder.remove(place)
    return 0


def _command(reservation: Reservation) -> list[str]:
    """What the keeper is started by, so that it has the namespaces that it is to have."""
    if reservation["sandbox"]:
        return namespaces.sandbox_command()[0]
    return (namespaces.process_command() or []) if reservation["namespaces"] else []


def _guard(
    place: Path, hosts: dict[str, str], runner: int, enter: list[str], listeners: dict[str, socket.socket]
) -> None:
    wake = _wake_on(signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    _say(folder=str(place), hosts=hosts)
    line = _line(runner, wake)
    if line is None:
        return
    plan: Plan = json.loads(line)
    plan["namespace"] = namespaces.has_pid_namespace(enter)
    if plan["network"]:
        plan["network"]["listeners"] = {endpoint: it.fileno() for endpoint, it in listeners.items()}
    ending.adopt_orphans()
    keeper = _start_keeper(enter, plan, runner, [it.fileno() for it in listeners.values()])
    for listener in listeners.values():
        listener.close()
    try:
        if it := ending.identify(keeper.pid):
            folder.record(place, it)
        assert keeper.stdin
        keeper.stdin.write(json.dumps(plan).encode() + b"\n")
        keeper.stdin.flush()
        _watch(keeper, runner, wake)
    except BrokenPipeError:
        pass
    finally:
        keeper.kill()
        known = [] if plan["namespace"] else folder.recorded(place)
        ended = ending.end(lambda: ending.descendants(os.getpid()), known)
        ending.reap_children(_REAPED_WITHIN_S)
        ending.remove_segments(ended)


def _start_keeper(enter: list[str], plan: Plan, runner: int, passed: list[int]) -> subprocess.Popen[bytes]:
    me = os.pidfd_open(os.getpid())
    python = [sys.executable, "-S", "-P", "-m", "runlab.stack.keeper", plan["run_id"], str(me), str(runner)]
    keep = (me, runner, *passed)
    return subprocess.Popen([*enter, *python], stdin=subprocess.PIPE, pass_fds=keep, start_new_session=True)


def _watch(keeper: subprocess.Popen[bytes], runner: int, wake: int) -> None:
    """Return as soon as the run is over: runner or keeper dead, pipe closed, or told to end."""
    poll = select.poll()
    for descriptor in (sys.stdin.fileno(), runner):
        poll.register(descriptor, select.POLLIN | select.POLLHUP)
    poll.register(wake, select.POLLIN)
    while True:
        ready = {descriptor for descriptor, _ in poll.poll()}
        told = wake in ready and any(number != signal.SIGCHLD for number in os.read(wake, 64))
        if told or ready - {wake} or keeper.poll() is not None:
            return


def _line(runner: int, wake: int) -> bytes | None:
    """The next line on standard input; None when the runner is gone first, or one is told to end."""
    line = b""
    while not line.endswith(b"\n"):
        ready, _, _ = select.select([sys.stdin.fileno(), runner, wake], [], [])
        piece = os.read(sys.stdin.fileno(), 1 << 16) if ready == [sys.stdin.fileno()] else b""
        if not piece:
            return None
        line += piece
    return line


def _wake_on(*numbers: signal.Signals) -> int:
    """A descriptor on which a byte, the signal's number, arrives for each of these signals."""
    wake, woken = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(woken)
    for number in numbers:
        signal.signal(number, lambda *_: None)
    return wake


def _say(**message: Any) -> None:
    print(json.dumps(message), flush=True)


if __name__ == "__main__":
    sys.exit(main())
