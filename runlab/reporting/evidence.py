"""Journal events as people read them: a head line, named values, an output that is cut when it is long."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from runlab import journal
from runlab.model import JsonObject
from runlab.reporting import digest

HOPS: Final = ("scraped", "pending", "firing", "delivered", "resolved")
PER_EVENT, PER_CLAIM, PER_PAGE = 4_000, 16, 2_000_000
"""Characters of output that one event may show, events that one claim may show, characters that all may show."""


@dataclass(frozen=True)
class View:
    """One event. `at` is seconds since its arm began; `cut` says what was left out, "" when nothing was."""

    ref: str
    kind: str
    at: str
    arm: str
    head: str
    values: tuple[tuple[str, str], ...] = ()
    output: str = ""
    cut: str = ""


@dataclass(frozen=True)
class Chain:
    """One alert in one arm, hop by hop: (name, seconds since the fault, share of the way to the last hop in %)."""

    alert: str
    arm: str
    hops: tuple[tuple[str, float, float], ...]


@dataclass
class Group:
    """What one claim shows of one arm ("" for what happened between arms)."""

    arm: str
    chains: list[Chain] = field(default_factory=list)
    views: list[View] = field(default_factory=list)


@dataclass
class Evidence:
    """The journal, by evidence and by arm; remembers how much output the page has shown so far."""

    events: Sequence[JsonObject]
    _by_ref: dict[str, JsonObject] = field(init=False)
    _began: dict[str, float] = field(init=False)
    _shown: int = 0

    def __post_init__(self) -> None:
        self._by_ref = {journal.evidence(event): event for event in self.events}
        self._began = {}
        for event in self.events:
            if event["kind"] in ("run-start", "arm-start"):
                self._began[event["arm"] or ""] = event["t"]

    def of(self, refs: Iterable[str]) -> tuple[list[Group], int]:
        """What `refs` name, arm by arm, with the whole way of each alert among it; and how many events are left out."""
        known = [self._by_ref[ref] for ref in dict.fromkeys(refs) if ref in self._by_ref]
        alerts = dict.fromkeys((event["arm"], _alert(event)) for event in known if _alert(event))
        rest = [event for event in known if event["kind"] != "hop"]
        groups: dict[str, Group] = {}
        for arm, alert in alerts:
            if chain := self.chain(arm, alert):
                groups.setdefault(chain.arm, Group(chain.arm)).chains.append(chain)
        for event in rest[:PER_CLAIM]:
            view = self.view(event)
            groups.setdefault(view.arm, Group(view.arm)).views.append(view)
        return list(groups.values()), max(0, len(rest) - PER_CLAIM)

    def view(self, event: JsonObject) -> View:
        head, values, output = _told(event)
        shown, cut = self._bounded(digest.plain(output))
        arm = event["arm"] or ""
        return View(
            ref=journal.evidence(event),
            kind=event["kind"],
            at=f"{event['t'] - self._began.get(arm, event['t']):.2f} s",
            arm=digest.one_line(arm),
            head=digest.one_line(head, 600),
            values=tuple((name, digest.one_line(value, 600)) for name, value in values if value),
            output=shown,
            cut=cut,
        )

    def chain(self, arm: str | None, alert: str) -> Chain | None:
        """The first pass of `alert` through its hops in `arm`, counted from the fault or else the arm's start."""
        start = self._began.get(arm or "")
        at: dict[str, float] = {}
        for event in self.events:
            if event["arm"] == arm and event["kind"] == "inject":
                start = event["t"]
            if event["arm"] == arm and event["kind"] == "hop" and event["alert"] == alert:
                at.setdefault(event["hop"], event["t"])
        if not at or start is None:
            return None
        spent: dict[str, float] = {}
        for hop in reversed([hop for hop in HOPS if hop in at]):
            # a hop is journalled when it is noticed, at times after its follower: it happened no later than that
            spent[hop] = min([at[hop] - start, *spent.values()])
        spent = dict(reversed(spent.items()))
        last = max(*spent.values(), 0.001)
        return Chain(
            alert, digest.one_line(arm or ""), tuple((hop, s, max(0.0, 100 * s / last)) for hop, s in spent.items())
        )

    def _bounded(self, output: str) -> tuple[str, str]:
        limit = min(PER_EVENT, max(0, PER_PAGE - self._shown))
        if len(output) <= limit:
            self._shown += len(output)
            return output, ""
        self._shown += limit
        left = len(output) - limit
        kept = f"{output[: limit * 3 // 4]}\n[…]\n{output[len(output) - limit // 4 :]}" if limit else ""
        return kept, f"{left:,} of {len(output):,} characters are left out here; the journal has the whole output"


def _alert(event: JsonObject) -> str:
    if event["kind"] == "hop":
        return str(event["alert"])
    return str(event["name"]) if event["kind"] == "signal" and event["signal_kind"] == "alert" else ""


