"""Builds small journals by hand: one runbook, one kind of fault, and arms in which everything goes as it should.

Each verb writes what runlab/arm.py would write; its arguments say what goes differently.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from runlab import judge
from runlab.model import Claim, Json, JsonObject, Kind, Part

BOOK = "RB-900"
SCENARIO, PREVENTION = "TestLock", "TestTimeout"


def _claim(kind: Kind, name: str, text: str, *parts: Part, label: str = "") -> Claim:
    return Claim(f"{BOOK}/{kind}/{name}", BOOK, kind, label, text, "RB-900.md", 10, (), parts)


QUERY, COMMAND = "SELECT pid FROM holders;", "SELECT kill(pid);"
ALERT = _claim("detect", "alerts/1", "`Broken` fires.", Part("Broken", "alert"))
LOGS = _claim(
    "detect", "logs/1", "`alpha lost` or `beta lost`.", Part("alpha lost", "signature"), Part("beta lost", "signature")
)
SYMPTOM = _claim("detect", "users/1", "Requests hang in `deploy`.", Part("deploy", "name"), Part("> 90 %", "threshold"))
LOCK = _claim("cause", "lock", "Lock: somebody holds `t`.", Part("t", "name"), label="Lock")
SKEW = _claim("cause", "skew", "Skew: two at once.", label="Skew")
LIST = _claim("recover", "list/1", f"List holders: `{QUERY}`", Part(QUERY, "command"))
KILL = _claim("recover", "list/2", f"End them: `{COMMAND}`", Part(COMMAND, "command"))
RETRY = _claim("recover", "list/3", "Start again.")
LOOK = _claim("recover", "list/4", "Look with `psql` or `mysql`.", Part("psql", "command"), Part("mysql", "command"))
TELL = _claim("recover", "list/5", "Tell the owner.")
TIMEOUT = _claim("prevent", "timeout", "Set `lock_timeout`.", Part("lock_timeout", "name"), label="Timeout")
STAGING = _claim("prevent", "staging", "Try it elsewhere first.", label="Staging")
CLAIMS = (ALERT, LOGS, SYMPTOM, LOCK, SKEW, LIST, KILL, RETRY, LOOK, TELL, TIMEOUT, STAGING)

BINDINGS: Mapping[str, JsonObject] = {
    SYMPTOM.id: {"role": None, "symptom": True},
    LIST.id: {"role": "finds", "lists": False, "promises": {}},
    KILL.id: {"role": "acts", "promises": {"fault": False}},
    RETRY.id: {"role": "acts", "promises": {"goal": True}},
    LOOK.id: {"role": "finds", "lists": True, "promises": {}},
    TELL.id: {"role": "advises", "who": "the owner", "why": "it is theirs", "promises": {}},
    STAGING.id: {"role": "advises", "who": "the team", "why": "staging is not here", "promises": {}},
}
SIGNALS = [(ALERT.id, "Broken"), (LOGS.id, "alpha lost"), (LOGS.id, "beta lost"), (SYMPTOM.id, SYMPTOM.text)]
SHOWN = [(ALERT.id, "Broken"), (SYMPTOM.id, SYMPTOM.text)]
"""What the fault shows, unless an arm says otherwise."""
WITNESS = {"truth": {"pid": [11], "column": ["id"]}, "innocents": {"pid": [12, 13]}}


@dataclass(frozen=True)
class Taken:
    """A sentence as it is carried out. `changes` is what the state is afterwards."""

    claim: Claim
    commands: Sequence[JsonObject] = ()
    facts: Mapping[str, Sequence[str]] = field(default_factory=dict)
    used: Mapping[str, str] = field(default_factory=dict)
    changes: Mapping[str, Json] = field(default_factory=dict)
    error: str | None = None
    witness: Mapping[str, Any] = field(default_factory=dict)
    fact_from: int = -1
    """Which of its commands the facts are said to come from."""
    cut: bool = False
    """The journal has no end of it."""


def ran(printed: str | None, *argv: str, stdout: str = "", status: int | None = 0, stderr: str = "") -> JsonObject:
    """A command; without `argv` it was run as printed."""
    words = argv or ("psql", "-c", str(printed))
    return {
        "printed": printed,
        "argv": list(words),
        "account": "operator",
        "host": "operator",
        "role": "role oncall",
        "status": status,
        "stdout": stdout,
        "stderr": stderr,
        "seconds": 0.01,
        "refused": None,
    }


def listed(*pids: int, **more: Any) -> Taken:
    output = "pid\n" + "".join(f"{pid}\n" for pid in pids)
    return Taken(LIST, [ran(QUERY, stdout=output)], {"pid": [str(pid) for pid in pids]}, **more)


def killed(*pids: int, **more: Any) -> Taken:
    commands = [ran(COMMAND, "psql", "-c", f"SELECT kill({pid});") for pid in pids]
    return Taken(KILL, commands, **{"used": {"pid": LIST.id}, "changes": {"fault": False}, **more})


def retried(**more: Any) -> Taken:
    command = ran(None, "curl", "-X", "POST", "http://pipeline/retry")
    return Taken(RETRY, **{"commands": [command], "changes": {"goal": True}, **more})


def looked(**more: Any) -> Taken:
    command = ran(None, "psql", "-c", "SELECT name FROM columns", stdout="name\nid\nname\n")
    return Taken(LOOK, [command], **{"facts": {"column": ["id", "name"]}, **more})


WELL = (listed(11), looked(), killed(11), retried())
"""The procedure as it should go."""


class Tape:
    """A journal being written. Times are made up: a tenth of a second a line."""

    def __init__(self, worker: str = "main", began: float = 100.0) -> None:
        self.worker, self.began = worker, began
        self.events: list[JsonObject] = []
        self._arm: str | None = None

    def __repr__(self) -> str:
        return "\n".join(
            ["a tape", *(f"  {e['seq']:3} {e['arm']} {_brief(e)}" for e in self.events if e["kind"] in _SHOWN)]
        )

    def write(self, kind: str, **data: Any) -> str:
        seq = len(self.events) + 1
        common = {"run": "r", "worker": self.worker, "seq": seq, "t": round(self.began + seq / 10, 4)}
        time = f"2025-01-14T09:{seq // 600:02}:{seq % 600 / 10:06.3f}+00:00"
        self.events.append({**common, "time": time, "kind": kind, "arm": self._arm, **data})
        return f"{self.worker}:{seq}"

    # ------------------------------------------------------------------------------------------------- the run

    def begins(
        self,
        *,
        incidents: Sequence[tuple[str, str]] = (("Lock", "plain"),),
        causes: Sequence[Claim] = (LOCK,),
        claims: Iterable[Claim] = CLAIMS,
        steps: Sequence[Claim] = (LIST, LOOK, KILL, RETRY),
        bindings: Mapping[str, JsonObject] = BINDINGS,
        lacks: Sequence[str] = (),
        not_signals: Mapping[str, str] | None = None,
    ) -> Tape:
        """The run's first lines. Each of `causes` has a scenario of its own, the first is SCENARIO."""
        self.write("run-start", schema=1, command="pytest scenarios", seed="r")
        book = {"id": BOOK, "title": "Locks", "file": "RB-900.md", "line": 1, "sha256": "0", "claims": []}
        texts = [{**asdict(claim), "parts": [asdict(part) for part in claim.parts]} for claim in claims]
        self.write("claims", runbooks=[{**book, "claims": texts}], not_signals={BOOK: dict(not_signals or {})})
        self.write("environment", environment={"runtime": "processes", "time_scale": 600})
        every = {
            "runbook": BOOK,
            "lacking": {},
            "margin": None,
            "cause_claim": None,
            "measure_claim": None,
        }
        scenarios = [
            {
                **every,
                "scenario": scenario_of(cause, causes),
                "cause": cause.label,
                "cause_claim": cause.id,
                "procedures": ["List"],
                "steps": [step.id for step in steps],
                "incidents": [f"{scenario_of(cause, causes)}/{fault}/{case}" for fault, case in incidents],
            }
            for cause in causes
        ]
        prevention = {"scenario": PREVENTION, "measure": TIMEOUT.label, "measure_claim": TIMEOUT.id, "steps": []}
        margin = {"margin": {"by": 5.0, "unit": "s"}, "incidents": [f"{PREVENTION}/Lock/"], "procedures": []}
        scenarios.append({**every, **prevention, **margin})
        if lacks:
            scenarios = [
                {**one, "lacking": {incident: list(lacks) for incident in one["incidents"]}} for one in scenarios
            ]
        self.write("plan", arms=[], scenarios=scenarios, bindings=dict(bindings))
        return self

    def ends(self) -> Tape:
        self.write("run-end", exit_status=0)
        return self

    def results(self) -> JsonObject:
        return judge.results(self.events)

    # --------------------------------------------------------------------------------------------------- the arms

    def quiet(
        self,
        case: str = "plain",
        *,
        seen: Sequence[tuple[str, str]] = (),
        blind: Sequence[tuple[str, str]] = (),
        broke_off: bool = False,
        scenario: str = SCENARIO,
    ) -> Tape:
        self._start("quiet", "", case, scenario)
        self._signals(seen)
        if not broke_off:
            self._state("trigger", {"goal": True})
            self._state("end", {"goal": True})
        return self._end(blind, "failed" if broke_off or seen or blind else "passed")

    def fault(
        self,
        fault: str = "Lock",
        case: str = "plain",
        *,
        steps: Sequence[Taken] = WELL,
        seen: Sequence[tuple[str, str]] = tuple(SHOWN),
        early: Sequence[tuple[str, str]] = (),
        blind: Sequence[tuple[str, str]] = (),
        bites: bool = True,
        still: bool = True,
        recovers_in: float | None = 2.0,
        scenario: str = SCENARIO,
    ) -> Tape:
        self._start("fault", fault, case, scenario)
        self._signals(early)
        self._inject(fault, bites=bites)
        self._signals(seen)
        if bites and still:
            self._witness("when the steps begin", holds=True)
            self._follow(steps, recovers_in)
        elif bites:
            self._witness("when the steps begin", holds=False)
        recovered = bites and still and recovers_in is not None
        return self._end(blind, "passed" if recovered else "failed", ttr_s=recovers_in if recovered else None)

    def withheld(
        self,
        fault: str = "Lock",
        case: str = "plain",
        *,
        seen: Sequence[tuple[str, str]] = tuple(SHOWN),
        blind: Sequence[tuple[str, str]] = (),
        watched_s: float = 4.1,
        needed_s: float = 4.0,
        healed_s: float | None = None,
        lasts: bool = True,
        scenario: str = SCENARIO,
    ) -> Tape:
        self._start("withheld", fault, case, scenario)
        self._inject(fault, bites=True)
        self._signals(seen)
        healed = healed_s is not None
        self.write("withheld", watched_s=watched_s, needed_s=needed_s, recovered=healed, self_healed_s=healed_s)
        self._state("end", {"fault": lasts, "goal": healed})
        self._witness("at the end", holds=lasts)
        return self._end(blind, "failed" if healed or not lasts else "passed", watched_s=watched_s)

    def measured(self, name: str, value: float, *, bites: bool = True, **more: Any) -> Tape:
        """The prevention's arm, `name` "off" or "on"; `more` overrides the measure, `lasts` is the fault at its end."""
        lasts = more.pop("lasts", True)
        settings = {"lock_timeout": "500ms"} if name == "on" else {}
        self._start(name, "Lock", "", PREVENTION, settings)
        self._inject("Lock", bites=bites)
        measure = {"impact": "blocked", "value": value, "unit": "s", "by": "users' record", "requests": 40}
        self.write("measure", measure="Timeout", setting=name, settings=settings, **{**measure, **more})
        self._state("end", {"fault": lasts})
        return self._end((), "passed")

    def harmless(self, *, passes: bool = True, broke_off: bool = False) -> Tape:
        """The prevention's quiet arm: the measure is on, and the event does no harm."""
        self._start("quiet", "", "", PREVENTION, {"lock_timeout": "500ms"})
        if not broke_off:
            self._state("trigger", {"goal": passes})
        if passes and not broke_off:
            self._state("end", {"goal": True})
        return self._end((), "passed" if passes and not broke_off else "failed")

    # ------------------------------------------------------------------------------------------------- their pieces

    def _start(
        self, name: str, fault: str, case: str, scenario: str, settings: Mapping[str, Json] | None = None
    ) -> None:
        self._arm = "/".join(filter(None, (scenario, name, fault, case)))
        data = {"class": "faults.none:Lock", "fields": {}} if fault else None
        about = {"scenario": scenario, "runbook": BOOK, "name": name, "fault": data, "fault_name": fault or None}
        procedures = ["List"] if name in ("quiet", "fault", "withheld") else []
        more = {"case": case, "settings": dict(settings or {}), "cause": "", "measure": "", "procedures": procedures}
        self.write("arm-start", **about, **more)
        self._world: dict[str, Json] = {"goal": False, "fault": None, "well": True}
        self._state("steady")

    def _end(self, blind: Sequence[tuple[str, str]], outcome: str, **times: Any) -> Tape:
        for claim, name in SIGNALS:
            fine = (claim, name) not in blind
            detail = "" if fine else "nobody answers"
            self.write("source", claim=claim, name=name, answers=fine, exists=fine, fresh=fine, detail=detail)
        self.write("arm-end", outcome=outcome, message="", floor={}, floor_s=1.0, wall_s=5.0, **times)
        self._arm = None
        return self

    def _inject(self, fault: str, *, bites: bool) -> None:
        self.write("undo", fault={}, undo={"name": fault})
        self.write("inject", fault={})
        self._world |= {"fault": True, "well": False}
        self._witness("after injection", holds=bites)
        self.write("trigger", what=SCENARIO)

    def _witness(self, moment: str, *, holds: bool, **known: Any) -> None:
        self.write("witness", moment=moment, holds=holds, by="the server", detail="", **{**WITNESS, **known})

    def _signals(self, seen: Sequence[tuple[str, str]]) -> None:
        for claim, name in seen:
            kind = "alert" if name == "Broken" else "symptom" if name == SYMPTOM.text else "signature"
            self.write("signal", claim=claim, name=name, signal_kind=kind, by="a watcher", detail="")

    def _state(self, after: str, changes: Mapping[str, Json] | None = None) -> None:
        self._world |= changes or {}
        world = self._world
        settled = {"alerts": {"holds": world["well"], "detail": ""}, "users": {"holds": True, "detail": ""}}
        self.write("state", after=after, goal=world["goal"], settled=settled, fault=world["fault"], more={})

    def _follow(self, steps: Sequence[Taken], recovers_in: float | None) -> None:
        self._state("before the first step")
        for step in steps:
            if not self._take(step):
                return
        if recovers_in is None:
            state = {"goal": False, "settled": {"users": {"holds": True, "detail": ""}}, "fault": True, "more": {}}
            self.write("not-recovered", waited_s=20.0, detail="the goal is not reached", **state)
        else:
            state = {"goal": True, "settled": {"users": {"holds": True, "detail": ""}}, "fault": False, "more": {}}
            self.write("recovered", ttr_s=recovers_in, stayed_s=1.1, **state)

    def _take(self, step: Taken) -> bool:
        claim = step.claim.id
        role = BINDINGS[claim]["role"]
        self.write("step-start", claim=claim, role=role, place="steps.py:1")
        if role == "advises":
            self.write("step-end", claim=claim, ran=False, facts={}, used={}, error=None)
            return True
        if role == "finds":
            self._witness(f"before {claim}", **{"holds": self._world["fault"], **step.witness})
        self._state(f"before {claim}")
        lines = [self.write("command", claim=claim, **command) for command in step.commands]
        if step.cut:
            return False
        facts = {
            name: [{"value": v, "evidence": lines[step.fact_from], "column": f"column {_header(name)}"} for v in values]
            for name, values in step.facts.items()
        }
        ran_well = step.error is None
        self.write("step-end", claim=claim, ran=ran_well, facts=facts, used=dict(step.used), error=step.error)
        self._state(claim, step.changes)
        return True


