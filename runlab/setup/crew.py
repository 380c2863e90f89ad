"""Steps of set-up that go on side by side, and how all that they started is interrupted."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar, copy_context
from pathlib import Path

from runlab.waiting import DeadlineError, wait_until

PATIENCE_S = 3.0  # how long what was interrupted has to end by itself
POLL_S = 0.05


class Stopped(BaseException):
    """Unwinds a step whose commands were interrupted: not an error, so nothing may take it for one and go on."""


class Command:
    """A command as a process group of its own, both outputs into one pipe: the terminal's Ctrl-C leaves it to set-up.

    `alone`: an interrupt reaches the command itself and not what it started; for package managers, which must not lose
    a maintainer script half-way. `undoes`: it puts something back, so it is not kept from starting.
    """

    def __init__(
        self, words: Sequence[str], env: Mapping[str, str], cwd: Path | None, *, alone: bool, undoes: bool
    ) -> None:
        self.words, self.env, self.cwd, self.alone, self.undoes = words, env, cwd, alone, undoes
        self.process: subprocess.Popen[str]

    def start(self) -> None:
        """Start it. Raises OSError."""
        self.process = subprocess.Popen(
            self.words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=self.env,
            cwd=self.cwd,
            process_group=0,
        )

    def interrupt(self) -> None:
        """Send SIGINT, once: to the whole group unless it is to be `alone`."""
        if self.process.returncode is not None:
            return
        with contextlib.suppress(PermissionError, ProcessLookupError):  # sudo belongs to root: it is waited for
            if self.alone:
                os.kill(self.process.pid, signal.SIGINT)
            else:
                os.killpg(self.process.pid, signal.SIGINT)

    def see_off(self) -> None:
        """After an interrupt, when the command itself has ended: wait for the rest of its group; kill what stays."""
        try:
            wait_until("the command's group to end", lambda: not self._group_is_there(), deadline_s=PATIENCE_S)
        except DeadlineError:
            self.kill()

    def kill(self) -> None:
        """End the whole group at once."""
        with contextlib.suppress(PermissionError, ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def _group_is_there(self) -> bool:
        try:
            os.killpg(self.process.pid, 0)
        except ProcessLookupError:
            return False
        return True


class Crew:
    """The commands that run for one set-up. Once it was stopped, no further one starts but to put things back."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[Command] = set()
        self.stopped = False

    def start(self, command: Command) -> None:
        """Start `command`. Raises OSError, and Stopped after `stop`."""
        with self._lock:
            if self.stopped and not command.undoes:
                raise Stopped
            command.start()
            self._running.add(command)

    def ended(self, command: Command) -> None:
        """Say that `command` was waited for."""
        with self._lock:
            self._running.discard(command)

    def stop(self) -> None:
        """Interrupt every command that runs; whoever started one still waits for its end."""
        with self._lock:
            self.stopped = True
            for command in self._running:
                command.interrupt()

    def kill(self) -> None:
        """End what an interrupt did not, except package managers and what puts things back: those are waited for."""
        with self._lock:
            for command in self._running:
                if not (command.alone or command.undoes):
                    command.kill()


CREW: ContextVar[Crew] = ContextVar("crew")
STEP: ContextVar[str] = ContextVar("step")


def say(line: str) -> None:
    """Tell people what is being done, at once even when the output is a pipe; names the step, where several run."""
    step = STEP.get("")
    # one write: lines of steps that run side by side do not mix
    sys.stdout.write(f"setup: {step}: {line}\n" if step else f"setup: {line}\n")
    sys.stdout.flush()


def side_by_side(steps: Mapping[str, Callable[[], object]]) -> None:
    """Carry out `steps`, each in a thread that `say` names; returns when all have ended, however they did.

    Raises the LabError of the one step that failed, an ExceptionGroup of several. On an interrupt, and on any other
    exception in this thread, the steps' commands are interrupted, all steps are waited for, and it goes on upwards.
    """
    crew, errors = Crew(), list[Exception]()

    def carry_out(name: str, step: Callable[[], object]) -> None:
        CREW.set(crew)
        STEP.set(name)
        try:
            step()
        except Stopped:
            return
        except Exception as error:  # noqa: BLE001 -- raised below, when the others have ended
            errors.append(error)

    threads = [
        threading.Thread(target=copy_context().run, args=(carry_out, name, step), name=name)
        for name, step in steps.items()
    ]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    except BaseException:
        crew.stop()
        _wait_out(threads, crew)
        raise
    if len(errors) > 1:
        raise ExceptionGroup("several steps failed", errors)
    for error in errors:
        raise error


def _wait_out(threads: Sequence[threading.Thread], crew: Crew) -> None:
    """Wait for `threads` however often people interrupt; after a while kill what may be killed, and say what is not."""
    deadline = time.monotonic() + PATIENCE_S
    told = False
    while running := [thread.name for thread in threads if thread.is_alive()]:
        with contextlib.suppress(KeyboardInterrupt, SystemExit):
            for thread in threads:
                thread.join(max(POLL_S, deadline - time.monotonic()))
            if time.monotonic() < deadline:
                continue
            crew.kill()
            if not told:
                told = True
                say(f"interrupted; ending {', '.join(running)}")
