"""The arms of a prevention: whose figure its impact is, and that what is harmless comes to its goal."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass

import pytest

from runlab.model import Impact, LabError
from runlab.waiting import DeadlineError
from tests.benches import Bench


def test_an_impact_is_read_from_the_users(bench: Bench) -> None:
    impact = Impact("blocked", "s", "the users", lambda users: users.blocked_s)
    bench.laboratory.users_record = Record  # type: ignore[method-assign]
    arm = bench.arm("off", measure="Shelter", impact=impact, observed_for_s=0.1)
    arm.begins_in_steady_state()
    arm.measures_impact()
    (measured,) = bench.events("measure")
    assert {key: measured[key] for key in ("setting", "value", "unit", "by", "requests")} == {
        "setting": "off",
        "value": 2.5,
        "unit": "s",
        "by": "the users",
        "requests": 7,
    }


def test_an_impact_that_users_do_not_feel_is_told_by_the_prevention(bench: Bench) -> None:
    bench.laboratory.users_record = Record  # type: ignore[method-assign]
    arm = bench.arm("off", measure="Shelter", impact=Impact("cracks", "cracks", "a ruler"), observed_for_s=0.1)
    arm.begins_in_steady_state()
    arm.measures_impact()
    assert bench.events("measure")[0]["value"] == 4.5


def test_without_users_there_is_no_impact(bench: Bench) -> None:
    with pytest.raises(LabError, match="no watcher keeps a record of the users"):
        bench.laboratory.users_record()


@pytest.mark.parametrize("harmed", [True, False])
def test_what_is_harmless_comes_to_its_goal_with_the_measure_or_the_judge_sees_that_it_did_not(
    bench: Bench, *, harmed: bool
) -> None:
    bench.does(goal=lambda: not harmed, state=lambda: {"deployment": "failed" if harmed else "succeeded"})
    arm = bench.arm("quiet", measure="Shelter", fault=None, recovers_within_s=0.1)
    arm.begins_in_steady_state()
    arm.triggers()
    with pytest.raises(DeadlineError, match="the goal, without the fault") if harmed else nullcontext():
        arm.reaches_its_goal()
    arm.close("failed" if harmed else "passed", "")
    (state,) = [event for event in bench.events("state") if event["after"] == "trigger"]
    assert (state["goal"], state["fault"]) == (not harmed, None)
    assert state["more"] == {"deployment": "failed" if harmed else "succeeded"}


@dataclass(frozen=True)
class Record:
    requests: int = 7
    blocked_s: float = 2.5
