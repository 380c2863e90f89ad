"""results.json, schema 1, as types: what the judge makes and every report reads. Times are RFC 3339, durations seconds.

The types describe; nothing checks them at run time, so that a report can still be made from a run that ended half-way.
What such a run or an older judge leaves out is filled in by `whole`.
"""

from __future__ import annotations

from typing import NotRequired, TypedDict, cast

from runlab.model import ArmName, Json, JsonObject, Kind, PartKind, Role, Verdict


class Run(TypedDict):
    """`executed`, `executable` and `total` count claims: tried here, possible here, in all loaded runbooks.

    `lacks` counts the scenarios that could not run, by the capability that was missing. `complete` is false when the
    run was cut off; `exit_status` is None when it is not known.
    """

    id: str
    started: str | None
    ended: str | None
    command: str | None
    seed: Json
    exit_status: int | None
    complete: bool
    executed: int
    executable: int | None
    total: int
    lacks: dict[str, int]
    notes: list[str]


class ScenarioResult(TypedDict):
    """One arm of one scenario: one test. `floor_s` is what had to be waited for (scrapes, ranges, deadlines).

    `wall_s` is by the monotonic clock; without it the wall time follows from `started` and `ended`.
    """

    id: str
    runbook: str
    scenario: NotRequired[str]
    arm: ArmName
    fault: str | None
    case: str | None
    outcome: str
    started: str | None
    ended: str | None
    wall_s: NotRequired[float | None]
    ttd_s: float | None
    ttr_s: float | None
    watched_s: float | None
    floor_s: float | None
    self_healed_s: float | None
    message: NotRequired[str | None]


class PartResult(TypedDict):
    text: str
    kind: PartKind
    verdict: Verdict
    reason: str
    evidence: list[str]


class ByScenario(TypedDict):
    """How one claim came out in one arm; `evidence` where the judge gives it."""

    scenario: str | None
    arm: ArmName | None
    fault: NotRequired[str | None]
    case: str | None
    verdict: Verdict
    reason: str
    evidence: NotRequired[list[str]]


class ClaimResult(TypedDict):
    """One sentence and its verdict; `evidence` names journal lines as "worker:seq"."""

    id: str
    runbook: str
    kind: Kind
    role: Role | None
    label: str
    text: str
    under: list[str]
    file: str
    line: int
    verdict: Verdict
    reason: str
    evidence: list[str]
    parts: list[PartResult]
    by_scenario: list[ByScenario]


class ProcedureResult(TypedDict):
    runbook: str
    label: str
    scenario: str
    fault: str | None
    case: str | None
    verdict: Verdict
    reason: str
    ttr_s: float | None
    watched_s: float | None
    steps: NotRequired[list[Json]]


class Results(TypedDict):
    schema: int
    run: Run
    environment: dict[str, Json]
    scenarios: list[ScenarioResult]
    claims: list[ClaimResult]
    procedures: list[ProcedureResult]


def whole(results: JsonObject) -> Results:
    """`results` with everything that may be left out filled in."""
    run = results["run"]
    defaults: JsonObject = {"exit_status": None, "executable": None, "lacks": {}, "notes": []}
    return cast("Results", {**results, "run": {"complete": bool(run.get("ended")), **defaults, **run}})
