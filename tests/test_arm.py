"""What an arm asks before it goes on, and what it says when that is not so."""

from __future__ import annotations

import time

import pytest

from runlab.model import LabError
from runlab.waiting import DeadlineError, wait_until
from tests.benches import SIGNAL, Bench, broken, raising

# --------------------------------------------------------------------------------------- the beginning and the witness


def test_without_steady_state_nothing_begins(bench: Bench) -> None:
    bench.world.well = False
    arm = bench.arm("fault")
    with pytest.raises(AssertionError, match=r"inconclusive: no steady state in 0.2 s: eye: users wait"):
        arm.begins_in_steady_state()
    assert bench.eye.windows == []
    arm.close("failed", "")
    assert bench.world.reverts == 0


def test_every_arm_begins_on_a_reset_stack(bench: Bench) -> None:
    for name in ("quiet", "fault", "withheld"):
        arm = bench.arm(name)
        arm.begins_in_steady_state()
        arm.close("passed", "")
    assert bench.world.resets == 3


def test_a_fault_that_nobody_sees_is_inconclusive(bench: Bench) -> None:
    bench.world.witnessed = False
    arm = bench.arm("fault")
    arm.begins_in_steady_state()
    with pytest.raises(
        AssertionError, match="inconclusive: after injection the fault is not in effect, says the eye: a"
    ):
        arm.injects_the_fault()
    assert bench.events("witness")[-1]["holds"] is False
    arm.close("failed", "")
    assert bench.world.reverts == 1


def test_the_witness_is_asked_again(bench: Bench) -> None:
    arm = broken(bench)
    arm.still_has_the_fault("when the steps begin")
    bench.world.witnessed = False
    with pytest.raises(AssertionError, match="inconclusive: at the end the fault is not in effect"):
        arm.still_has_the_fault("at the end")
    assert [event["holds"] for event in bench.events("witness")] == [True, True, False]


def test_the_witness_s_truth_and_the_scenario_s_are_written_down(bench: Bench) -> None:
    arm = bench.arm("fault")
    arm.begins_in_steady_state()
    arm.injects_the_fault()
    seen = bench.events("witness")[0]
    assert seen["truth"] == {"y": ["z"], "file": ["crack"]}
    assert seen["innocents"]["y"] == ["w"]


def test_a_case_is_arranged_after_the_reset_and_before_anybody_watches(bench: Bench) -> None:
    before: list[tuple[int, list[str]]] = []
    bench.does(arrange=lambda: before.append((bench.world.resets, list(bench.eye.windows))))
    bench.arm("quiet").begins_in_steady_state()
    assert before == [(1, [])]
    assert len(bench.eye.windows) == 1


# ----------------------------------------------------------------------------------------------------------- detection


def test_an_alert_is_timed_from_the_trigger(bench: Bench) -> None:
    arm = bench.arm("fault")
    arm.begins_in_steady_state()
    arm.injects_the_fault()
    bench.does(trigger=bench.signal)
    arm._do = bench.conduct
    arm.triggers()
    arm.is_detected()
    assert arm._failures == []
    arm.close("passed", "")
    assert 0 <= bench.events("arm-end")[0]["ttd_s"] < 0.3


def test_an_alert_that_the_fault_alone_raised_took_no_time(bench: Bench) -> None:
    arm = bench.arm("fault")
    arm.begins_in_steady_state()
    arm.injects_the_fault()
    bench.signal()
    wait_until("a later moment", lambda: time.monotonic() > bench.events("signal")[0]["t"] + 0.01, deadline_s=1.0)
    arm.triggers()
    arm.is_detected()
    arm.close("passed", "")
    assert bench.events("arm-end")[0]["ttd_s"] == 0


@pytest.mark.parametrize("other", [{"claim": "RB-901/detect/alerts/1"}, {"signal_kind": "signature"}])
def test_another_runbook_s_alert_and_a_mere_log_line_are_no_detection(bench: Bench, other: dict[str, str]) -> None:
    arm = bench.arm("fault")
    arm.begins_in_steady_state()
    arm.injects_the_fault()
    arm.triggers()
    bench.laboratory.journal.write("signal", **{**SIGNAL, **other})
    arm.is_detected()
    assert arm._failures == ["alert StoneCracked was not delivered within 0.3 s"]


@pytest.mark.parametrize("kind", ["alert", "signature", "symptom"])
def test_where_no_alert_is_to_be_waited_for_any_signal_is_detection(bench: Bench, kind: str) -> None:
    arm = broken(bench, detected_by="signal")
    arm.triggers()
    bench.laboratory.journal.write("signal", **{**SIGNAL, "signal_kind": kind})
    arm.is_detected()
    assert arm._failures == []
    silent = broken(bench, detected_by="signal")
    silent.triggers()
    silent.is_detected()
    assert silent._failures == ["a signal of RB-900 was not delivered within 0.3 s"]


# ------------------------------------------------------------------------------------------------------- the quiet arm


def test_a_signal_without_the_fault_fails_the_quiet_arm(bench: Bench) -> None:
    arm = bench.arm("quiet")
    arm.begins_in_steady_state()
    bench.signal()
    arm.stays_quiet()
    assert arm._failures == ["without the fault there was: StoneCracked"]


def test_the_quiet_arm_must_reach_its_goal(bench: Bench) -> None:
    bench.does(goal=lambda: False)
    arm = bench.arm("quiet")
    arm.begins_in_steady_state()
    with pytest.raises(DeadlineError, match="the goal, without the fault"):
        arm.reaches_its_goal()


# ---------------------------------------------------------------------------------- failures, and a stack that is gone


def test_failures_are_collected_and_raised_together(bench: Bench) -> None:
    arm = broken(bench)
    arm.is_detected()
    arm._fails("and this")
    with pytest.raises(AssertionError, match=r"(?s)was not delivered within 0.3 s\nand this"):
        arm.is_judged()
    assert bench.eye.windows[-1] == "end"


def test_for_a_debugger_the_first_failure_is_raised_at_once(bench: Bench) -> None:
    bench.laboratory.stop_at_once = True
    arm = broken(bench)
    with pytest.raises(AssertionError, match=r"was not delivered within 0\.3 s"):
        arm.is_detected()


def test_a_goal_that_can_not_be_asked_is_unknown_and_never_reached(bench: Bench) -> None:
    bench.does(goal=raising(OSError("refused")), state=raising(OSError("refused")))
    arm = bench.arm("fault")
    arm.begins_in_steady_state()
    (state,) = bench.events("state")
    assert state["goal"] is None
    assert state["more"] == {"unknown": "OSError: refused"}


@pytest.mark.parametrize("asked", ["goal", "state"])
def test_a_stack_that_is_gone_is_no_unknown_goal(bench: Bench, asked: str) -> None:
    bench.does(**{asked: raising(LabError("the stack has ended"))})
    with pytest.raises(LabError, match="the stack has ended"):
        bench.arm("fault").begins_in_steady_state()


def test_a_stack_that_is_gone_is_not_waited_for(bench: Bench) -> None:
    arm = bench.arm("fault", detects_within_s=30.0)
    arm.begins_in_steady_state()
    arm.injects_the_fault()
    arm.triggers()
    bench.world.on["wait"] = raising(LabError("the stack has ended"))
    with pytest.raises(LabError, match="the stack has ended"):
        arm.is_detected()
