"""The method: how one cause of a runbook is put to the test. Read this first.

A scenario breaks the system in the way a runbook describes, once for each of its faults in each of its cases, and
tries the runbook's own sentences on it. It has three arms, three ordinary tests, because a claim that held proves
nothing until something that could have contradicted it has run too:

- *quiet*: the same happens without the fault, and no signal of the runbook may show;
- *fault*: the incident is made, must be detected, and the written steps must recover it;
- *withheld*: the same incident, the steps not taken; it must stay broken for twice as long as recovery took.

A prevention has two: the same fault with the measure *off* and *on*.

What an arm does is in runlab/arm.py, what it writes in runlab/journal.py; what follows from that is decided by
runlab/judge.py alone.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from runlab.arm import Arm
from runlab.model import Fault, Impact, Json, LabError, Less


class Experiment:
    """What scenarios and preventions share: a runbook (the module's RUNBOOK), an event that starts it, and bounds."""

    runbook: ClassVar[str] = ""
    detects_within_s: ClassVar[float] = 20.0
    """Deadline for the first alert of the runbook after the trigger."""
    floor: ClassVar[Mapping[str, Mapping[str, float]]] = {}
    """By case: seconds that have to be waited for, by what for; counted as floor in the report."""

    trigger: ClassVar[Callable[..., None]]
    """The event that turns a fault into an incident; asks for pytest fixtures by name."""

    def __init_subclass__(cls, **more: object) -> None:
        super().__init_subclass__(**more)
        if not cls.__module__.startswith("runlab."):
            cls.runbook = _checked(cls)

    def state(self) -> Mapping[str, Json]:
        """Further named values that steps promise to change, e.g. {"deployment": "stopped"}; asks for fixtures."""
        return {}

    def truth(self) -> Mapping[str, list[Json]]:
        """What steps must find and no fault's witness knows, e.g. {"revision": ["0001"]}; asks for fixtures."""
        return {}


class Scenario(Experiment):
    """One cause, the faults that bring it about, and the procedure that is said to recover from it."""

    cause: ClassVar[str]
    """The label of a bullet of section 2, whole or up to its colon."""
    faults: ClassVar[Fault | tuple[Fault, ...]]
    """Injected one at a time."""
    cases: ClassVar[Mapping[str, Mapping[str, Json]]] = {"plain": {}}
    """Settings in which it is tried, by a name that reads well in a test's id."""
    procedure: ClassVar[str | tuple[str, ...]]
    """Labels of lists of section 3, in the order in which they are followed."""
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
    fault: ClassVar[Fault]
    off: ClassVar[Mapping[str, Json]]
    on: ClassVar[Mapping[str, Json]]
    impact: ClassVar[Impact]
    margin: ClassVar[Less]
    observed_for_s: ClassVar[float] = 10.0
    """How long the impact is measured after the trigger, in both arms alike."""

    def test_without_the_measure(self, arm: Arm) -> None:
        arm.begins_in_steady_state()
        arm.injects_the_fault()
        arm.triggers()
        arm.measures_impact()
        arm.is_judged()

    def test_with_the_measure(self, arm: Arm) -> None:
        arm.begins_in_steady_state()
        arm.injects_the_fault()
        arm.triggers()
        arm.measures_impact()
        arm.is_judged()


_NEEDED: dict[type[Experiment], dict[str, Any]] = {
    Scenario: {"cause": str, "faults": (Fault, tuple), "procedure": (str, tuple), "trigger": None, "goal": None},
    Prevention: {
        "measure": str,
        "fault": Fault,
        "off": Mapping,
        "on": Mapping,
        "impact": Impact,
        "margin": Less,
        "trigger": None,
    },
}


def _checked(cls: type[Experiment]) -> str:
    """Refuse a scenario that pytest would silently skip or that could not fail; returns its runbook's id."""
    where = _place(cls)
    base = next((kind for kind in _NEEDED if issubclass(cls, kind)), None)
    if base is None:
        raise LabError(f"{cls.__name__} is neither", where=where, mend="derive from Scenario or Prevention")
    known = {name for kind in (base, Experiment) for name in (*vars(kind), *kind.__annotations__)}
    for name in vars(cls):
        if not name.startswith("_") and name not in known:
            near = _nearest(name, known)
            raise LabError(f"{cls.__name__} has no use for `{name}`", where=where, mend=f"did you mean `{near}`?")
    for name, kind in _NEEDED[base].items():
        value = getattr(cls, name, None)
        if value is None or (value in ((), "", {}) and name not in ("off", "on")):
            raise LabError(f"{cls.__name__} has no `{name}`", where=where, mend=f"give it one; see {base.__name__}")
        if not (callable(value) if kind is None else isinstance(value, kind)):
            raise LabError(f"`{name}` of {cls.__name__} is a {type(value).__name__}", where=where)
    faults = getattr(cls, "faults", ())
    if not all(isinstance(fault, Fault) for fault in (faults if isinstance(faults, tuple) else (faults,))):
        raise LabError(f"`faults` of {cls.__name__} holds something that is no fault", where=where)
    if base is Scenario and not getattr(cls, "cases", None):
        raise LabError(f"`cases` of {cls.__name__} is empty", where=where, mend="leave it out for the plain case")
    runbook = getattr(inspect.getmodule(cls), "RUNBOOK", cls.runbook)
    if not runbook:
        raise LabError("the module names no RUNBOOK", where=where, mend='write RUNBOOK = "RB-001" above the classes')
    return str(runbook)


def _nearest(name: str, known: set[str]) -> str:
    import difflib  # noqa: PLC0415 -- only needed to word an error

    return next(iter(difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.0)), "")


def _place(cls: type) -> str:
    try:
        return f"{inspect.getsourcefile(cls)}:{inspect.getsourcelines(cls)[1]}"
    except (OSError, TypeError):
        return cls.__qualname__
