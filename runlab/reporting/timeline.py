"""What happened in one arm, drawn to scale: lanes of bars and marks, in percent of the arm's time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from runlab.model import JsonObject
from runlab.reporting import digest

TICKS: Final = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600)


@dataclass(frozen=True)
class Span:
    """From `left` on, `width` wide (0: a mark), both in percent; `text` says what and when."""

    style: str
    left: float
    width: float
    text: str


@dataclass
class Lane:
    label: str
    spans: list[Span] = field(default_factory=list)


@dataclass(frozen=True)
class Timeline:
    seconds: float
    ticks: tuple[tuple[str, float], ...]
    lanes: tuple[Lane, ...]


class _Drawing:
    """Collects lanes between two moments of the monotonic clock."""

    def __init__(self, start: float, end: float) -> None:
        self.start, self.end = start, end
        self.whole = max(end - start, 0.001)
        self.lanes: dict[str, Lane] = {}

    def add(self, lane: str, style: str, text: str, t: float, until: float | None = None) -> None:
        left = self._percent(t)
        when = f"{t - self.start:.2f} s" + ("" if until is None else f" to {until - self.start:.2f} s")
        width = 0.0 if until is None else max(self._percent(until) - left, 0.4)
        place = self.lanes.setdefault(lane, Lane(digest.one_line(lane, 60)))
        place.spans.append(Span(style, round(left, 2), round(width, 2), digest.one_line(f"{text}: {when}", 200)))

    def _percent(self, t: float) -> float:
        return min(100.0, max(0.0, 100 * (t - self.start) / self.whole))


def timeline(events: Sequence[JsonObject], arm: str) -> Timeline | None:
    """The arm's timeline from the journal's events, or None when the journal has no such arm."""
    own = [event for event in events if event["arm"] == arm]
    start = next((event["t"] for event in own if event["kind"] == "arm-start"), None)
    if start is None:
        return None
    end = next((event["t"] for event in own if event["kind"] == "arm-end"), own[-1]["t"])
    inside = [event for event in own if start <= event["t"] <= end]
    drawing = _Drawing(start, end)
    _fault(drawing, inside)
    _alerts(drawing, inside)
    _signals(drawing, inside)
    _steps(drawing, inside)
    _outcome(drawing, inside)
    return Timeline(drawing.whole, _ticks(drawing.whole), tuple(drawing.lanes.values()))


def _fault(drawing: _Drawing, events: Sequence[JsonObject]) -> None:
    """In effect from its injection until a state or a witness says that it is gone."""
    for event in events:
        if event["kind"] == "inject":
            gone = (e["t"] for e in events if e["t"] > event["t"] and _says_gone(e))
            drawing.add("fault", "fault", "in effect", event["t"], next(gone, drawing.end))
    for event in events:
        if event["kind"] == "witness":
            drawing.add("fault", "mark", f"witness {'sees it' if event['holds'] else 'does not see it'}", event["t"])
        if event["kind"] == "trigger":
            drawing.add("trigger", "mark", str(event["what"]), event["t"])


def _says_gone(event: JsonObject) -> bool:
    if event["kind"] == "witness":
        return not event["holds"]
    return event["kind"] == "state" and event["fault"] is False


def _alerts(drawing: _Drawing, events: Sequence[JsonObject]) -> None:
    hops = [event for event in events if event["kind"] == "hop"]
    for alert in dict.fromkeys(hop["alert"] for hop in hops):
        own = [hop for hop in hops if hop["alert"] == alert]
        for state, next_states in (("pending", ("firing", "resolved")), ("firing", ("resolved", "pending"))):
            for hop in own:
                if hop["hop"] == state:
                    over = (h["t"] for h in own if h["t"] > hop["t"] and h["hop"] in next_states)
                    drawing.add(alert, state, state, hop["t"], next(over, drawing.end))
        for hop in (hop for hop in own if hop["hop"] not in ("pending", "firing")):
            drawing.add(alert, "mark", hop["hop"], hop["t"])


def _signals(drawing: _Drawing, events: Sequence[JsonObject]) -> None:
    for event in events:
        if event["kind"] == "signal" and event["signal_kind"] != "alert":
            drawing.add("other signals", "mark", f"{event['name']} ({event['by']})", event["t"])


def _steps(drawing: _Drawing, events: Sequence[JsonObject]) -> None:
    for event in events:
        if event["kind"] == "step-start":
            ended = (e["t"] for e in events if e["kind"] == "step-end" and e["claim"] == event["claim"])
            until = next((t for t in ended if t >= event["t"]), drawing.end)
            drawing.add("steps", "step", f"{event['role']} {event['claim']}", event["t"], until)


def _outcome(drawing: _Drawing, events: Sequence[JsonObject]) -> None:
    for event in events:
        if event["kind"] == "recovered":
            drawing.add("recovered", "well", "goal, users and alerts back", event["t"] - event["stayed_s"], event["t"])
        elif event["kind"] == "not-recovered":
            drawing.add("recovered", "firing", "not recovered", event["t"] - event["waited_s"], event["t"])
        elif event["kind"] == "withheld":
            text = "recovered by itself" if event["recovered"] else "stayed broken without the steps"
            drawing.add("withheld", "pending", text, event["t"] - event["watched_s"], event["t"])


def _ticks(whole: float) -> tuple[tuple[str, float], ...]:
    """At most seven round moments, none so near the end that its label would leave the page."""
    step = next((tick for tick in TICKS if whole / tick <= 6), TICKS[-1])
    return tuple((f"{i * step:g} s", round(100 * i * step / whole, 2)) for i in range(int(0.95 * whole / step) + 1))
