"""pytest's --keep: a failed test's stack stays up, its fault in effect, while somebody holds the terminal."""

from __future__ import annotations

import os
import select
import termios
from collections.abc import Callable, Sequence

from rich.console import Console
from rich.text import Text

from runlab.arm import Arm
from runlab.model import Fault, JsonObject, LabError, Stack
from runlab.playground import access
from runlab.playground.inject import in_words
from runlab.run import Run
from runlab.stack import compose
from runlab.stack.processes import ProcessStack

_LOOK_S = 0.5


class NoTerminalError(Exception):
    """Nobody can hold a terminal here; the message says why."""


class Terminal:
    """The terminal that this process is in the foreground of, out of reach of whoever captures our output.

    NoTerminalError where there is none.
    """

    def __init__(self) -> None:
        try:
            self._descriptor = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY)
        except OSError:
            raise NoTerminalError("there is no terminal to hold") from None
        if os.tcgetpgrp(self._descriptor) != os.getpgrp():
            os.close(self._descriptor)
            raise NoTerminalError("a background job can't hold the terminal")

    def hold(self, show: Callable[[Console], None], ensure_kept: Callable[[], None]) -> bool:
        """Show what is kept, and wait for Ctrl-D. False when it was Ctrl-C, or `ensure_kept` raised LabError."""
        try:
            termios.tcflush(self._descriptor, termios.TCIFLUSH)  # what was typed before it was asked for
            with os.fdopen(os.dup(self._descriptor), "w", encoding="utf-8", errors="replace") as out:
                show(Console(file=out, highlight=False))
            return self._wait(ensure_kept)
        except KeyboardInterrupt:
            return False

    def _wait(self, ensure_kept: Callable[[], None]) -> bool:
        while True:
            readable, _, _ = select.select([self._descriptor], [], [], _LOOK_S)
            try:
                ensure_kept()
                if readable and not os.read(self._descriptor, 1024):
                    return True
            except (LabError, OSError):  # the stack or the terminal is gone
                return False


def hold(terminal: Terminal, run: Run, arm: Arm, why: str) -> bool:
    """Hold the stack as the failed arm left it, and say how to reach its servers; false when the run is to end.

    The arm's window is closed first, so that what people do now is no evidence; their time counts as floor.
    """
    laboratory, lab = run.laboratory, run.settings
    assert laboratory is not None
    stack = laboratory.stack
    assert isinstance(stack, ProcessStack)
    described = compose.read(lab.path(lab.stack.compose))

    def show(console: Console) -> None:
        fault = _in_effect(laboratory.journal.of_arm(), arm.spec.fault, stack)
        console.print(Text(f"\n\nkept: {arm.spec.id}\n{why}\n\n{fault}\n"), soft_wrap=True)
        access.write(console, stack, described, lab.console.families)
        console.print(
            Text(f"\nlogs: {run.folder}/logs/\nCtrl-D: revert the fault and go on; Ctrl-C: revert it and end the run")
        )

    with arm.held():
        return terminal.hold(show, stack.ensure_kept)


def _in_effect(events: Sequence[JsonObject], fault: Fault | None, stack: Stack) -> str:
    """What the fault's witness says now, in words."""
    undo = next((event["undo"] for event in events if event["kind"] == "undo"), None)
    if fault is None or undo is None:
        return "no fault is in"
    try:
        return f"{fault.name} is {in_words(fault.witness(stack, undo))}"
    except Exception as error:  # noqa: BLE001 -- people want to look just then
        return f"{fault.name}: its witness cannot look ({' '.join(str(error).split())})"
