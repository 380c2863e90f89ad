"""What a stack costs: the time to start, to reset and to end it, and the memory that each service keeps resident.

Side by side for each runtime.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.table import Table

from runlab.model import JsonObject
from runlab.stack.processes import ProcessStack

MIB = 2**20
Start = Callable[[Path], ProcessStack]
"""Starts a stack whose logs go to the given folder."""
Summary = Mapping[str, float]
"""min, median and max of a figure."""


@dataclass(frozen=True)
class Figures:
    """One figure a run; `resident` in bytes by service."""

    ready_s: list[float] = field(default_factory=list)
    """Until all services are healthy."""
    start_s: list[float] = field(default_factory=list)
    """Until Prometheus has scraped each of them as well."""
    reset_s: list[float] = field(default_factory=list)
    stop_s: list[float] = field(default_factory=list)
    resident: dict[str, list[int]] = field(default_factory=dict)

    def as_data(self) -> JsonObject:
        seconds = {"ready_s": self.ready_s, "start_s": self.start_s, "reset_s": self.reset_s, "stop_s": self.stop_s}
        return {
            "runs": len(self.stop_s),
            **{name: _summary(values, 3) for name, values in seconds.items()},
            "resident_bytes": {name: _summary(values, 0) for name, values in self._resident().items()},
        }

    def _resident(self) -> Mapping[str, Sequence[int]]:
        """By service, and the sum of all under "all"."""
        return {**self.resident, "all": [sum(run) for run in zip(*self.resident.values(), strict=True)]}


def measure(starts: Mapping[str, Start], runs: int, say: Callable[[str], None]) -> dict[str, Figures]:
    """Start, reset and end a stack `runs` times in each runtime of `starts`, by turns; `say` is told what is next.

    Raises what a start does.
    """
    found = {runtime: Figures() for runtime in starts}
    with tempfile.TemporaryDirectory(prefix="runlab-bench-") as logs:
        for number in range(1, runs + 1):
            for runtime, start in starts.items():
                say(f"{runtime}, run {number} of {runs}")
                _measure_one(found[runtime], start, Path(logs) / f"{runtime}-{number}")
    return found


def _measure_one(figures: Figures, start: Start, logs: Path) -> None:
    stack = start(logs)
    try:
        figures.ready_s.append(stack.ready_s)
        figures.start_s.append(stack.start_s)
        for service, held in stack.resident().items():
            figures.resident.setdefault(service, []).append(held)
        figures.reset_s.append(_seconds(stack.reset))
    finally:
        stop_s = _seconds(stack.stop)
    figures.stop_s.append(stop_s)


def tables(figures: Mapping[str, Figures]) -> Iterator[Table]:
    """Two of them, with a column a runtime: seconds, and memory by service, the largest first and all of them last."""
    data = {runtime: one.as_data() for runtime, one in figures.items()}
    runs = next(iter(data.values()))["runs"]
    shown = {
        "start, until all are healthy": "ready_s",
        "start, until Prometheus has scraped all": "start_s",
        "data reset": "reset_s",
        "stop": "stop_s",
    }
    seconds = {name: {runtime: one[key] for runtime, one in data.items()} for name, key in shown.items()}
    yield _table(f"{runs} runs, seconds", figures, seconds, lambda value: f"{value:.3f}")
    held: dict[str, dict[str, Summary]] = {}
    for runtime, one in data.items():
        for service, summary in one["resident_bytes"].items():
            held.setdefault(service, {})[runtime] = summary
    whole = held.pop("all")
    largest = sorted(held.items(), key=lambda row: -max(summary["median"] for summary in row[1].values()))
    yield _table("resident memory, MiB", figures, {**dict(largest), "all": whole}, lambda value: f"{value / MIB:.1f}")


def _table(
    title: str, runtimes: Iterable[str], rows: Mapping[str, Mapping[str, Summary]], shown: Callable[[float], str]
) -> Table:
    """Each figure's median, and in brackets the least and the most."""
    made = Table(box=None, pad_edge=False)
    made.add_column(title, overflow="fold")
    for runtime in runtimes:
        made.add_column(runtime, justify="right", no_wrap=True)
    for name, by_runtime in rows.items():
        cells = []
        for runtime in runtimes:
            of = (
                {figure: shown(value) for figure, value in by_runtime[runtime].items()} if runtime in by_runtime else {}
            )
            cells.append("{median} ({min}–{max})".format(**of) if of else "–")
        made.add_row(name, *cells)
    return made


def _seconds(work: Callable[[], None]) -> float:
    began = time.monotonic()
    work()
    return time.monotonic() - began


def _summary(values: Sequence[float], digits: int) -> dict[str, float]:
    figures = {"min": min(values), "median": statistics.median(values), "max": max(values)}
    return {name: round(value, digits or None) for name, value in figures.items()}
