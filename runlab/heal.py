"""Undo what a run left broken, from its journal alone, in whatever process of the same account."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from runlab import journal
from runlab.model import JsonObject, LabError
from runlab.stack import processes
from runlab.stack.control import StackGoneError


def heal(run: Path) -> Iterator[str]:
    """Revert the faults of a run whose undo is in its journal, the last first; yields a line for each.

    Every undo is taken, also of faults that the run reverted itself: `revert` is idempotent, and a fault may have been
    injected again. One that fails keeps no other from being reverted. Raises LabError when the run has no journal,
    when its stack cannot be joined or is another run's, and at the end when a fault may still be in effect.
    """
    events = journal.read(run / "journal")
    undos = [event for event in events if event["kind"] == "undo"]
    if not undos:
        yield "no fault was injected"
        return
    stacks = _stacks(events)
    if not stacks:
        yield "the stack of this run has ended, and its faults with it"
        return
    left = 0
    for event in reversed(undos):
        if (stack := stacks.get(event["worker"])) is None:
            continue
        reverted, line = _revert(stack, event)
        left += not reverted
        yield line
    if left:
        raise LabError(f"{left} of {len(undos)} faults may still be in effect", mend="end the run: its stack goes too")


def _stacks(events: Sequence[JsonObject]) -> Mapping[str, processes.ProcessStack]:
    """The stacks of the run that still run, by the worker that started them. LabError for one that isn't its own."""
    stacks = {}
    for event in events:
        if event["kind"] != "stack":
            continue
        try:
            stack = processes.attach(Path(event["control"]))
        except StackGoneError:
            continue
        if stack.run_id != event["run"]:
            message = f"the stack there is that of run {stack.run_id}, not of {event['run']}"
            raise LabError(message, where=event["control"], mend="give a run's own folder, unchanged")
        stacks[event["worker"]] = stack
    return stacks


def _revert(stack: processes.ProcessStack, event: JsonObject) -> tuple[bool, str]:
    """Whether the fault is undone, and what to say of it."""
    name = event["fault"]["class"]
    try:
        fault = journal.load_fault(event["fault"])
        name = fault.name
        fault.revert(stack, event["undo"])
        seen = fault.witness(stack, event["undo"])
    except Exception as error:  # noqa: BLE001 -- whatever it is, the other faults must still be reverted
        return False, f"{name}: NOT REVERTED: {' '.join(str(error).split())} ({type(error).__name__})"
    said = f"{seen.detail}, says {seen.by}"
    return not seen.holds, f"{name}: {'STILL IN EFFECT' if seen.holds else 'reverted'} ({said})"
