"""The guard: a process of its own session that holds the run's folder and block, and sees to the end of everything.

runner → guard → keeper → services. The guard ends all when the runner dies, when the keeper dies, when its pipe is
closed (an orderly stop: the same way, so that it is tried at each run), or when it is told to by SIGTERM. In a PID
namespace the kernel does the ending; without one the guard adopts orphans and ends its descendants until none is
left. If the guard dies, the keeper does the same.

Protocol: one line of JSON in (Reservation), one out ({folder, hosts} or {error, mend}); one in (Plan), one out by the
keeper once it listens.
"""

from __future__ import annotations

import contextlib
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
_AND_SWEEP = ("sh", "-c", '"$@"; exec rm -rf "$0"')
"""Outlives guard, keeper and runner where the kernel ends all with the keeper: the run's folder is left then."""
_ENDED_WITHIN_S = 1.0
_SWEPT_WITHIN_S = 3.0


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
            _guard(place, hosts, runner, reservation, listeners)
        finally:
            folder.remove(place)
    return 0


def _command(reservation: Reservation) -> list[str]:
    """What the keeper is started by, so that it has the namespaces that it is to have."""
    if reservation["sandbox"]:
        return namespaces.sandbox_command(pid_namespace=reservation["namespaces"])[0]
    return (namespaces.process_command() or []) if reservation["namespaces"] else []


def _guard(
    place: Path, hosts: dict[str, str], runner: int, reservation: Reservation, listeners: dict[str, socket.socket]
) -> None:
    wake = _wake_on(signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    _say(folder=str(place), hosts=hosts)
    enter = _command(reservation)
    namespace = namespaces.has_pid_namespace(enter)
    numbers = {endpoint: it.fileno() for endpoint, it in listeners.items()}
    ending.adopt_orphans()
    # it makes itself ready while the runner still makes the plan
    keeper = _start_keeper(enter, reservation, runner, place, list(numbers.values()))
    for listener in listeners.values():
        listener.close()
    try:
        if it := ending.identify(keeper.pid):
            folder.record(place, it)
        if line := _line(runner, wake):
            plan: Plan = json.loads(line)
            plan["namespace"] = namespace
            if plan["network"]:
                plan["network"]["listeners"] = numbers
            assert keeper.stdin
            keeper.stdin.write(json.dumps(plan).encode() + b"\n")
            keeper.stdin.flush()
            _watch(keeper, runner, wake)
    except BrokenPipeError:
        pass
    finally:
        if namespace:  # whoever is last sweeps, and it may be that this process ends before it is done
            ending.kill(it for it in ending.descendants(os.getpid()) if it.pid != keeper.pid)
        else:  # should this process be killed meanwhile, the keeper goes on alone
            keeper.send_signal(signal.SIGTERM)
            keeper.send_signal(signal.SIGCONT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            keeper.communicate(timeout=_SWEPT_WITHIN_S if namespace else _ENDED_WITHIN_S)
        keeper.kill()
        known = [] if namespace else folder.recorded(place)
        ended = ending.end(lambda: ending.descendants(os.getpid()), known)
        ending.reap_children(_REAPED_WITHIN_S)
        ending.remove_segments(ended)


def _start_keeper(
    enter: list[str], reservation: Reservation, runner: int, place: Path, passed: list[int]
) -> subprocess.Popen[bytes]:
    me = os.pidfd_open(os.getpid())
    python = [sys.executable, "-S", "-P", "-m", "runlab.stack.keeper", reservation["run_id"], str(me), str(runner)]
    network = [str(place), *map(str, passed)] if reservation["sandbox"] else []
    sweep = [*_AND_SWEEP, str(place)] if namespaces.has_pid_namespace(enter) else []
    command = [*sweep, *enter, *python, *network]
    return subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=(me, runner, *passed), start_new_session=True)


def _watch(keeper: subprocess.Popen[bytes], runner: int, wake: int) -> None:
    """Return as soon as the run is over: runner or keeper dead, pipe closed, or told to end."""
    poll = select.poll()
    for descriptor in (sys.stdin.fileno(), runner):
        poll.register(descriptor, select.POLLIN | select.POLLHUP)
    poll.register(wake, select.POLLIN)
    while True:
        ready = {descriptor for descriptor, _ in poll.poll()}
        told = wake in ready and _is_told(wake)
        if told or ready - {wake} or keeper.poll() is not None:
            return


def _is_told(wake: int) -> bool:
    """Whether a signal says to end; that a child has ended says nothing."""
    return any(number != signal.SIGCHLD for number in os.read(wake, 64))


def _line(runner: int, wake: int) -> bytes | None:
    """The next line on standard input; None when the runner is gone first, or one is told to end."""
    line = b""
    while not line.endswith(b"\n"):
        ready, _, _ = select.select([sys.stdin.fileno(), runner, wake], [], [])
        if runner in ready or (wake in ready and _is_told(wake)):
            return None
        if sys.stdin.fileno() in ready:
            piece = os.read(sys.stdin.fileno(), 1 << 16)
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
