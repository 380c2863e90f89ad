"""The words of the lab as types: what passes between parser, faults, verifiers, journal and judge.

Nothing here does anything. Data is frozen; behaviour is declared as protocols that faults/, verifiers/ and
runlab/stack/ fulfil, so that each of them can be read, tested and replaced alone.
"""

from __future__ import annotations

import socket
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, Protocol, Self, TypeAlias

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

Kind = Literal["detect", "cause", "recover", "prevent"]
PartKind = Literal["alert", "signature", "status", "command", "name", "threshold"]
Role = Literal["finds", "acts", "advises"]
ArmName = Literal["quiet", "fault", "withheld", "off", "on"]
Verdict = Literal["confirmed", "observed", "partly", "refuted", "inconclusive", "untested", "manual"]


class LabError(Exception):
    """Bad input or a missing means: one line for people, naming file, line and mend. Exit status 2.

    `where` is "file:line", "file" or "" when no file is at fault.
    """

    def __init__(self, message: str, *, where: str = "", mend: str = "") -> None:
        self.where, self.message, self.mend = where, message, mend
        super().__init__(": ".join(filter(None, (where, message))) + (f"; {mend}" if mend else ""))


# ---------------------------------------------------------------------------------------------- runbook → claims


@dataclass(frozen=True)
class Part:
    """A piece of a claim that the text itself marks: a code span, or a threshold such as "> 90%"."""

    text: str
    kind: PartKind


@dataclass(frozen=True)
class Claim:
    """A leaf bullet of a runbook.

    `id` is for people (`RB-001/recover/scenario-c/1`); nothing binds by it. `text` is the bullet's wording on one line:
    emphasis removed, code spans kept in backticks, white space single. `label` is its bold opening words without the
    colon ("" when it has none). `under` holds the labels of what encloses it inside the section, outermost first: the
    paragraph before the list ("Resolution Steps") and each enclosing item ("Scenario C: Locking Timeout").
    """

    id: str
    runbook: str
    kind: Kind
    label: str
    text: str
    file: str
    line: int
    under: tuple[str, ...] = ()
    parts: tuple[Part, ...] = ()

    @property
    def where(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True)
class Runbook:
    """One runbook: `id` such as "RB-001", its title, and its claims in the order of the text."""

    id: str
    title: str
    file: str
    line: int
    sha256: str
    claims: tuple[Claim, ...]

    def of_kind(self, kind: Kind) -> tuple[Claim, ...]:
        return tuple(claim for claim in self.claims if claim.kind == kind)


# ------------------------------------------------------------------------------------------------ fault, witness

Undo: TypeAlias = dict[str, Json]
"""What `Fault.revert` needs, and all that it needs; JSON, on disk before the fault takes effect."""

Facts: TypeAlias = Mapping[str, Sequence[Json]]
"""Named values of the real system, e.g. {"pid": [4711]}."""


@dataclass(frozen=True)
class Observation:
    """What somebody saw. `by` names who looked and where ("pg_locks, own connection"), never the injector.

    `truth` is what a step that finds must find; `innocents` is what it must not name, or only below the truth. Both
    are keyed by the fact's name, e.g. truth {"pid": [11]}, innocents {"pid": [12, 13]}.
    """

    holds: bool
    by: str
    detail: str = ""
    truth: Facts = field(default_factory=dict)
    innocents: Facts = field(default_factory=dict)


class Fault(ABC):
    """A way to break the stack. Subclasses are frozen dataclasses whose fields are the parameters, units in names.

    `needs` are capabilities of the stack. `prepare` returns the undo and changes nothing. `inject` returns once the
    fault is in effect. `revert` is idempotent, works from any process from `undo` alone, and works on a half-injected
    fault. `witness` looks by other means than `inject` used.
    """

    @property
    def needs(self) -> frozenset[str]:
        return frozenset()

    @abstractmethod
    def prepare(self, stack: Stack) -> Undo: ...
    @abstractmethod
    def inject(self, stack: Stack, undo: Undo) -> None: ...
    @abstractmethod
    def revert(self, stack: Stack, undo: Undo) -> None: ...
    @abstractmethod
    def witness(self, stack: Stack, undo: Undo) -> Observation: ...

    @property
    def name(self) -> str:
        """The class and its parameters, but for those at their default, as one word: `IdleInTransaction-projects`."""
        given = ((getattr(self, f.name), f.default) for f in fields(self))  # type: ignore[arg-type]
        values = [str(value) for value, default in given if value != default]
        return "-".join((type(self).__name__, *values)).replace(" ", "_").replace("/", "_")

    def in_case(self, settings: Mapping[str, Json]) -> Self:
        """The same fault where a case's settings give some of its fields, e.g. {"database": "mariadb"}."""
        given = {f.name: settings[f.name] for f in fields(self) if f.name in settings}  # type: ignore[arg-type]
        return replace(self, **given) if given else self  # type: ignore[type-var]

    def as_data(self) -> dict[str, Json]:
        """`{"class": "module:Class", "fields": {…}}`, enough for `runlab.journal.load_fault` to build it again."""
        return {
            "class": f"{type(self).__module__}:{type(self).__qualname__}",
            "fields": asdict(self),  # type: ignore[call-overload]
        }


# -------------------------------------------------------------------------------------------- signals, watchers


@dataclass(frozen=True)
class PromQL:
    """A symptom read from Prometheus: seen while `expression` has a non-empty result. Durations at production scale."""

    expression: str


