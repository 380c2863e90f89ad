"""results.json, schema 1, as types: what the judge makes and every report reads. Times are RFC 3339, durations seconds.

runlab/schemas/results.json is made of them, for readers without this package. Nothing checks them at run time, so that
a report can still be made from a run that ended half-way; what such a run leaves out is filled in by `whole`.
"""

from __future__ import annotations

from typing import Literal, NotRequired, TypeAlias, cast

from typing_extensions import TypedDict  # typing's own, before Python 3.12, does not tell pydantic enough

from runlab.model import ArmName, JsonObject, Kind, PartKind, Role, Verdict

Outcome: TypeAlias = Literal["passed", "failed", "skipped", "error"]


class Run(TypedDict):
    """`executed`, `executable`, `planned` and `total` count claims: tried here, possible here, in runbooks that have a
    scenario, in all loaded runbooks.

    `lacks` counts the scenarios that could not run, or not in all of their incidents, by the capability that was
    missing. `undefined` names the claims of procedures that nobody can carry out. `complete` is false when the run was
    cut off; `exit_status` is None when it is not known.
    """

    id: str
    started: str | None
    ended: str | None
    command: str | None
    seed: str | None
    exit_status: int | None
    complete: bool
    executed: int
    executable: int | None
    planned: int
    total: int
    lacks: dict[str, int]
    undefined: list[str]
    notes: NotRequired[list[str]]


class Environment(TypedDict, total=False):
    """Where the run took place; empty when it was cut off before that was known.

    `versions` by service, `missing` by capability: why it could not be had here. `ready_s`: until all services were
    healthy, `start_s`: until Prometheus had scraped them, too. `namespaces`: whether the stack had a PID namespace.
    """

    runtime: str
    namespaces: bool
    machine: str
    versions: dict[str, str]
    time_scale: float
    capabilities: list[str]
    missing: dict[str, str]
    ready_s: float
    start_s: float


class ScenarioResult(TypedDict):
    """One arm of one scenario: one test. `floor_s` is what had to be waited for (scrapes, ranges, deadlines), `floor`
    the same by what for.

    `wall_s` is by the monotonic clock; without it the wall time follows from `started` and `ended`.
    """

    id: str
    runbook: str
    scenario: str
    arm: ArmName
    fault: str | None
    case: str | None
    outcome: Outcome
    started: str | None
    ended: str | None
    wall_s: float | None
    ttd_s: float | None
    ttr_s: float | None
    watched_s: float | None
    floor_s: float | None
    self_healed_s: float | None
    floor: dict[str, float]
    message: str


class PartResult(TypedDict):
    text: str
    kind: PartKind
    verdict: Verdict
    reason: str
    evidence: list[str]


class ByScenario(TypedDict):
    """How one claim came out in one arm."""

    scenario: str
    arm: ArmName
    fault: str | None
    case: str | None
    verdict: Verdict
    reason: str
    evidence: list[str]


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
    evidence: list[str]
    ttr_s: float | None
    watched_s: float | None


class Results(TypedDict):
    schema: Literal[1]
    run: Run
    environment: Environment
    scenarios: list[ScenarioResult]
    claims: list[ClaimResult]
    procedures: list[ProcedureResult]


def whole(results: JsonObject) -> Results:
    """`results` with everything that may be left out filled in."""
    run = results["run"]
    defaults: JsonObject = {"exit_status": None, "executable": None, "lacks": {}, "notes": []}
    return cast("Results", {**results, "run": {"complete": bool(run.get("ended")), **defaults, **run}})