Told = tuple[str, Sequence[tuple[str, str]], str]
"""Head line, named values, output."""


def _told(event: JsonObject) -> Told:
    tell = _TELLERS.get(event["kind"], _as_it_stands)
    try:
        return tell(event)
    except KeyError:  # an event of another edition of the journal is shown as it stands
        return _as_it_stands(event)


def _as_it_stands(event: JsonObject) -> Told:
    values = {name: value for name, value in event.items() if name not in journal.COMMON}
    simple = [(name, _short(value)) for name, value in values.items()]
    return event["kind"], simple, ""


def _command(event: JsonObject) -> Told:
    who = f"{event['account']} on {event['host']}" + (f", role {event['role']}" if event["role"] else "")
    ended = "killed at its time limit" if event["status"] is None else f"exit status {event['status']}"
    ended = f"refused: {event['refused']}" if event["refused"] else f"{ended} after {event['seconds']:.2f} s"
    values = [("as printed", event["printed"] or "no command is printed; tool: ours"), ("by", who), ("ended", ended)]
    output = event["stdout"] + (f"\n[stderr]\n{event['stderr']}" if event["stderr"] else "")
    return f"$ {shlex.join(event['argv'])}", values, output.strip("\n")


def _witness(event: JsonObject) -> Told:
    head = f"{'the fault is in effect' if event['holds'] else 'the fault is NOT in effect'} ({event['moment']})"
    facts = [(name, _short(event[name])) for name in ("truth", "innocents") if event[name]]
    return head, [("by", event["by"]), ("detail", event["detail"]), *facts], ""


def _signal(event: JsonObject) -> Told:
    return f"{event['signal_kind']} seen: {event['name']}", [("by", event["by"]), ("detail", event["detail"])], ""


def _source(event: JsonObject) -> Told:
    lacks = [name for name in ("answers", "exists", "fresh") if not event[name]]
    head = f"not seen, and its silence does not count: {', '.join(lacks)} not" if lacks else "its silence counts"
    return f"{event['name']}: {head}", [("detail", event["detail"])], ""


def _measure(event: JsonObject) -> Told:
    return f"measure {event['setting']}: {event['value']} {event['unit']}", [("by", event["by"])], ""


def _state(event: JsonObject) -> Told:
    names = {"goal reached": "goal", "settled": "settled", "fault in effect": "fault", "further": "more"}
    return f"state after {event['after']}", [(name, _short(event[key])) for name, key in names.items()], ""


def _recovered(event: JsonObject) -> Told:
    head = f"recovered in {event['ttr_s']:.1f} s, and stayed so for {event['stayed_s']:.1f} s"
    return head, [("settled", _short(event["settled"]))], ""


def _not_recovered(event: JsonObject) -> Told:
    values = [
        ("goal reached", _short(event["goal"])),
        ("settled", _short(event["settled"])),
        ("detail", event["detail"]),
    ]
    return f"not recovered within {event['waited_s']:.1f} s", values, ""


def _withheld(event: JsonObject) -> Told:
    healed = event["self_healed_s"]
    if event["recovered"]:
        return f"healed itself without the steps, after {healed or 0.0:.1f} s", (), ""
    return f"without the steps it stayed broken for {event['watched_s']:.1f} s", (), ""


def _inject(event: JsonObject) -> Told:
    return f"injected {_short(event['fault'])}", (), ""


def _step_end(event: JsonObject) -> Told:
    facts = {name: [fact["value"] for fact in found] for name, found in event["facts"].items()}
    values = [("facts", _short(facts)), ("used", _short(event["used"])), ("error", event["error"] or "")]
    return f"step {'taken' if event['ran'] else 'not taken'}: {event['claim']}", values, ""


_TELLERS: Final[Mapping[str, Callable[[JsonObject], Told]]] = {
    "command": _command,
    "inject": _inject,
    "measure": _measure,
    "not-recovered": _not_recovered,
    "recovered": _recovered,
    "signal": _signal,
    "source": _source,
    "state": _state,
    "step-end": _step_end,
    "withheld": _withheld,
    "witness": _witness,
}


def _short(value: object) -> str:
    """A JSON value in words: `users: yes (no failure); alerts: no (X fires)`."""
    match value:
        case None:
            return "unknown"
        case bool():
            return "yes" if value else "no"
        case {"holds": holds, **more}:
            detail = more.get("detail") or more.get("by")
            return _short(holds) + (f" ({detail})" if detail else "")
        case {"class": name, "fields": {**parameters}}:
            return f"{name} ({_short(parameters)})"
        case dict():
            return "; ".join(f"{name}: {_short(part)}" for name, part in value.items())
        case list():
            return ", ".join(_short(part) for part in value)
    return str(value)
