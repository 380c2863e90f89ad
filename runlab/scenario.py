"""The method: how one cause of a runbook is put to the test. Read this first.

A scenario breaks the system in the way a runbook describes, once for each of its faults in each of its cases, and
tries the runbook's own sentences on it. It has three arms, three ordinary tests, because a claim that held proves
nothing until something that could have contradicted it has run too:

- *quiet*: the same happens without the fault, and no signal of the runbook may show;
- *fault*: the incident is made, must be detected, and the written steps must recover it;
- *withheld*: the same incident, the steps not taken; it must stay broken for twice as long as recovery took.

A prevention has three: the same fault with the measure *off* and *on*, and, since a measure that stops everything
bounds everything, *quiet*: with the measure on, what does no harm still comes to its goal.

What an arm does is in runlab/arm.py, what it writes in runlab/journal.py; what follows from that is decided by
runlab/judge/ alone.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from runlab.arm import Arm
from runlab.model import Fault, Impact, Json, LabError, Less
from runlab.runbook import display


class Experiment:
    """What scenarios and preventions share: a runbook (the module's RUNBOOK), an event that starts it, and bounds."""

    runbook: ClassVar[str] = ""
    needs: ClassVar[frozenset[str]] = frozenset()
    """Capabilities of the stack, beside those that its faults need."""
    detects_within_s: ClassVar[float] = 20.0
    """Deadline for the first alert of the runbook after the trigger, beside the durations of its own rule."""
    floor: ClassVar[Mapping[str, Mapping[str, float]]] = {}
    """By case: seconds that have to be waited for, by what for; counted as floor in the report."""

    trigger: ClassVar[Callable[..., None]]
    """The event that turns a fault into an incident; asks for pytest fixtures by name."""

    def __init_subclass__(cls, **more: object) -> None:
        super().__init_subclass__(**more)
        if not cls.__module__.startswith("runlab."):
            cls.runbook = _checked(cls)

    def arrange(self) -> None:
        """Bring the settings of the arm's case about, after the reset and before anybody watches; asks for fixtures."""

    def state(self) -> Mapping[str, Json]:
        """Further named values that steps promise to change, e.g. {"deployment": "stopped"}; asks for fixtures."""
        return {}

    def truth(self) -> Mapping[str, list[Json]]:
        """What steps must find and no fault's witness knows, e.g. {"revision": ["0001"]}; asks for fixtures."""
        return {}

    def innocents(self) -> Mapping[str, list[Json]]:
        """What steps must not name, or only below the truth, and no fault's witness knows; asks for fixtures."""
        return {}

    def premise(self) -> Mapping[str, bool]:
        """What must be so when the first step is taken, in words, e.g. {"the old release serves": True}; asks for
        fixtures. It is what the title of a procedure takes for granted ("rolled back automatically")."""
        return {}


class Scenario(Experiment):
    """One cause, the faults that bring it about, and the procedure that is said to recover from it."""

    cause: ClassVar[str]
    """The label of a bullet of section 2, whole or up to its colon."""
    faults: ClassVar[Fault | tuple[Fault, ...]]
    """Injected one at a time."""
    cases: ClassVar[Mapping[str, Mapping[str, Json]]] = {"plain": {}}
    """Settings in which it is tried, by a name that reads well in a test's id. A setting with the name of a fault's
    field is also that fault's: {"database": "mariadb"}."""
    procedure: ClassVar[str | tuple[str, ...]]
    """Labels of lists of section 3, in the order in which they are followed."""
    not_in_every_edition: ClassVar[tuple[str, ...]] = ()
    """Those of its procedure's labels that a runbook's edition may lack; then there is nothing of it to follow."""
    detected_by: ClassVar[str] = "alert"
    """What must show before the steps begin: "alert", one of the runbook's, delivered; or "signal", where the incident
    raises no alert by rights, any signal of the runbook."""
    recovers_within_s: ClassVar[float] = 20.0
    """Deadline for recovery once all steps were taken."""
    goal: ClassVar[Callable[..., bool]]
    """What must be true again; asks for fixtures."""

    def test_quiet_without_fault(self, arm: Arm) -> None:
        arm.begins_in_steady_state()
        arm.triggers()
        arm.reaches_its_goal()
        arm.stays_quiet()
        arm.is_judged()

    def test_detected_and_recovered(self, arm: Arm) -> None:
        arm.begins_in_steady_state()
        arm.injects_the_fault()  # its undo is on disk before; a witness other than the injector sees it bite
        arm.triggers()
        arm.is_detected()
        arm.still_has_the_fault("when the steps begin")
        arm.follows_the_procedure()
        arm.recovers()
        arm.is_judged()

    def test_stays_broken_without_recovery(self, arm: Arm) -> None:
        arm.begins_in_steady_state()
        arm.injects_the_fault()
        arm.triggers()
        arm.is_detected()
        arm.stays_broken()
        arm.still_has_the_fault("at the end")
        arm.is_judged()


class Prevention(Experiment):
    """One measure of section 4: the same fault without it and with it, and what it is said to bound."""

    measure: ClassVar[str]
    """The label of a bullet of section 4."""
    case: ClassVar[str] = ""
    """Under which condition, where a measure is tried under several: "a sanitized copy"."""
    fault: ClassVar[Fault | None] = None
    """None where the event itself is what does harm; then it must have reached its goal in both arms."""
    off: ClassVar[Mapping[str, Json]]
    on: ClassVar[Mapping[str, Json]]
    impact: ClassVar[Impact]
    margin: ClassVar[Less]
    observed_for_s: ClassVar[float] = 10.0
    """How long the impact is measured after the trigger, in both arms alike."""

    measured: ClassVar[Callable[..., float]]
    """The impact at the end of that time, where it is not read from the users' record; asks for fixtures."""
    goal: ClassVar[Callable[..., bool]]
    """What the event is to bring about; asks for fixtures."""
    harmless: ClassVar[Mapping[str, Json]] = {}
    """Settings, beside those of `on`, with which the event does no harm, where it takes more than to have no fault."""

    def test_without_the_measure(self, arm: Arm) -> None:
        arm.begins_in_steady_state()
        if self.fault:
            arm.injects_the_fault()
        arm.triggers()
        arm.measures_impact()
        arm.is_judged()

    def test_with_the_measure(self, arm: Arm) -> None:
        arm.begins_in_steady_state()
        if self.fault:
            arm.injects_the_fault()
        arm.triggers()
        arm.measures_impact()
        arm.is_judged()

    def test_harmless_with_the_measure(self, arm: Arm) -> None:
        arm.begins_in_steady_state()
        arm.triggers()
        arm.reaches_its_goal()
        arm.stays_quiet()
        arm.is_judged()


_NEEDED: dict[type[Experiment], dict[str, Any]] = {
    Scenario: {"cause": str, "faults": (Fault, tuple), "procedure": (str, tuple), "trigger": None, "goal": None},
    Prevention: {
        "measure": str,
        "off": Mapping,
        "on": Mapping,
        "impact": Impact,
        "margin": Less,
        "trigger": None,
        "goal": None,
    },
}


def _checked(cls: type[Experiment]) -> str:
    """Refuse a scenario that pytest would silently skip or that could not fail; returns its runbook's id."""
    module = inspect.getmodule(cls)
    try:
        where = f"{display(Path(str(inspect.getsourcefile(cls))))}:{inspect.getsourcelines(cls)[1]}"
    except (OSError, TypeError):
        where = ""
    for problem, mend in _problems(cls):
        raise LabError(f"{cls.__name__} {problem}", where=where, mend=mend)
    runbook = getattr(module, "RUNBOOK", cls.runbook)
    if not runbook or not isinstance(runbook, str):
        raise LabError("the module names no RUNBOOK", where=where, mend='write RUNBOOK = "RB-001" above the classes')
    return runbook


def _problems(cls: type[Experiment]) -> Iterator[tuple[str, str]]:
    """What is wrong with an experiment, and the mend; only the first is of use."""
    base = next((kind for kind in _NEEDED if issubclass(cls, kind)), None)
    if base is None:
        yield "is neither a scenario nor a prevention", "derive it from Scenario or Prevention"
        return
    if not cls.__name__.startswith("Test") or "__init__" in vars(cls):
        yield "would not be collected by pytest", "let its name begin with Test, and give it no __init__"
    known = {name for kind in (base, Experiment) for name in (*vars(kind), *kind.__annotations__)} - {"runbook"}
    for name in vars(cls):
        if not name.startswith("_") and name not in known:
            yield f"has no use for `{name}`", f"did you mean `{_nearest(name, known)}`?"
    yield from _problems_of_what_is_needed(cls, base)
    for name in ("detects_within_s", "recovers_within_s", "observed_for_s"):
        if not _is_positive(getattr(cls, name, 1.0)):
            yield f"has no positive number of seconds for its `{name}`", "write a number such as 20.0"
    if issubclass(cls, Scenario):
        yield from _problems_of_scenario(cls)
    elif issubclass(cls, Prevention):
        yield from _problems_of_prevention(cls)


def _problems_of_prevention(cls: type[Prevention]) -> Iterator[tuple[str, str]]:
    if not isinstance(cls.fault, Fault | None):
        yield f"has a {type(cls.fault).__name__} for its `fault`", "see Prevention"
    if (cls.impact.read is None) != hasattr(cls, "measured"):
        yield "must have just one who tells its impact", "give the Impact a `read`, or the class a `measured`"


def _problems_of_what_is_needed(cls: type[Experiment], base: type[Experiment]) -> Iterator[tuple[str, str]]:
    for name, kind in _NEEDED[base].items():
        value = getattr(cls, name, None)
        if value is None or (value in ((), "", {}) and name not in ("off", "on")):
            yield f"has no `{name}`", f"give it one; see {base.__name__}"
        if not (callable(value) if kind is None else isinstance(value, kind)):
            yield f"has a {type(value).__name__} for its `{name}`", f"see {base.__name__}"


def _problems_of_scenario(cls: type[Scenario]) -> Iterator[tuple[str, str]]:
    faults = cls.faults if isinstance(cls.faults, tuple) else (cls.faults,)
    if not all(isinstance(fault, Fault) for fault in faults):
        yield "has something among its `faults` that is no fault", "list faults with their parameters"
    elif len({fault.name for fault in faults}) < len(faults):
        yield "has the same fault twice", "leave one of them out"
    if cls.detected_by not in (ways := ("alert", "signal")):
        yield f"is `detected_by` {cls.detected_by!r}", f"write one of {', '.join(ways)}"
    procedure = (cls.procedure,) if isinstance(cls.procedure, str) else cls.procedure
    if stray := sorted(set(cls.not_in_every_edition) - set(procedure)):
        yield f"has {', '.join(stray)} `not_in_every_edition`, which is no part of its procedure", "name it as there"
    if not isinstance(cls.cases, Mapping) or not all(isinstance(case, Mapping) for case in cls.cases.values()):
        yield "has `cases` that are no settings by name", 'write cases = {"plain": {}}'
    elif not cls.cases:
        yield "has no `cases`", "leave them out for the plain case"
    elif stray := sorted(set(cls.floor) - set(cls.cases)):
        yield f"has a `floor` for {', '.join(stray)}, which is none of its cases", "name it as the case"


def _is_positive(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < float("inf")


def _nearest(name: str, known: set[str]) -> str:
    return next(iter(difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.0)), "")
