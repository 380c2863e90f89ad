"""The services' lives inside the keeper: prepared, started in the order of their dependencies, checked, reset."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from runlab.model import LabError
from runlab.stack import ending
from runlab.stack.children import Child, Children, Enter, Outcome
from runlab.stack.plan import Account, ServicePlan

_PREPARE_S = 60.0
_STOP_S = 1.0
_VERSION_S = 10.0


class Service:
    """One service. `state` is waiting, preparing, starting, ready, completed or failed; `detail` says why it failed.

    A service that was ready and whose process has ended is `ended`.
    """

    def __init__(
        self,
        name: str,
        plan: ServicePlan,
        account: Account,
        children: Children,
        record: Callable[[ending.Process], None],
        enter: Enter,
    ) -> None:
        self.name, self.plan = name, plan
        self._enter = enter
        self.version = ""
        self.detail = ""
        self._account, self._children, self._record = account, children, record
        self._state = "waiting"
        self._child: Child | None = None
        self._turn = threading.Lock()

    @property
    def state(self) -> str:
        ended = self._child is not None and self._child.ended.is_set()
        return "ended" if self._state == "ready" and ended else self._state

    @property
    def pid(self) -> int | None:
        return self._child.pid if self._child and not self._child.ended.is_set() else None

    def bring_up(self) -> None:
        """Prepare, start, and return once it is healthy or has completed. LabError, also kept in `detail`."""
        with self._turn:
            try:
                self._state = "preparing"
                self._prepare()
                self._start()
            except (LabError, OSError) as error:
                self._state, self.detail = "failed", str(error)
                raise

    def restart(self) -> None:
        """End it and start it again, its data kept; returns once it is healthy. LabError when it is not."""
        with self._turn:
            if self._child and not self._child.ended.is_set():
                self._stop(self._child)
            self._start()

    def send(self, number: int) -> None:
        """Send a signal to its first process. LabError when that has ended."""
        if (pid := self.pid) is None:
            raise LabError(f"service {self.name} is not running")
        os.kill(pid, number)

    def quiesce(self) -> None:
        """Run its commands that end what must not reach into a reset. LabError as `reset`."""
        for argv in self.plan["quiesce"]:
            self._must(argv, "quiesce")

    def reset(self) -> None:
        """Run its reset commands. LabError, with the command's last words, when one fails."""
        for argv in self.plan["reset"]:
            self._must(argv, "reset")

    def first_line(self, argv: Sequence[str]) -> str:
        """The first line that a command writes, run as this service's own."""
        outcome = self._run(argv, _VERSION_S)
        return next(iter((outcome["stdout"] or outcome["stderr"]).splitlines()), "")

    def _prepare(self) -> None:
        try:
            for path, content in self.plan["secret_files"].items():
                descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                with os.fdopen(descriptor, "w") as file:
                    file.write(content)
                if os.geteuid() == 0:
                    os.chown(path, self._account["uid"], self._account["uid"])
            for argv in self.plan["prepare"]:
                self._must(argv, "prepare")
        finally:
            for path in self.plan["secret_files"]:
                Path(path).unlink(missing_ok=True)

    def _stop(self, child: Child) -> None:
        """End it and all its descendants, also those in a process group of their own."""
        below = ending.descendants(child.pid)
        stop = self.plan["stop_signal"]
        child.kill_group(signal.SIGTERM if stop == signal.SIGKILL else stop)
        child.ended.wait(_STOP_S)
        child.kill_group()
        ending.kill(below)
        child.ended.wait()

    def _start(self) -> None:
        self._state = "starting"
        with Path(self.plan["log"]).open("ab") as log:
            child = self._child = self._children.spawn(
                self.plan["argv"],
                self._account,
                environment=self.plan["environment"],
                cwd=self.plan["cwd"],
                stdout=log,
                stderr=log,
                nice=self.plan["nice"],
                enter=self._enter,
            )
        if it := ending.identify(child.pid, self.plan["stop_signal"]):
            self._record(it)
        if self.plan["once"]:
            child.ended.wait()
            if child.status:
                raise LabError(self._last_words(child))
            self._state = "completed"
        else:
            self._await_health(child)
            self._state = "ready"

    def _await_health(self, child: Child) -> None:
        health = self.plan["health"]
        if health is None:
            return
        deadline = time.monotonic() + health["deadline_s"]
        while not child.ended.is_set():
            outcome = self._run(health["argv"], health["timeout_s"])
            if outcome["status"] == 0:
                return
            if time.monotonic() >= deadline:
                words = _last_line(outcome["stderr"] or outcome["stdout"]) or "no answer"
                raise LabError(f"service {self.name} is not healthy after {health['deadline_s']:g} s: {words}")
            child.ended.wait(health["interval_s"])
        raise LabError(self._last_words(child))

    def _last_words(self, child: Child) -> str:
        try:
            words = _last_line(Path(self.plan["log"]).read_text(errors="replace"))
        except OSError:
            words = ""
        return f"service {self.name} {_ending(child.status)}: {words or 'it wrote nothing'}"

    def _must(self, argv: Sequence[str], purpose: str) -> None:
        outcome = self._run(argv, _PREPARE_S)
        if outcome["status"] != 0:
            words = _last_line(outcome["stderr"] or outcome["stdout"]) or _ending(outcome["status"])
            raise LabError(f"service {self.name}: {purpose} by {Path(argv[0]).name} failed: {words}")

    def _run(self, argv: Sequence[str], time_limit_s: float) -> Outcome:
        return self._children.run(
            argv,
            self._account,
            environment=self.plan["environment"],
            cwd=self.plan["cwd"],
            time_limit_s=time_limit_s,
            enter=self._enter,
        )


