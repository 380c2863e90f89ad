"""An arm that takes the steps, and one that withholds them: what counts as recovered, what as broken."""

from __future__ import annotations

import time
from contextlib import suppress
from types import SimpleNamespace

import pytest

from runlab.console import Operator
from runlab.sqltext import RefusedError
from runlab.steps import Registry, acts
from tests.benches import STAY_S, Bench, broken

# ----------------------------------------------------------------------------------------------------------- the steps


def test_the_steps_are_taken_in_order_and_looked_at(bench: Bench) -> None:
    arm = broken(bench)
    arm.follows_the_procedure()
    assert [event["claim"].rpartition("/")[2] for event in bench.events("step-end")] == ["1", "2"]
    assert [event["ran"] for event in bench.events("step-end")] == [True, True]
    assert bench.events("step-end")[0]["facts"]["file"][0]["value"] == "crack"
    after = [event["after"] for event in bench.events("state")]
    assert after[-5:] == [
        "before the first step",
        *("before RB-900/recover/mending/1", "RB-900/recover/mending/1"),
        *("before RB-900/recover/mending/2", "RB-900/recover/mending/2"),
    ]
    assert [event["fault"] for event in bench.events("state")][-2:] == [True, False]


def test_a_refusal_counts_though_the_definition_goes_on_regardless(bench: Bench) -> None:
    @acts("Mend the stone: {command:code}", promises={"fault": False}, within_s=0.1)
    def mend(operator: Operator, command: str) -> None:
        with suppress(RefusedError):
            operator.run(f"sh -c '{command}'")

    bench.laboratory.steps = {"RB-900": Registry.collect([SimpleNamespace(mend=mend)])}  # type: ignore[list-item]
    broken(bench).follows_the_procedure()
    (end,) = bench.events("step-end")
    assert (end["ran"], end["error"]) == (
        False,
        "command not allowed: sh is not among the families that lab.toml allows",
    )


def test_a_goal_reached_before_the_first_step_is_inconclusive(bench: Bench) -> None:
    bench.does(goal=lambda: True)
    with pytest.raises(AssertionError, match="inconclusive: the goal is reached before the first step"):
        broken(bench).follows_the_procedure()
    assert not bench.events("step-start")


def test_what_the_procedure_takes_for_granted_is_looked_at(bench: Bench) -> None:
    bench.does(premise=lambda: {"the old stone stands": False, "it is dry": True})
    arm = broken(bench)
    arm.follows_the_procedure()
    assert bench.events("premise")[0]["facts"] == {"the old stone stands": False, "it is dry": True}
    with pytest.raises(AssertionError, match="takes for granted what is not so: the old stone stands"):
        arm.is_judged()


# ----------------------------------------------------------------------------------------------------------- recovered


def test_recovered_means_that_it_stays_so(bench: Bench) -> None:
    """It flickers for a while; only the last time counts, and TTR is measured up to there."""
    arm = broken(bench)
    arm.follows_the_procedure()
    began = time.monotonic()
    bench.does(goal=lambda: not 0.1 < time.monotonic() - began < 0.25)
    arm._situation._do = bench.conduct
    arm.recovers()
    (recovered,) = bench.events("recovered")
    assert recovered["ttr_s"] >= 0.25
    assert recovered["stayed_s"] == pytest.approx(STAY_S)
    assert bench.laboratory.recovery_s == {arm.spec.incident: pytest.approx(recovered["ttr_s"], abs=0.001)}


@pytest.mark.parametrize("users_well", [True, False])
def test_what_does_not_stay_has_not_recovered(bench: Bench, users_well: bool) -> None:
    arm = broken(bench)
    arm.follows_the_procedure()
    bench.world.well = users_well
    bench.does(goal=lambda: users_well is False or int(time.monotonic() * 20) % 2 == 0)
    arm._situation._do = bench.conduct
    arm.recovers()
    assert arm._failures
    assert arm._failures[0].startswith("not recovered within 0.4 s of the last step: ")
    assert bench.events("not-recovered")
    assert not bench.events("recovered")
    assert bench.laboratory.recovery_s == {}


# ------------------------------------------------------------------------------------------------------------ withheld


def test_what_heals_itself_is_noticed(bench: Bench) -> None:
    arm = broken(bench, "withheld")
    heals_at = time.monotonic() + 0.2
    bench.does(goal=lambda: time.monotonic() > heals_at)
    arm._situation._do = bench.conduct
    arm.stays_broken()
    (withheld,) = bench.events("withheld")
    assert withheld["recovered"] is True
    assert withheld["self_healed_s"] >= 0.15
    assert "it healed itself after 0." in arm._failures[0]


def test_it_is_watched_for_twice_the_time_to_recover(bench: Bench) -> None:
    arm = broken(bench, "withheld")
    bench.laboratory.recovery_s[arm.spec.incident] = 0.15
    arm.stays_broken()
    (withheld,) = bench.events("withheld")
    assert (withheld["recovered"], withheld["self_healed_s"], withheld["needed_s"]) == (False, None, 0.3)
    assert withheld["watched_s"] >= 0.3
    assert arm._failures == []


def test_where_recovery_was_not_measured_its_deadline_counts(bench: Bench) -> None:
    arm = broken(bench, "withheld", recovers_within_s=0.1)
    arm.stays_broken()
    assert bench.events("withheld")[0]["needed_s"] == 0.2


def test_what_this_edition_has_no_steps_for_is_not_followed(bench: Bench) -> None:
    arm = broken(bench, procedures=("Mending", "Polishing"))
    arm.follows_the_procedure()
    assert bench.events("arm-start")[0]["procedures"] == ["Mending"]
    assert {event["claim"].split("/")[2] for event in bench.events("step-start")} == {"mending"}
