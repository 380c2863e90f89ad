"""One fault on the stack of `runlab up`: injected, its witness asked again and again, and reverted in the end.

What happens is written to the stack's journal as in a run, the undo first, so that `runlab heal` can revert the fault
when this process was killed.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from runlab.journal import Journal
from runlab.model import Fault, LabError, Observation, Undo
from runlab.run import fresh_id
from runlab.stack.processes import ProcessStack
from runlab.waiting import wait_until

Say = Callable[[str], None]


class Injection:
    """A fault on a stack that stands in `folder` of reports/. Raises LabError when the stack lacks what it needs."""

    def __init__(self, fault: Fault, stack: ProcessStack, folder: Path, say: Say) -> None:
        if lacks := sorted(fault.needs - stack.capabilities):
            there = ", ".join(sorted(stack.capabilities))
            raise LabError(f"{fault.name} needs {', '.join(lacks)}", mend=f"this stack has {there}")
        self._fault, self._stack, self._folder, self._say = fault, stack, folder, say
        self._undo: Undo = {}
        self._since = 0.0

    def run(self) -> None:
        """Inject, show what the witness says until Ctrl-C, and revert. LabError when the fault could not be injected,
        when it then still holds, and StackGoneError when the stack has ended, and the fault with it.
        """
        self._journal = Journal(self._folder / "journal", self._stack.run_id, f"inject-{fresh_id()}")
        try:
            with self._errors_in_one_line("is not injected"):
                self._journal.write(
                    "stack", control=str(self._stack.control), services=self._stack.environment()["services"]
                )
                self._undo = json.loads(json.dumps(self._fault.prepare(self._stack)))
            self._journal.write("undo", durable=True, fault=self._fault.as_data(), undo=self._undo)
            try:
                self._inject()
                self._watch()
            except KeyboardInterrupt:
                self._say("")  # the terminal has ^C on this line
            finally:
                self._revert()
        finally:
            self._journal.close()

    def _inject(self) -> None:
        with self._errors_in_one_line("is not injected"):
            self._fault.inject(self._stack, self._undo)
        self._since = time.monotonic()
        self._journal.write("inject", fault=self._fault.as_data())
        self._say(f"{self._fault.name} is injected; Ctrl-C reverts it (from elsewhere: runlab heal {self._folder})")

    def _watch(self) -> None:
        """Say what the witness sees whenever that changes. StackGoneError when the stack has ended."""
        said = [""]

        def look() -> bool:
            self._stack.ensure_kept()
            words, seen = self._look()
            if words != said[0]:
                self._say(f"{time.monotonic() - self._since:6.1f} s  {words}")
                if seen is not None:
                    self._journal.write("witness", moment="after injection", **asdict(seen))
            said[0] = words
            return False

        wait_until("Ctrl-C", look, deadline_s=math.inf, every_s=0.5)

    def _look(self) -> tuple[str, Observation | None]:
        try:
            seen = self._fault.witness(self._stack, self._undo)
        except Exception as error:  # noqa: BLE001 -- a witness that cannot look now may be able to later
            return f"the witness cannot look: {_one_line(error)}", None
        return in_words(seen), seen

    def _revert(self) -> None:
        self._stack.ensure_kept()
        with self._errors_in_one_line("may still be in effect", mend=f"runlab heal {self._folder}"):
            self._fault.revert(self._stack, self._undo)
            seen = self._fault.witness(self._stack, self._undo)
        self._journal.write("reverted", fault=self._fault.as_data(), holds=seen.holds, by=seen.by, detail=seen.detail)
        if seen.holds:
            raise LabError(
                f"{self._fault.name} is still in effect, says {seen.by}: {seen.detail}", mend="end the stack"
            )
        self._say(f"{self._fault.name} is reverted: {in_words(seen)}")

    @contextmanager
    def _errors_in_one_line(self, what: str, mend: str = "") -> Iterator[None]:
        """Whatever a fault raises becomes a LabError."""
        try:
            yield
        except LabError:
            raise
        except Exception as error:
            name = self._fault.name
            raise LabError(f"{name} {what}: {type(error).__name__}: {_one_line(error)}", mend=mend) from error


def in_words(seen: Observation) -> str:
    """An observation on one line: whether the fault is in effect, what was seen, by whom, and what steps must find."""
    state = "in effect" if seen.holds else "not in effect"
    truth = ", ".join(f"{name} {', '.join(map(str, values))}" for name, values in seen.truth.items() if values)
    return "".join((f"{state}: {seen.detail}", f"; steps must find {truth}" if truth else "", f" (says {seen.by})"))


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
