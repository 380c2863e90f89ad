"""One run from its plan to its report: opens the laboratory, closes it, and has the journal judged."""

from __future__ import annotations

import os
import platform
import signal
import uuid
from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from runlab import journal, judge
from runlab.journal import Journal
from runlab.laboratory import Laboratory, alert_floors, scaled_rules
from runlab.model import JsonObject, LabError, Signal, Stack, Watcher
from runlab.plan import Plan
from runlab.reporting.live import LiveLine
from runlab.reporting.write import point_latest, write_all
from runlab.settings import Settings
from runlab.stack import compose, processes
from runlab.waiting import Progress

MakeWatchers = Callable[[Stack, Journal, Sequence[Signal]], Sequence[Watcher]]


def fresh_id() -> str:
    """A run's id: when it began (UTC) and four random digits, so that ids sort by time."""
    return f"{datetime.now(UTC).strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:4]}"


def start_stack(
    settings: Settings, *, run_id: str, folder: Path, needs: Collection[str] | None, progress: Progress
) -> processes.ProcessStack:
    """Start the stack that lab.toml describes, the durations of its alert rules scaled; it logs below `folder`.

    `needs` are capabilities, None for all that can be had. Raises what `processes.start` does.
    """
    return processes.start(
        settings.path(settings.stack.compose),
        reports=folder,
        run_id=run_id,
        time_scale=settings.time_scale,
        rules=scaled_rules(settings.time_scale),
        own_rules=settings.rules,
        needs=needs,
        runtime=settings.stack.runtime,
        progress=progress,
    )


@dataclass
class Run:
    """What a run is made of. `arms` are the ids of the arms that were selected."""

    settings: Settings
    plan: Plan
    arms: Sequence[str]
    command: str
    live: LiveLine
    stop_at_once: bool = False
    id: str = field(default_factory=fresh_id)
    laboratory: Laboratory | None = None
    _journal: Journal | None = None
    _stack: processes.ProcessStack | None = None

    @property
    def folder(self) -> Path:
        """Where this run writes: reports/<run-id>."""
        return self.settings.path(self.settings.stack.reports) / self.id

    def open(self, make_watchers: MakeWatchers) -> JsonObject:
        """Start the journal, the stack and the watchers; returns the plan as the journal has it.

        Raises LabError for what is missing; whatever was started by then is ended by `close`. SIGTERM is from here on
        what Ctrl-C is.
        """
        floors = alert_floors(self.settings, self.plan.runbooks, self.settings.time_scale)
        described = compose.read(self.settings.path(self.settings.stack.compose))
        secrets = [secret.environment for secret in described.secrets.values()]
        self.settings.check_console(list(described.services), secrets)
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            self._journal = Journal(self.folder / "journal", self.id)
        except OSError as error:
            raise LabError(
                f"cannot be written: {error.strerror}", where=str(self.folder), mend="mend its rights, or free space"
            ) from None
        self._journal.write("run-start", schema=1, command=self.command, seed=self.id)
        self._journal.write("claims", **self.plan.claims_event())
        stack = self._stack = start_stack(
            self.settings, run_id=self.id, folder=self.folder, needs=self.plan.needs, progress=self.live
        )
        about = stack.environment()
        self._journal.write("stack", control=str(stack.control), services=about["services"])
        self._journal.write("environment", environment=_environment(about, self.settings.time_scale))
        plan = self.plan.plan_event(self.arms, stack.available)
        self._journal.write("plan", **plan)
        self.laboratory = Laboratory(
            stack=stack,
            journal=self._journal,
            watchers=make_watchers(stack, self._journal, self.plan.signals()),
            runbooks=self.plan.runbooks,
            steps=self.plan.steps,
            bindings=self.plan.bindings,
            not_signals=self.plan.not_signals,
            console=self.settings.console,
            progress=self.live,
            stop_at_once=self.stop_at_once,
            alert_floor_s=floors,
            missing=stack.missing,
        )
        return plan

    def close(self, exit_status: int) -> None:
        """End watchers and stack, and the journal with the exit status so far. Safe when little was opened."""
        with ExitStack() as ending:  # the last first, and each whatever becomes of the others
            if self._journal is not None:
                ending.callback(self._journal.close)
                ending.callback(self._journal.write, "run-end", exit_status=exit_status)
            if self._stack is not None:
                ending.callback(self._stack.stop)
            for watcher in self.laboratory.watchers if self.laboratory else ():
                ending.callback(watcher.close)

    def report(self) -> JsonObject:
        """Judge the journal, write the reports, and point reports/latest here; returns the results."""
        results = report(self.folder, self.settings.min_executed)
        point_latest(self.folder)
        return results


def _environment(about: JsonObject, time_scale: float) -> JsonObject:
    """What results.json says of where the run took place; nothing that names the machine or its owner."""
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    kernel = f"{platform.system()} {platform.release()} {platform.machine()}"
    return {
        "runtime": about["runtime"],
        "namespaces": about["namespaces"],
        "machine": f"{kernel}, {os.cpu_count()} cores, {memory_gib:.0f} GiB, Python {platform.python_version()}",
        "versions": {name: service["version"] for name, service in about["services"].items()},
        "time_scale": time_scale,
        "capabilities": about["capabilities"],
        "missing": about["missing"],
        "ready_s": about["ready_s"],
        "start_s": about["start_s"],
    }


def report(folder: Path, min_executed: int) -> JsonObject:
    """Judge a run from its journal alone and write all its reports; `results["run"]["exit_status"]` is the verdict."""
    events = journal.read(folder / "journal")
    results = judge.results(events)
    results["run"]["exit_status"] = judge.exit_status(results, min_executed=min_executed)
    write_all(results, events, folder)
    return results