_SHOWN = ("arm-start", "witness", "signal", "withheld", "measure", "step-end", "recovered", "not-recovered", "arm-end")


def _brief(event: JsonObject) -> str:
    names = ("claim", "name", "moment", "holds", "watched_s", "recovered", "value", "error", "outcome")
    return f"{event['kind']} " + " ".join(f"{name}={event[name]!r}" for name in names if name in event)


def _header(fact: str) -> str:
    return "name" if fact == "column" else fact


def scenario_of(cause: Claim, causes: Sequence[Claim] = (LOCK, SKEW)) -> str:
    return SCENARIO if cause == causes[0] else f"Test{cause.label}"


def whole_run() -> Tape:
    """A run in which everything that can be tried was tried and held."""
    tape = Tape().begins().quiet().fault().withheld()
    return tape.measured("off", 7.0).measured("on", 1.0).ends()


def verdict(results: JsonObject, claim: Claim) -> str:
    return str(of(results, claim)["verdict"])


def reason(results: JsonObject, claim: Claim) -> str:
    return str(of(results, claim)["reason"])


def of(results: JsonObject, claim: Claim) -> JsonObject:
    return next(c for c in results["claims"] if c["id"] == claim.id)


def part(results: JsonObject, claim: Claim, text: str) -> JsonObject:
    return next(p for p in of(results, claim)["parts"] if p["text"] == text)