class Held:
    """A process that is kept, its standard input open, until it is released."""

    def __init__(self, child: Child) -> None:
        self._child = child

    @classmethod
    def start(
        cls,
        argv: Sequence[str],
        stdin: str,
        account: Account,
        children: Children,
        *,
        environment: Mapping[str, str],
        log: Path,
        enter: Enter,
    ) -> Held:
        with log.open("ab") as file:
            child = children.spawn(
                argv,
                account,
                environment=environment,
                stdin=subprocess.PIPE,
                stdout=file,
                stderr=file,
                enter=enter,
            )
        pipe = child.process.stdin
        assert pipe
        with contextlib.suppress(BrokenPipeError):
            pipe.write(stdin.encode())
            pipe.flush()
        return cls(child)

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def alive(self) -> bool:
        return not self._child.ended.is_set()

    def release(self) -> None:
        """End it at once, its whole process group with it."""
        self._child.kill_group()
        self._child.ended.wait()
        with contextlib.suppress(BrokenPipeError):
            if self._child.process.stdin:
                self._child.process.stdin.close()


def in_order(depends: Mapping[str, Sequence[str]], work: Callable[[str], None]) -> dict[str, Exception]:
    """Call `work` for each name in a thread of its own, as soon as all that it depends on is done.

    What depends on a failed one is left out. Returns the failures; LabError and OSError count as such.
    """
    done = {name: threading.Event() for name in depends}
    failed: dict[str, Exception] = {}
    skipped: set[str] = set()

    def turn(name: str) -> None:
        try:
            for other in depends[name]:
                done[other].wait()
            if any(other in failed or other in skipped for other in depends[name]):
                skipped.add(name)
            else:
                work(name)
        except (LabError, OSError) as error:
            failed[name] = error
        finally:
            done[name].set()

    threads = [threading.Thread(target=turn, args=(name,), daemon=True) for name in depends]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return failed


def _last_line(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")


def _ending(status: int | None) -> str:
    if status is None:
        return "was killed at its time limit"
    if status < 0:
        return f"was ended by signal {-status} ({signal.strsignal(-status)})"
    return f"ended with status {status}"
