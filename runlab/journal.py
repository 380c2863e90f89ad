"""The journal: an append-only history in JSON Lines, one file a worker process; all that is known comes from here.

Faults, watchers, steps and the three arms write; judge, reports and healing read. Every line carries
`run, worker, seq, t, time, kind, arm`: `t` is the runner's monotonic clock in seconds, `time` the wall clock
(RFC 3339, UTC), `arm` the id of the arm in whose window it happened (set by the writer, since a webhook may land in the
next one), or null between arms. `worker:seq` names a line as evidence.

| kind | further fields |
|---|---|
| run-start | schema, command, seed |
| claims | runbooks: [Runbook as data, with its claims]; not_signals {runbook: {span: reason}} |
| stack | control (the keeper's socket), services {name: {host, version}} |
| environment | environment: what results.json says of where the run took place, time_scale included |
| plan | arms: [id of every arm selected]; scenarios: [{scenario, runbook, cause, cause_claim, measure, measure_claim, margin {by, unit}, procedures, steps: [claim, in order], incidents, lacks: [capability] where none of them can be had, lacking: {incident: [capability]}}], also those that were not selected; bindings: {claim: {role, symptom, place, pattern, promises, lists, who, why} or {role: null, error}} |
| arm-start | scenario, runbook, name (quiet, fault, withheld, off, on), fault, fault_name, case, settings, cause, measure, procedures |
| undo | fault, undo |
| inject | fault: it is in effect, says the injector |
| witness | moment ("after injection", "when the steps begin", "at the end", or "before " claim), holds, by, detail, truth, innocents |
| trigger | what |
| premise | facts: {what the procedure takes for granted: whether it is so} |
| hop | alert, hop (scraped, pending, firing, delivered, resolved), detail |
| signal | claim, name, signal_kind (alert, signature, symptom), by, detail; of an alert also labels {name: value}, as they were delivered |
| source | claim, name, answers, exists, fresh, detail; written when the arm's window is closed |
| step-start | claim, role, place |
| command | claim, printed (as the runbook has it, or null when the tool is ours), argv (one word: what was refused), account, host, role, status (null: ended at its time limit), stdout, stderr, seconds, refused (why it was not run, or null) |
| step-end | claim, ran, facts {name: [{value, evidence, column: how it was read}]}, used {name: from claim}, error |
| state | after (claim, "before " claim, "steady", "not steady", "trigger", "before the first step" or "end"), goal, settled {watcher: {holds, detail}}, fault, more {…} |
| recovered | ttr_s, stayed_s, and the state: goal, settled, fault, more |
| not-recovered | waited_s, detail, and the state: goal, settled, fault, more |
| withheld | watched_s, needed_s, recovered, self_healed_s |
| measure | measure, setting (off, on), settings, impact, value, unit, by, requests |
| reverted | fault, holds, by, detail: what the witness says afterwards |
| arm-end | outcome, message, floor {what: seconds}, floor_s, wall_s, and where they were measured ttd_s, ttr_s, watched_s, self_healed_s |
| run-end | exit_status |
"""

from __future__ import annotations

import importlib
import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from operator import attrgetter
from pathlib import Path
from typing import Any

from runlab.model import Fault, JsonObject, LabError

COMMON = ("run", "worker", "seq", "t", "time", "kind", "arm")


