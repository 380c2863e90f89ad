"""The stack that `runlab up` keeps for people, and how other commands find it.

It writes reports/<run-id>/ as a run does: logs, and a journal that says where its keeper listens. reports/latest stays
where it is, since there is nothing to report. A stack is found by these journals: the newest whose keeper answers, so
that nothing has to be cleaned up after a kill.
"""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from runlab import journal
from runlab.journal import Journal
from runlab.model import LabError
from runlab.run import fresh_id, start_stack
from runlab.settings import Settings
from runlab.stack import compose, processes, programs
from runlab.stack.choice import choose
from runlab.stack.control import StackGoneError
from runlab.stack.processes import ProcessStack
from runlab.stack.runtimes import pick
from runlab.waiting import Progress, wait_until

COMMAND = "runlab up"
NO_STACK = "start one in another terminal: runlab up"


@contextmanager
def standing(lab: Settings, *, needs: Collection[str], progress: Progress) -> Iterator[tuple[ProcessStack, Path]]:
    """Start a stack, write down where it is, and end it on leaving; gives it and its folder in reports/.

    Of the services that are optional only those start that one of the capabilities `needs` asks for; without any, all
    that can. LabError for a capability that cannot be had.
    """
    check_needs(lab, needs)
    run_id = fresh_id()
    folder = lab.path(lab.stack.reports) / run_id
    with ExitStack() as ending:
        stack = start_stack(lab, run_id=run_id, folder=folder, needs=needs or None, progress=progress)
        ending.callback(stack.stop)
        book = Journal(folder / "journal", run_id)
        ending.callback(book.close)
        book.write("run-start", schema=1, command=COMMAND, seed=run_id)
        book.write("stack", control=str(stack.control), services=stack.environment()["services"])
        yield stack, folder


def check_needs(lab: Settings, needs: Collection[str]) -> None:
    """LabError, with the reason, for a capability that the stack of compose.yaml, or its runtime, cannot have here."""
    has = pick(lab.stack.runtime)[1]
    found = choose(compose.read(lab.path(lab.stack.compose)), None, needs, programs.find, has)
    for capability in needs:
        if capability in found.missing:
            raise LabError(f"{capability} is missing: {found.missing[capability]}")
        if capability not in found.available:
            close = difflib.get_close_matches(capability, found.available, n=1)
            mend = f"did you mean {close[0]}?" if close else f"there are {', '.join(sorted(found.available))}"
            raise LabError(f"no service of {lab.stack.compose} has the capability {capability}", mend=mend)


def stay(stack: ProcessStack, say: Callable[[str], None]) -> None:
    """Wait for ever, and say when a service has died. StackGoneError once the stack has ended without us."""
    said = [""]

    def look() -> bool:
        try:
            stack.check()
            died = ""
        except StackGoneError:
            raise
        except LabError as error:
            died = str(error)
        if died and died != said[0]:
            say(died)
        said[0] = died
        return False

    wait_until("Ctrl-C", look, deadline_s=math.inf, every_s=0.5)


def find(reports: Path, run: Path | None = None) -> tuple[ProcessStack, Path]:
    """The newest stack of `runlab up` that still stands, or that of the folder `run`; and its folder.

    LabError when there is none, when `run` is a run of tests, whose verdicts a further fault would spoil, or when the
    stack is another account's.
    """
    if run is not None and not _is_stand(run):
        raise LabError("no stack of `runlab up`", where=str(run), mend="faults are injected only there")
    for folder in [run] if run else sorted(filter(_is_stand, reports.glob("*/")), reverse=True):
        for event in journal.read(folder / "journal"):
            if event["kind"] == "stack" and event["worker"] == "main":
                try:
                    stack = processes.attach(Path(event["control"]))
                except StackGoneError:
                    continue
                if stack.run_id == event["run"]:
                    return stack, folder
    raise LabError("no stack is up" + (f" in {run}" if run else ""), mend=NO_STACK)


def _is_stand(folder: Path) -> bool:
    """Whether the journal of that folder was begun by `runlab up`; only its first line is read."""
    if folder.is_symlink():
        return False
    try:
        with (folder / "journal" / "main.jsonl").open(encoding="utf-8") as file:
            first = json.loads(file.readline())
        return bool(first["command"] == COMMAND)
    except (OSError, ValueError, KeyError, TypeError):
        return False
