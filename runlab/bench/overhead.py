"""Where the time of a run went, from its journal alone.

The floor is what had to be waited by the runbook's own durations: an alert's `for`, or the time for which something
must stay well. What is left is the lab's own: that is the overhead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.table import Table

from runlab.model import JsonObject


@dataclass(frozen=True)
class Spent:
    """Seconds of `arms` arms of one kind of one scenario."""

    scenario: str
    arm: str
    arms: int
    wall_s: float
    floor_s: float

    @property
    def left_s(self) -> float:
        return self.wall_s - self.floor_s

    @property
    def ratio(self) -> float | None:
        """Wall over floor: 1 is no overhead; None without a floor."""
        return self.wall_s / self.floor_s if self.floor_s else None


@dataclass(frozen=True)
class Overhead:
    """By scenario and kind of arm, what is left in most seconds first. `unfinished`: arms that have no end.

    `total` is all arms together; `outside_s` what the run took beyond them, its start and its end, None for a run that
    has no end.
    """

    spent: Sequence[Spent]
    total: Spent
    outside_s: float | None
    unfinished: int

    def as_data(self) -> JsonObject:
        def row(it: Spent) -> JsonObject:
            return {
                "scenario": it.scenario,
                "arm": it.arm,
                "arms": it.arms,
                "wall_s": round(it.wall_s, 3),
                "floor_s": round(it.floor_s, 3),
                "left_s": round(it.left_s, 3),
                "ratio": it.ratio and round(it.ratio, 2),
            }

        outside_s = None if self.outside_s is None else round(self.outside_s, 3)
        return {
            "rows": [row(it) for it in self.spent],
            "total": row(self.total),
            "outside_s": outside_s,
            "unfinished": self.unfinished,
        }


def measure(events: Sequence[JsonObject]) -> Overhead:
    """What the events of a whole run say of its time."""
    running: dict[tuple[str, str], JsonObject] = {}
    ended: dict[tuple[str, str], list[JsonObject]] = {}
    unfinished = 0
    for event in events:
        key = (event["worker"], event["arm"])
        if event["kind"] == "arm-start":
            unfinished += key in running
            running[key] = event
        elif event["kind"] == "arm-end" and key in running:
            start = running.pop(key)
            ended.setdefault((start["scenario"], start["name"]), []).append(event)
    spent = [_spent(scenario, arm, ends) for (scenario, arm), ends in ended.items()]
    total = _spent("all", "", [end for ends in ended.values() for end in ends])
    took_s = _took_s(events)
    return Overhead(
        spent=sorted(spent, key=lambda it: it.left_s, reverse=True),
        total=total,
        outside_s=None if took_s is None else took_s - total.wall_s,
        unfinished=unfinished + len(running),
    )


def table(overhead: Overhead) -> Table:
    """Seconds, the costliest first, and the sum."""
    shown = Table(box=None, pad_edge=False)
    shown.add_column("scenario", overflow="fold")
    shown.add_column("arm")
    for title in ("arms", "wall s", "floor s", "left s", "wall/floor"):
        shown.add_column(title, justify="right", no_wrap=True)
    for it in overhead.spent:
        shown.add_row(*_cells(it), end_section=it is overhead.spent[-1])
    shown.add_row(*_cells(overhead.total), style="bold")
    if overhead.outside_s is not None:
        shown.add_row("start and end of the run", "", "", f"{overhead.outside_s:.1f}")
    return shown


def _cells(it: Spent) -> list[str]:
    ratio = "–" if it.ratio is None else f"{it.ratio:.2f}"
    return [it.scenario, it.arm, str(it.arms), f"{it.wall_s:.1f}", f"{it.floor_s:.1f}", f"{it.left_s:.1f}", ratio]


def _spent(scenario: str, arm: str, ends: Sequence[JsonObject]) -> Spent:
    wall_s, floor_s = (sum(end[name] for end in ends) for name in ("wall_s", "floor_s"))
    return Spent(scenario, arm, len(ends), wall_s, floor_s)


def _took_s(events: Sequence[JsonObject]) -> float | None:
    """From the first start of a worker to the last end; None when a worker has not ended."""
    starts = [event["t"] for event in events if event["kind"] == "run-start"]
    ends = [event["t"] for event in events if event["kind"] == "run-end"]
    return max(ends) - min(starts) if starts and len(starts) == len(ends) else None
