"""Undo what a run left broken, from its journal alone, in whatever process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from runlab import journal
from runlab.model import JsonObject, LabError
from runlab.stack import processes


def heal(run: Path) -> Iterator[str]:
    """Revert the faults of a run whose undo is in its journal; yields a line for each.

    Every undo is taken, also of faults that the run reverted itself: `revert` is idempotent, and a fault may have been
    injected again. Raises LabError when the run has no journal.
    """
    events = journal.read(run / "journal")
    undos = [event for event in events if event["kind"] == "undo"]
    if not undos:
        yield "no fault was injected"
        return
    stack = _attached(events)
    if stack is None:
        yield "the stack of this run has ended, and its faults with it"
        return
    for event in undos:
        fault = journal.load_fault(event["fault"])
        fault.revert(stack, event["undo"])
        seen = fault.witness(stack, event["undo"])
        yield f"{fault.name}: {'STILL IN EFFECT' if seen.holds else 'reverted'} ({seen.detail}, says {seen.by})"


def _attached(events: list[JsonObject]) -> processes.ProcessStack | None:
    """The stack of the run, or None when it no longer runs."""
    control = next((event["control"] for event in events if event["kind"] == "stack"), None)
    if control is None:
        raise LabError("the run ended before its stack was up")
    try:
        return processes.attach(Path(control))
    except LabError:
        return None