class UsersRecord(Protocol):
    """What the users wrote down since the arm began. Seconds; a request still waiting counts as it stands."""

    @property
    def requests(self) -> int: ...
    @property
    def failures(self) -> int: ...
    @property
    def longest_wait_s(self) -> float:
        """The longest that one request waited, finished or not."""
        ...

    @property
    def blocked_s(self) -> float:
        """The longest stretch in which not one request to some endpoint succeeded."""
        ...


@dataclass(frozen=True)
class UsersSay:
    """A symptom read from the users' own record: seen once `predicate` is true of it; `what` says it in words."""

    what: str
    predicate: Callable[[UsersRecord], bool]


Probe: TypeAlias = PromQL | UsersSay


@dataclass(frozen=True)
class Impact:
    """What a prevention bounds, as a number, less being better; `by` says who measures it.

    `read` takes it from the users' own record; without one the prevention's own `measured` tells it.
    """

    name: str
    unit: str
    by: str
    read: Callable[[UsersRecord], float] | None = None


@dataclass(frozen=True)
class Less:
    """The margin of a prevention: with the measure on, the impact must be less by at least this much."""

    by: float
    unit: str


@dataclass(frozen=True)
class Signal:
    """Something a runbook says will be seen: an alert's name, a literal of a log, or a symptom in prose.

    `claim` is the claim's id and `name` what the journal calls it: the part's text, or the whole wording of a symptom.
    A symptom carries its `probe`.
    """

    runbook: str
    claim: str
    name: str
    kind: Literal["alert", "signature", "symptom"]
    probe: Probe | None = None


@dataclass(frozen=True)
class Source:
    """Whether a silent signal may count as silent: the source answered, its series exist, it is fresh.

    All three must be true; else silence is `inconclusive`, and `detail` says what was missing.
    """

    signal: str
    claim: str
    answers: bool
    exists: bool
    fresh: bool
    detail: str = ""


class Watcher(Protocol):
    """Watches every signal it is able to see, passively, in every arm. Lives as long as the run.

    `begin(arm)` starts a new window and forgets what was seen before; from then on everything seen is written to the
    journal as it happens (kind `signal`, at most once per signal and arm). `settled` is true when what it watches is
    in steady state: nothing firing, users served; it is asked before an arm and again for "recovered". `end` closes
    the window and answers, for each signal it watches, whether its silence would count.
    """

    name: str

    def begin(self, arm: str) -> None: ...
    def settled(self) -> Observation: ...
    def end(self) -> Sequence[Source]: ...
    def close(self) -> None: ...


# ---------------------------------------------------------------------------------------------------- the stack


@dataclass(frozen=True)
class CommandResult:
    """One finished command: whole output, exit status (None: killed at its time limit), seconds it took."""

    argv: tuple[str, ...]
    status: int | None
    stdout: str
    stderr: str
    seconds: float


class Stack(Protocol):
    """The running servers, as faults, verifiers and the operator's console see them. Any process of the same account
    can have one: the runner makes it, `runlab heal` attaches to it from the journal.
    """

    run_id: str
    runtime: str
    capabilities: frozenset[str]

    def host(self, service: str) -> str:
        """The address at which the runner reaches `service`, e.g. "127.94.3.2". Ports are those of compose.yaml."""
        ...

    def inside(self, service: str) -> str:
        """The address at which the stack's own processes, the operator's among them, reach `service`."""
        ...

    def machine(self, service: str) -> str:
        """The host of the sandbox on which `service` is, e.g. "zone-a"; "" where there is no sandbox."""
        ...

    def listen(self, host: str, port: int) -> socket.socket:
        """A listening socket for the runner at a further host of the stack, e.g. "runner"."""
        ...

    def secret(self, name: str) -> str:
        """A password made for this run, e.g. secret("POSTGRES_PASSWORD"). Never written anywhere by the caller."""
        ...

    def log_files(self) -> Mapping[str, Path]:
        """Each service's log file, by service name."""
        ...

    def data_folder(self, service: str) -> Path:
        """The folder in which `service` keeps its files, e.g. the users' record; the runner may read it."""
        ...

    def execute(
        self,
        argv: Sequence[str],
        *,
        account: str,
        on: str = "",
        environment: Mapping[str, str] | None = None,
        time_limit_s: float = 30.0,
    ) -> CommandResult:
        """Run one command, without a shell. `account` is "operator", "service", or in a sandbox "root", its own. `on`
        names one of the sandbox's hosts, "" the operator's own for that account and "control" for others; without a
        sandbox there is one host only.
        """
        ...

    def hold(
        self,
        name: str,
        argv: Sequence[str],
        *,
        stdin: str = "",
        environment: Mapping[str, str] | None = None,
        account: str = "service",
        on: str = "",
    ) -> None:
        """Start a process that the keeper keeps, its standard input open, until `release(name)` or the run's end.

        `account` and `on` as for `execute`; "" is the host of what has no other.
        """
        ...

    def release(self, name: str) -> None:
        """End what `hold(name, …)` started; nothing happens when there is none."""
        ...

    def restart(self, service: str) -> None:
        """End `service` if it runs, and start it again on its data; returns once it is healthy. LabError: it is not."""
        ...


class ResettableStack(Stack, Protocol):
    """The stack as its owner sees it."""

    def check(self) -> None:
        """Raises LabError for a service that has died since the stack was up."""
        ...

    def ensure_kept(self) -> None:
        """Raises LabError once the stack as a whole has ended; a single service may be down on purpose."""
        ...

    def reset(self) -> None:
        """Bring data and counters back to where every arm begins; the servers go on running."""
        ...


JsonObject: TypeAlias = dict[str, Any]
"""One journal line, or a piece of results.json, as json.loads gives it."""
