"""The journal's lines, put in order: what was claimed, what was planned, and what happened in each arm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from runlab.journal import evidence
from runlab.model import Claim, JsonObject, Part, Runbook

SignalKey = tuple[str, str]
"""A claim's id and what the journal calls the signal."""


def of_kind(events: Sequence[JsonObject], kind: str, **fields: object) -> list[JsonObject]:
    """Those events that are of this kind and have these values, in order."""
    return [e for e in events if e["kind"] == kind and all(e.get(name) == value for name, value in fields.items())]


@dataclass(frozen=True, eq=False)
class Step:
    """One sentence being carried out: the arm's events from its start up to the next step's."""

    events: Sequence[JsonObject]

    @property
    def start(self) -> JsonObject:
        return self.events[0]

    @property
    def claim(self) -> str:
        return str(self.start["claim"])

    @property
    def role(self) -> str:
        return str(self.start["role"])

    @cached_property
    def end(self) -> JsonObject | None:
        """None where the arm was cut off in the middle of it."""
        return next(iter(of_kind(self.events, "step-end", claim=self.claim)), None)

    @cached_property
    def witness(self) -> JsonObject | None:
        """What the fault's witness knew when it began."""
        return next(iter(of_kind(self.events, "witness", moment=f"before {self.claim}")), None)

    @cached_property
    def before(self) -> JsonObject | None:
        return next(iter(of_kind(self.events, "state", after=f"before {self.claim}")), None)

    @cached_property
    def after(self) -> JsonObject | None:
        return next(iter(of_kind(self.events, "state", after=self.claim)), None)

    @cached_property
    def commands(self) -> Sequence[JsonObject]:
        return [e for e in of_kind(self.events, "command", claim=self.claim) if not e.get("refused")]

    @cached_property
    def refused(self) -> str:
        """Why the operator may not run a command of this step; "" when it may."""
        return next((e["refused"] for e in of_kind(self.events, "command", claim=self.claim) if e.get("refused")), "")


@dataclass(frozen=True, eq=False)
class ArmHistory:
    """All events of one arm, in order; the first is its start. An arm that was run twice has two histories."""

    events: Sequence[JsonObject]

    @property
    def start(self) -> JsonObject:
        return self.events[0]

    @property
    def id(self) -> str:
        return str(self.start["arm"])

    @property
    def name(self) -> str:
        return str(self.start["name"])

    @property
    def incident(self) -> str:
        """Scenario, fault and case: what the fault and the withheld arm of one incident share."""
        return "/".join((self.start["scenario"], self.start["fault_name"] or "", self.start["case"]))

    @cached_property
    def end(self) -> JsonObject:
        """The arm's end, or {} where the run was cut off."""
        return next(iter(self.of_kind("arm-end")), {})

    def of_kind(self, kind: str, **fields: object) -> list[JsonObject]:
        return of_kind(self.events, kind, **fields)

    @cached_property
    def finished(self) -> bool:
        """Whether it was watched for as long as it should have been; an arm that broke off before has seen too little.

        An arm's last look is its recovery, or that there was none, or the state at its end.
        """
        return bool(self.of_kind("recovered") or self.of_kind("not-recovered") or self.of_kind("state", after="end"))

    # ------------------------------------------------------------------------------------------------ signals

    @cached_property
    def early(self) -> Mapping[SignalKey, JsonObject]:
        """The signals that were seen while nothing was wrong: in a quiet arm all, else those before the fault's undo.

        Where the event itself does harm and there is no fault, those before the event.
        """
        harmful = self.name != "quiet" and self.start["fault"] is None
        wrong = self.of_kind("trigger" if harmful else "undo")
        before = self.events[: self.events.index(wrong[0])] if wrong else self.events
        return _first(of_kind(before, "signal"))

    @cached_property
    def seen(self) -> Mapping[SignalKey, JsonObject]:
        """The first event of each signal that was seen once a fault was being injected, by a component with a name."""
        return {k: e for k, e in _first(self.of_kind("signal")).items() if k not in self.early and e["by"]}

    @cached_property
    def sources(self) -> Mapping[SignalKey, JsonObject]:
        """Whether silence would have counted."""
        return {(e["claim"], e["name"]): e for e in self.of_kind("source")}

    # --------------------------------------------------------------------------------------- the fault's witness

    @cached_property
    def bite(self) -> Sequence[JsonObject]:
        """What the witness said of the arm as a whole; what it knew before single steps is theirs."""
        return [e for e in self.of_kind("witness") if not e["moment"].startswith("before ")]

    @property
    def bitten(self) -> bool:
        """A witness saw the fault, and whenever it was asked again."""
        return bool(self.bite) and all(event["holds"] for event in self.bite)

    @property
    def unsteady(self) -> str:
        """Why this arm never began; "" when it did."""
        unsteady = self.of_kind("state", after="not steady")
        settled = unsteady[0]["settled"].items() if unsteady else ()
        why = "; ".join(f"{name}: {o['detail']}" for name, o in settled if not o["holds"])
        return f"no steady state: {why}" if unsteady else ""

    @property
    def unwitnessed(self) -> str:
        """Why nothing follows from an arm that was not `bitten`."""
        return self.unsteady or "the fault was not witnessed"

    @property
    def witnesses(self) -> tuple[str, ...]:
        return tuple(evidence(event) for event in self.bite)

    # -------------------------------------------------------------------------------------------------- steps

    @cached_property
    def steps(self) -> Sequence[Step]:
        """The sentences that were carried out, in order."""
        starts = [i for i, event in enumerate(self.events) if event["kind"] == "step-start"]
        return [Step(self.events[i:j]) for i, j in pairwise([*starts, len(self.events)])]