class Journal:
    """Appends events for one worker of one run. Safe to use from several threads.

    A line is on disk for every other process once `write` returns; with `durable=True` also after a power cut.
    """

    def __init__(self, folder: Path, run: str, worker: str = "main") -> None:
        self.run, self.worker = run, worker
        self.arm: str | None = None
        self.path = folder / f"{worker}.jsonl"
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._seq = 0
        self._of_arm: list[JsonObject] = []
        # half a surrogate pair, as an undecodable file name has it, becomes the escape that JSON has for it
        self._file = self.path.open("a", encoding="utf-8", errors="backslashreplace")

    def write(self, kind: str, *, arm: str | None = None, durable: bool = False, **data: Any) -> str:
        """Append one event and return its evidence, "worker:seq". `arm` defaults to the current one.

        LabError when it cannot be written: what is not in the journal has not happened, so the run must end.
        """
        with self._lock:
            self._seq += 1
            event = {
                "run": self.run,
                "worker": self.worker,
                "seq": self._seq,
                "t": round(time.monotonic(), 4),
                "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
                "kind": kind,
                "arm": arm if arm is not None else self.arm,
                **data,
            }
            self._append(json.dumps(event, ensure_ascii=False, default=str) + "\n", durable=durable)
            if event["arm"] is not None and event["arm"] == self.arm:
                self._of_arm.append(event)
            return f"{self.worker}:{self._seq}"

    def _append(self, line: str, *, durable: bool) -> None:
        try:
            self._file.write(line)
            self._file.flush()
            if durable:
                os.fsync(self._file.fileno())
        except OSError as error:
            raise LabError(f"cannot be written: {error.strerror}", where=str(self.path), mend="free space") from None

    def begin_arm(self, arm: str) -> None:
        """From here on events belong to `arm` unless their writer says otherwise."""
        with self._lock:
            self.arm, self._of_arm = arm, []

    def end_arm(self) -> None:
        with self._lock:
            self.arm = None

    def of_arm(self) -> list[JsonObject]:
        """What was written so far of the arm that runs."""
        with self._lock:
            return list(self._of_arm)

    def close(self) -> None:
        with self._lock, suppress(OSError):  # what could not be written was said when it was to be
            self._file.close()


def evidence(event: JsonObject) -> str:
    """How results.json points at this event."""
    return f"{event['worker']}:{event['seq']}"


def read(folder: Path) -> list[JsonObject]:
    """All events of a run, ordered by time. A last line cut short by a kill is left out.

    Raises LabError, with file and line, for a folder without a journal and for any other unreadable line.
    """
    try:
        files = sorted(folder.glob("*.jsonl"))
    except OSError as error:
        raise _unreadable(folder, error) from None
    if not files:
        raise LabError("no journal here", where=str(folder), mend="give a folder such as reports/latest")
    events = [event for file in files for event in _lines(file)]
    return sorted(events, key=lambda event: (event["t"], event["worker"], event["seq"]))


def _lines(file: Path) -> Iterator[JsonObject]:
    try:
        lines = file.read_bytes().split(b"\n")  # decoded one by one: a kill may have cut the last within a character
    except OSError as error:
        raise _unreadable(file, error) from None
    for number, line in enumerate(lines, 1):
        if not line:
            continue
        try:
            event = json.loads(line)
            missing = [name for name in COMMON if name not in event]
        except (ValueError, TypeError):
            if number == len(lines):
                return
            raise LabError("not a journal line", where=f"{file}:{number}") from None
        if missing:
            raise LabError(f"the line lacks {', '.join(missing)}", where=f"{file}:{number}")
        yield event


def _unreadable(path: Path, error: OSError) -> LabError:
    return LabError(f"cannot be read: {error.strerror}", where=str(path), mend="read it as who wrote it")


def load_fault(data: JsonObject) -> Fault:
    """Build a fault again from what `Fault.as_data` wrote. Nothing but a subclass of Fault is ever called.

    Raises LabError for anything else.
    """
    try:
        module, _, name = data["class"].partition(":")
        kind = attrgetter(name)(importlib.import_module(module))
        fields = dict(data["fields"])
    except (ImportError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise LabError(f"no such fault: {data.get('class')!r} ({error})", mend="write module:Class") from None
    if not (isinstance(kind, type) and issubclass(kind, Fault)):
        raise LabError(f"{data['class']} is no fault", mend="name a subclass of runlab.model.Fault")
    try:
        return kind(**fields)
    except TypeError as error:
        raise LabError(f"{data['class']} cannot be made of {fields} ({error})", mend="give its fields") from None
