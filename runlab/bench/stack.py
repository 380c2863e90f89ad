"""What a stack costs: the time to start, to reset and to end it, and the memory that each service keeps resident."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.table import Table

from runlab.model import JsonObject
from runlab.stack.processes import ProcessStack

MIB = 2**20
Start = Callable[[Path], ProcessStack]
"""Starts a stack whose logs go to the given folder."""


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


def measure(start: Start, runs: int, say: Callable[[str], None]) -> Figures:
    """Start, reset and end a stack `runs` times; `say` is told what is done next. Raises what `start` does."""
    figures = Figures()
    with tempfile.TemporaryDirectory(prefix="runlab-bench-") as logs:
        for number in range(1, runs + 1):
            say(f"run {number} of {runs}")
            stack = start(Path(logs) / str(number))
            try:
                figures.ready_s.append(stack.ready_s)
                figures.start_s.append(stack.start_s)
                for service, held in stack.resident().items():
                    figures.resident.setdefault(service, []).append(held)
                figures.reset_s.append(_seconds(stack.reset))
            finally:
                stop_s = _seconds(stack.stop)
            figures.stop_s.append(stop_s)
    return figures


def tables(figures: Figures) -> Iterator[Table]:
    """Two of them: seconds, and memory by service, the largest first and all of them last."""
    data = figures.as_data()
    yield _table(
        f"{data['runs']} runs, seconds",
        {
            "start, until all are healthy": data["ready_s"],
            "start, until Prometheus has scraped all": data["start_s"],
            "data reset": data["reset_s"],
            "stop": data["stop_s"],
        },
        lambda seconds: f"{seconds:.3f}",
    )
    resident = data["resident_bytes"]
    services = sorted(figures.resident, key=lambda name: -resident[name]["median"])
    rows = {name: resident[name] for name in (*services, "all")}
    yield _table("resident memory, MiB", rows, lambda held: f"{held / MIB:.1f}")


def _table(title: str, rows: Mapping[str, Mapping[str, float]], shown: Callable[[float], str]) -> Table:
    made = Table(box=None, pad_edge=False)
    made.add_column(title, overflow="fold")
    for name in ("min", "median", "max"):
        made.add_column(name, justify="right", no_wrap=True)
    for name, summary in rows.items():
        made.add_row(name, *(shown(summary[figure]) for figure in ("min", "median", "max")))
    return made


def _seconds(work: Callable[[], None]) -> float:
    began = time.monotonic()
    work()
    return time.monotonic() - began


def _summary(values: Sequence[float], digits: int) -> dict[str, float]:
    figures = {"min": min(values), "median": statistics.median(values), "max": max(values)}
    return {name: round(value, digits or None) for name, value in figures.items()}