@dataclass(frozen=True, eq=False)
class History:
    """A whole run, of one or several workers."""

    runbooks: tuple[Runbook, ...]
    arms: tuple[ArmHistory, ...]
    scenarios: tuple[JsonObject, ...]
    """What was planned: every experiment with all its incidents, also those that were not selected."""
    bindings: Mapping[str, JsonObject]
    not_signals: Mapping[str, Mapping[str, str]]
    first: Mapping[str, JsonObject]
    """The first event of each kind that happens once a run."""
    complete: bool
    """Every worker wrote its run's end. What a run that was cut off would still have shown is unknown."""

    def arms_of(self, scenario: JsonObject, *names: str) -> list[ArmHistory]:
        """The arms of that scenario, or of the one of which another arm's start is given."""
        return [
            arm
            for arm in self.arms
            if arm.name in names and all(arm.start[key] == scenario[key] for key in ("runbook", "scenario"))
        ]

    def planned(self, runbook: str) -> list[JsonObject]:
        return [scenario for scenario in self.scenarios if scenario["runbook"] == runbook]

    def following(self, claim: str) -> list[JsonObject]:
        """The scenarios that follow a procedure which holds this sentence."""
        return [scenario for scenario in self.scenarios if claim in scenario.get("steps", ())]

    def binding(self, claim: str) -> JsonObject:
        """Who carries the claim out, or why nobody does; {} where nobody has to."""
        return self.bindings.get(claim, {})

    def signals(self, claim: Claim) -> list[str]:
        """What the journal calls the signals of a detect claim."""
        return signal_names(claim, self.bindings, self.not_signals.get(claim.runbook, {}))


def why_not_run(scenarios: Sequence[JsonObject]) -> str:
    """Why no arm of these scenarios ran."""
    if not scenarios:
        return "no scenario yet"
    needs = sorted({need for scenario in scenarios for need in lacks(scenario)})
    return f"needs {', '.join(needs)}" if all(is_impossible(scenario) for scenario in scenarios) else "not run"


def lacks(scenario: JsonObject) -> list[str]:
    """The capabilities that a planned scenario needs in vain, for all of its incidents or for some."""
    return sorted({need for needs in scenario["lacking"].values() for need in needs})


def is_impossible(scenario: JsonObject) -> bool:
    """Whether none of a planned scenario's incidents can be had here."""
    return set(scenario["incidents"]) <= set(scenario["lacking"])


def from_events(events: Sequence[JsonObject]) -> History:
    """Put the events of a run in order. A journal without a plan gives a history without scenarios."""
    events = sorted(events, key=lambda event: (event["t"], event["worker"], event["seq"]))
    first: dict[str, JsonObject] = {}
    arms: list[list[JsonObject]] = []
    running: dict[tuple[str, str], list[JsonObject]] = {}
    for event in events:
        first.setdefault(event["kind"], event)
        place = (event["worker"], event["arm"])
        if event["kind"] == "arm-start":
            running[place] = [event]
            arms.append(running[place])
        elif place in running:
            running[place].append(event)
    plans, claims = of_kind(events, "plan"), first.get("claims", {})
    begun, ended = ({e["worker"] for e in of_kind(events, kind)} for kind in ("run-start", "run-end"))
    return History(
        runbooks=tuple(_runbook(data) for data in claims.get("runbooks", ())),
        arms=tuple(ArmHistory(of_arm) for of_arm in arms),
        scenarios=tuple({(s["runbook"], s["scenario"]): s for plan in plans for s in plan["scenarios"]}.values()),
        bindings={claim: binding for plan in plans for claim, binding in plan["bindings"].items()},
        not_signals=claims.get("not_signals", {}),
        first=first,
        complete=bool(begun) and begun <= ended,
    )


def signal_names(claim: Claim, bindings: Mapping[str, JsonObject], not_signals: Mapping[str, str]) -> list[str]:
    """What the journal calls the signals of a detect claim: its alerts and signatures, or its whole wording."""
    names = [p.text for p in claim.parts if p.kind in ("alert", "signature") and p.text not in not_signals]
    return [*names, claim.text] if bindings.get(claim.id, {}).get("symptom") else names


def _first(signals: Sequence[JsonObject]) -> dict[SignalKey, JsonObject]:
    first: dict[SignalKey, JsonObject] = {}
    for event in signals:
        first.setdefault((event["claim"], event["name"]), event)
    return first


def _runbook(data: JsonObject) -> Runbook:
    return Runbook(**{**data, "claims": tuple(_claim(claim) for claim in data["claims"])})


def _claim(data: JsonObject) -> Claim:
    parts = tuple(Part(**part) for part in data["parts"])
    return Claim(**{**data, "under": tuple(data["under"]), "parts": parts})
