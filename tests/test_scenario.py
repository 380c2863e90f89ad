"""A scenario that pytest would skip in silence, or that could not fail, is refused where it is written."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from runlab.model import Fault, Impact, LabError, Less, Observation, Stack, Undo
from runlab.runbook import display
from runlab.scenario import Experiment, Prevention, Scenario

RUNBOOK = "RB-900"


@dataclass(frozen=True)
class Crack(Fault):
    """Does nothing."""

    width_mm: int = 1

    def prepare(self, stack: Stack) -> Undo:
        return {}

    def inject(self, stack: Stack, undo: Undo) -> None: ...
    def revert(self, stack: Stack, undo: Undo) -> None: ...
    def witness(self, stack: Stack, undo: Undo) -> Observation:
        return Observation(holds=True, by="nobody")


def scenario(**changed: Any) -> type[Scenario]:
    """A good scenario, with some attributes changed; None takes one away."""
    good = {
        "cause": "Frost",
        "faults": Crack(),
        "procedure": "Mending",
        "trigger": lambda _: None,
        "goal": lambda _: True,
    }
    return make("TestFrost", Scenario, good | changed)


def prevention(**changed: Any) -> type[Prevention]:
    good = {
        "measure": "Shelter",
        "fault": Crack(),
        "off": {},
        "on": {"roof": True},
        "impact": Impact("width", "mm", "a ruler", lambda _: 0.0),
        "margin": Less(by=1.0, unit="mm"),
        "trigger": lambda _: None,
        "goal": lambda _: True,
    }
    return make("TestShelter", Prevention, good | changed)


def make(name: str, base: type, attributes: dict[str, Any]) -> Any:
    given = {name: value for name, value in attributes.items() if value is not None}
    return type(name, (base,), {"__module__": __name__, **given})


def refusal(make: Any, **changed: Any) -> str:
    with pytest.raises(LabError) as caught:
        make(**changed)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_good_ones_are_taken_and_know_their_runbook() -> None:
    assert scenario().runbook == "RB-900"
    assert prevention().runbook == "RB-900"
    assert scenario(faults=(Crack(1), Crack(2)), cases={"a": {}, "b": {"x": 1}}, floor={"b": {"y": 1.0}}).cases


@pytest.mark.parametrize(
    ("misspelt", "meant"),
    [
        ("recover_within_s", "recovers_within_s"),
        ("detect_within_s", "detects_within_s"),
        ("procedures", "procedure"),
        ("casses", "cases"),
        ("fault", "faults"),
        ("causes", "cause"),
        ("tigger", "trigger"),
        ("test_quiet_withot_fault", "test_quiet_without_fault"),
    ],
)
def test_a_misspelt_attribute_is_refused_with_the_near_one(misspelt: str, meant: str) -> None:
    assert f"TestFrost has no use for `{misspelt}`; did you mean `{meant}`?" in refusal(scenario, **{misspelt: "x"})


def test_a_method_of_its_own_begins_with_an_underscore() -> None:
    assert scenario(_look=lambda _: 1)
    assert "no use for `look`" in refusal(scenario, look=lambda _: 1)


@pytest.mark.parametrize("name", ["cause", "faults", "procedure", "trigger", "goal"])
def test_a_scenario_without_one_of_these_is_refused(name: str) -> None:
    assert f"TestFrost has no `{name}`; give it one; see Scenario" in refusal(scenario, **{name: None})


@pytest.mark.parametrize("name", ["measure", "off", "on", "impact", "margin", "trigger", "goal"])
def test_a_prevention_without_one_of_these_is_refused(name: str) -> None:
    assert f"TestShelter has no `{name}`" in refusal(prevention, **{name: None})


@pytest.mark.parametrize("name", ["cause", "faults", "procedure"])
def test_an_empty_one_is_refused(name: str) -> None:
    assert f"has no `{name}`" in refusal(scenario, **{name: ()})
    assert f"has no `{name}`" in refusal(scenario, **{name: ""})


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"cases": {}}, "has no `cases`; leave them out"),
        ({"cases": ["a"]}, "has `cases` that are no settings by name"),
        ({"cases": {"a": 3}}, "has `cases` that are no settings by name"),
        ({"faults": Crack}, "has a ABCMeta for its `faults`"),
        ({"faults": "crack"}, "has a str for its `faults`"),
        ({"faults": [Crack()]}, "has a list for its `faults`"),
        ({"faults": (Crack(), "crack")}, "has something among its `faults` that is no fault"),
        ({"faults": (Crack(2), Crack(2))}, "has the same fault twice"),
        ({"procedure": ["Mending"]}, "has a list for its `procedure`"),
        ({"goal": "well"}, "has a str for its `goal`"),
        ({"trigger": "x"}, "has a str for its `trigger`"),
        ({"recovers_within_s": "3"}, "has no positive number of seconds for its `recovers_within_s`"),
        ({"recovers_within_s": -3}, "has no positive number of seconds"),
        ({"detects_within_s": 0}, "has no positive number of seconds for its `detects_within_s`"),
        ({"detects_within_s": float("inf")}, "has no positive number of seconds"),
        ({"detects_within_s": True}, "has no positive number of seconds"),
        ({"floor": {"plian": {}}}, "has a `floor` for plian, which is none of its cases"),
        ({"detected_by": "rumour"}, "is `detected_by` 'rumour'"),
        ({"not_in_every_edition": ("Polishing",)}, "has Polishing `not_in_every_edition`, which is no part of its"),
        ({"__init__": lambda _: None}, "would not be collected by pytest"),
        ({"runbook": "RB-001"}, "has no use for `runbook`"),
    ],
)
def test_what_could_not_work_is_refused(changed: dict[str, Any], said: str) -> None:
    assert f"TestFrost {said}" in refusal(scenario, **changed)


def test_a_prevention_may_do_without_a_fault() -> None:
    assert prevention(fault=None).fault is None
    assert "has a str for its `fault`" in refusal(prevention, fault="crack")


def test_somebody_must_tell_the_impact_and_only_one() -> None:
    nobody = Impact("cracks", "cracks", "a ruler")
    assert "must have just one who tells its impact" in refusal(prevention, impact=nobody)
    assert prevention(impact=nobody, measured=lambda _: 1.0).impact is nobody
    assert "must have just one who tells its impact" in refusal(prevention, measured=lambda _: 1.0)


def test_a_class_that_pytest_does_not_collect_is_refused() -> None:
    with pytest.raises(LabError, match="Frost would not be collected by pytest; let its name begin with Test"):
        make("Frost", Scenario, {"cause": "Frost"})


def test_an_experiment_is_a_scenario_or_a_prevention() -> None:
    with pytest.raises(LabError, match="TestX is neither a scenario nor a prevention"):
        make("TestX", Experiment, {})


def test_the_place_of_the_class_is_named() -> None:
    line = inspect.currentframe().f_lineno + 3  # type: ignore[union-attr]
    with pytest.raises(LabError) as caught:

        class TestFrost(Scenario):
            cause = "Frost"

    assert caught.value.where == f"{display(Path(__file__))}:{line}"


def test_a_module_without_a_runbook_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for runbook in ("", 900):
        monkeypatch.setitem(globals(), "RUNBOOK", runbook)
        assert 'the module names no RUNBOOK; write RUNBOOK = "RB-001" above the classes' in refusal(scenario)


def test_the_three_arms_can_not_be_taken_away() -> None:
    """They are inherited, so a scenario is only ever without one where somebody writes so."""
    arms = [name for name in dir(scenario()) if name.startswith("test_")]
    assert arms == [
        "test_detected_and_recovered",
        "test_quiet_without_fault",
        "test_stays_broken_without_recovery",
    ]
    assert [name for name in dir(prevention()) if name.startswith("test_")] == [
        "test_harmless_with_the_measure",
        "test_with_the_measure",
        "test_without_the_measure",
    ]
