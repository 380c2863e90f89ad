"""The lines of the journal as types, one a kind; what each is for stands in runlab/journal.py.

runlab/schemas/journal.json is made of them. Nothing checks them while a run writes: tests do.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal, NotRequired, TypeAlias

from pydantic import Field, JsonValue
from typing_extensions import TypedDict

from runlab.model import ArmName, Kind, PartKind, Role
from runlab.reporting.schema import Environment, Outcome

Values: TypeAlias = dict[str, JsonValue]
Facts: TypeAlias = dict[str, list[JsonValue]]
"""As in runlab.model: named values of the real system."""
RFC_3339: Final = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$"
Seconds: TypeAlias = Annotated[float, Field(ge=0)]
Hop: TypeAlias = Literal["scraped", "pending", "firing", "delivered", "resolved"]
SignalKind: TypeAlias = Literal["alert", "signature", "symptom"]

FaultData = TypedDict("FaultData", {"class": str, "fields": Values})
"""A fault as `runlab.journal.load_fault` builds it again."""


class Event(TypedDict):
    run: str
    worker: str
    seq: Annotated[int, Field(ge=1)]
    t: float
    time: Annotated[str, Field(pattern=RFC_3339, json_schema_extra={"format": "date-time"})]
    arm: str | None


# -------------------------------------------------------------------------------------------------- before any arm


class RunStart(Event):
    kind: Literal["run-start"]
    schema: Literal[1]
    command: str
    seed: str


class PartData(TypedDict):
    text: str
    kind: PartKind


class ClaimData(TypedDict):
    id: str
    runbook: str
    kind: Kind
    label: str
    text: str
    file: str
    line: int
    under: list[str]
    parts: list[PartData]


class RunbookData(TypedDict):
    id: str
    title: str
    file: str
    line: int
    sha256: str
    claims: list[ClaimData]


class Claims(Event):
    kind: Literal["claims"]
    runbooks: list[RunbookData]
    not_signals: dict[str, dict[str, str]]


class ServiceData(TypedDict):
    host: str
    version: str


class StackLine(Event):
    kind: Literal["stack"]
    control: str
    services: dict[str, ServiceData]


class EnvironmentLine(Event):
    kind: Literal["environment"]
    environment: Environment


class Margin(TypedDict):
    by: float
    unit: str


class PlannedScenario(TypedDict):
    """`lacking`: by the incidents that cannot be had here, the capabilities that they need in vain."""

    scenario: str
    runbook: str
    cause: str
    cause_claim: str | None
    measure: str
    measure_claim: str | None
    margin: Margin | None
    procedures: list[str]
    steps: list[str]
    incidents: list[str]
    lacking: dict[str, list[str]]


class Bound(TypedDict):
    """Who carries a claim out; `role` is None for a symptom, which is watched and not carried out."""

    role: Role | None
    symptom: bool
    place: str
    pattern: str
    promises: Values
    lists: bool
    who: str
    why: str


class Unbound(TypedDict):
    """Why nobody carries a claim out."""

    role: None
    error: str


class Plan(Event):
    kind: Literal["plan"]
    arms: list[str]
    scenarios: list[PlannedScenario]
    bindings: dict[str, Bound | Unbound]


# ----------------------------------------------------------------------------------------------------- in an arm


class ArmStart(Event):
    kind: Literal["arm-start"]
    scenario: str
    runbook: str
    name: ArmName
    fault: FaultData | None
    fault_name: str | None
    case: str
    settings: Values
    cause: str
    measure: str
    procedures: list[str]


class UndoLine(Event):
    kind: Literal["undo"]
    fault: FaultData
    undo: Values


class Inject(Event):
    kind: Literal["inject"]
    fault: FaultData


class Witness(Event):
    kind: Literal["witness"]
    moment: str
    holds: bool
    by: str
    detail: str
    truth: Facts
    innocents: Facts


class Trigger(Event):
    kind: Literal["trigger"]
    what: str


class Premise(Event):
    kind: Literal["premise"]
    facts: dict[str, bool]


class HopLine(Event):
    kind: Literal["hop"]
    alert: str
    hop: Hop
    detail: str


class SignalLine(Event):
    """`labels` are those of a delivered alert."""

    kind: Literal["signal"]
    claim: str
    name: str
    signal_kind: SignalKind
    by: str
    detail: str
    labels: NotRequired[dict[str, str]]


class SourceLine(Event):
    kind: Literal["source"]
    claim: str
    name: str
    answers: bool
    exists: bool
    fresh: bool
    detail: str


class StepStart(Event):
    kind: Literal["step-start"]
    claim: str
    role: Role
    place: str


class Command(Event):
    kind: Literal["command"]
    claim: str
    printed: str | None
    argv: list[str]
    account: str | None
    host: str
    role: str
    status: int | None
    stdout: str
    stderr: str
    seconds: Seconds
    refused: str | None


class FoundValue(TypedDict):
    """`evidence` is the command's line, `column` how the value was read from its output."""

    value: str
    evidence: str
    column: str


class StepEnd(Event):
    kind: Literal["step-end"]
    claim: str
    ran: bool
    facts: dict[str, list[FoundValue]]
    used: dict[str, str]
    error: str | None


class Settled(TypedDict):
    holds: bool
    detail: str


class Seen(Event):
    """A look at the system; `goal` and `fault` are None where nobody could tell."""

    goal: bool | None
    settled: dict[str, Settled]
    fault: bool | None
    more: Values


class StateLine(Seen):
    kind: Literal["state"]
    after: str


class Recovered(Seen):
    kind: Literal["recovered"]
    ttr_s: Seconds
    stayed_s: Seconds


class NotRecovered(Seen):
    kind: Literal["not-recovered"]
    waited_s: Seconds
    detail: str


class Withheld(Event):
    kind: Literal["withheld"]
    watched_s: Seconds
    needed_s: Seconds
    recovered: bool
    self_healed_s: Seconds | None


class Measure(Event):
    kind: Literal["measure"]
    measure: str
    setting: Literal["off", "on"]
    settings: Values
    impact: str
    value: float
    unit: str
    by: str
    requests: int


class Reverted(Event):
    kind: Literal["reverted"]
    fault: FaultData
    holds: bool
    by: str
    detail: str


class ArmEnd(Event):
    """The times stand where they were measured."""

    kind: Literal["arm-end"]
    outcome: Outcome
    message: str
    floor: dict[str, Seconds]
    floor_s: Seconds
    wall_s: Seconds
    ttd_s: NotRequired[Seconds]
    ttr_s: NotRequired[Seconds]
    watched_s: NotRequired[Seconds]
    self_healed_s: NotRequired[Seconds]


class RunEnd(Event):
    kind: Literal["run-end"]
    exit_status: int


Line = Annotated[
    RunStart
    | Claims
    | StackLine
    | EnvironmentLine
    | Plan
    | ArmStart
    | UndoLine
    | Inject
    | Witness
    | Trigger
    | Premise
    | HopLine
    | SignalLine
    | SourceLine
    | StepStart
    | Command
    | StepEnd
    | StateLine
    | Recovered
    | NotRecovered
    | Withheld
    | Measure
    | Reverted
    | ArmEnd
    | RunEnd,
    Field(discriminator="kind"),
]
