"""What all arms of a run share, and its beginning and end: the stack, the journal and the watchers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from runlab import timescale
from runlab.journal import Journal
from runlab.model import JsonObject, LabError, ResettableStack, Runbook, UsersRecord, Watcher
from runlab.settings import ConsoleSettings, Settings
from runlab.steps import Registry
from runlab.waiting import Progress


@runtime_checkable
class RecordsUsers(Protocol):
    """A watcher that has the users' own record."""

    def record(self) -> UsersRecord: ...


@dataclass
class Laboratory:
    """What an arm works with. `recovery_s` is filled by fault arms and read by withheld ones."""

    stack: ResettableStack
    journal: Journal
    watchers: Sequence[Watcher]
    runbooks: Mapping[str, Runbook]
    steps: Mapping[str, Registry]
    """By runbook."""
    bindings: Mapping[str, JsonObject]
    not_signals: Mapping[str, Mapping[str, str]]
    console: ConsoleSettings
    progress: Progress
    stop_at_once: bool
    """Raise a failure where it is seen, for a debugger, instead of collecting it."""
    alert_floor_s: Mapping[str, float]
    """By runbook: the longest that a rule of it must wait by its own, scaled, durations."""
    missing: Mapping[str, str] = field(default_factory=dict)
    """By capability that the stack could have: why it cannot be had on this machine, and what to do about it."""
    recovery_s: dict[str, float] = field(default_factory=dict)
    """Time to recover by incident, as the fault arm measured it; the withheld arm watches twice as long."""

    def users_record(self) -> UsersRecord:
        """Raises LabError when no watcher keeps one."""
        for watcher in self.watchers:
            if isinstance(watcher, RecordsUsers):
                return watcher.record()
        raise LabError("no watcher keeps a record of the users", mend="add verifiers.users to the watchers")


def scaled_rules(scale: float) -> Callable[[str, str], str]:
    """A function from the text and the name of a rule file to the same rules with all durations divided by `scale`."""
    return lambda text, file: timescale.scale_rules(text, scale, file)


def alert_floors(settings: Settings, runbooks: Mapping[str, Runbook], scale: float) -> dict[str, float]:
    """Seconds that the slowest alert of each runbook has to wait by its rule's own durations, divided by `scale`."""
    shipped = settings.path(settings.stack.compose).parent / "prometheus" / "rules"
    files = [file for folder in (shipped, settings.rules) if folder for file in sorted(folder.glob("*.yml"))]
    rules = [scaled_rules(scale)(file.read_text(encoding="utf-8"), str(file)) for file in files]
    floors: dict[str, float] = {}
    for name, book in runbooks.items():
        alerts = {p.text for claim in book.of_kind("detect") for p in claim.parts if p.kind == "alert"}
        floors[name] = max((_floor_s(rule, alert) for rule in rules for alert in alerts), default=0.0)
    return floors


def _floor_s(rules: str, alert: str) -> float:
    try:
        return timescale.floor_s(rules, alert)
    except LabError:
        return 0.0  # the rule stands in another file, or nowhere, which the alert's own watcher reports
