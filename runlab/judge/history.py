"""The journal's lines, put in order: what was claimed, what was planned, and what happened in each arm."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from runlab.journal import evidence
from runlab.model import Claim, JsonObject, Part, Runbook


@dataclass(frozen=True)
class ArmHistory:
    """All events of one arm, in order; the first is its start."""

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
        return [
            event
            for event in self.events
            if event["kind"] == kind and all(event.get(name) == value for name, value in fields.items())
        ]

    def last_before(self, moment: JsonObject, kind: str) -> JsonObject | None:
        return next((e for e in reversed(self.events[: self.events.index(moment)]) if e["kind"] == kind), None)

    @cached_property
    def seen(self) -> Mapping[tuple[str, str], JsonObject]:
        """The first event of each signal that was seen, by claim and name."""
        return {(e["claim"], e["name"]): e for e in reversed(self.of_kind("signal"))}

    @cached_property
    def sources(self) -> Mapping[tuple[str, str], JsonObject]:
        """Whether silence would have counted, by claim and name."""
        return {(e["claim"], e["name"]): e for e in self.of_kind("source")}

    @property
    def bitten(self) -> bool:
        """A witness saw the fault, and no witness ever found it gone before the steps began."""
        seen = [e for e in self.of_kind("witness") if not e["moment"].startswith("before ")]
        return bool(seen) and all(event["holds"] for event in seen)

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
        return tuple(evidence(event) for event in self.of_kind("witness"))


@dataclass(frozen=True)
class History:
    """A whole run."""

    runbooks: tuple[Runbook, ...]
    arms: tuple[ArmHistory, ...]
    scenarios: tuple[JsonObject, ...]
    """What was planned: every experiment with all its incidents, also those that were not selected."""
    bindings: Mapping[str, JsonObject]
    not_signals: Mapping[str, Mapping[str, str]]
    first: Mapping[str, JsonObject]
    """The first event of each kind that happens once a run."""

    def arms_of(self, scenario: str, *names: str) -> list[ArmHistory]:
        return [arm for arm in self.arms if arm.start["scenario"] == scenario and arm.name in names]

    def planned(self, runbook: str) -> list[JsonObject]:
        return [scenario for scenario in self.scenarios if scenario["runbook"] == runbook]


def from_events(events: Sequence[JsonObject]) -> History:
    """Put the events of a run in order. A journal without a plan gives a history without scenarios."""
    first: dict[str, JsonObject] = {}
    arms: dict[str, list[JsonObject]] = {}
    for event in events:
        first.setdefault(event["kind"], event)
        if event["arm"] is None:
            continue
        if event["kind"] == "arm-start":
            arms[event["arm"]] = [event]
        elif event["arm"] in arms:
            arms[event["arm"]].append(event)
    claims, plan = first.get("claims", {}), first.get("plan", {})
    return History(
        runbooks=tuple(_runbook(data) for data in claims.get("runbooks", ())),
        arms=tuple(ArmHistory(of_arm) for of_arm in arms.values()),
        scenarios=tuple(plan.get("scenarios", ())),
        bindings=plan.get("bindings", {}),
        not_signals=claims.get("not_signals", {}),
        first=first,
    )


def _runbook(data: JsonObject) -> Runbook:
    return Runbook(**{**data, "claims": tuple(claim_from(claim) for claim in data["claims"])})


def claim_from(data: JsonObject) -> Claim:
    """A claim as it was before it went to the journal."""
    parts = tuple(Part(**part) for part in data["parts"])
    return Claim(**{**data, "under": tuple(data["under"]), "parts": parts})


def signal_names(claim: Claim, bindings: Mapping[str, JsonObject], not_signals: Iterable[str]) -> list[str]:
    """What the journal calls the signals of a detect claim: its alerts and signatures, or its whole wording."""
    leave_out = set(not_signals)
    names = [p.text for p in claim.parts if p.kind in ("alert", "signature") and p.text not in leave_out]
    if bindings.get(claim.id, {}).get("symptom"):
        names.append(claim.text)
    return names
