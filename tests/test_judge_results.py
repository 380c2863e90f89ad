"""A whole run: what it executed, how it ended, which status that gives, and journals of several workers."""

from __future__ import annotations

from typing import Any

import pytest

from runlab import judge
from runlab.model import JsonObject
from tests.journals import (
    ALERT,
    BINDINGS,
    CLAIMS,
    KILL,
    LIST,
    LOCK,
    RETRY,
    SHOWN,
    SIGNALS,
    TIMEOUT,
    Tape,
    killed,
    listed,
    looked,
    of,
    reason,
    retried,
    verdict,
    whole_run,
)


def status(tape: Tape, **more: Any) -> int:
    return judge.exit_status(tape.results(), **more)


# ---------------------------------------------------------------------------------------------------- exit status


def test_all_that_was_tried_held() -> None:
    assert status(whole_run()) == 0


def test_nothing_executed_is_2() -> None:
    assert status(Tape().begins().ends()) == 2
    assert status(Tape().begins().quiet().ends()) == 2
    assert judge.exit_status(judge.results([])) == 2


def test_observed_and_partly_are_listed_not_failed() -> None:
    assert status(Tape().begins().quiet().fault().ends()) == 0
    two = (("Lock", "slow"), ("Lock", "sudden"))
    tape = (
        Tape()
        .begins(incidents=two)
        .quiet("slow")
        .quiet("sudden")
        .fault(case="slow")
        .fault(case="sudden", seen=SHOWN[:1])
    )
    assert [c["verdict"] for c in tape.ends().results()["claims"] if c["verdict"] == "partly"]
    assert status(tape) == 0


@pytest.mark.parametrize("verdict_of", ["refuted", "inconclusive"])
@pytest.mark.parametrize("where", ["claims", "procedures"])
def test_refuted_and_inconclusive_fail(where: str, verdict_of: str) -> None:
    results = whole_run().results()
    results[where][0]["verdict"] = verdict_of
    assert judge.exit_status(results) == 1


@pytest.mark.parametrize("outcome", ["failed", "error"])
def test_a_failed_arm_fails(outcome: str) -> None:
    tape = whole_run()
    next(event for event in tape.events if event["kind"] == "arm-end")["outcome"] = outcome
    assert status(tape) == 1


def test_a_sentence_of_a_procedure_without_a_definition_fails() -> None:
    nobody = {**BINDINGS, RETRY.id: {"role": None, "error": "no step for this wording"}}
    tape = Tape().begins(bindings=nobody).quiet().fault(steps=(listed(11), looked(), killed(11))).withheld().ends()
    results = tape.results()
    assert all(arm["outcome"] == "passed" for arm in results["scenarios"])
    assert results["run"]["undefined"] == [RETRY.id]
    assert judge.exit_status(results) == 1


def test_a_sentence_that_no_scenario_follows_needs_no_definition() -> None:
    some = {claim: binding for claim, binding in BINDINGS.items() if claim != RETRY.id}
    tape = (
        Tape().begins(bindings=some, steps=(LIST, KILL)).quiet().fault(steps=(listed(11), killed(11))).withheld().ends()
    )
    assert tape.results()["run"]["undefined"] == []
    assert reason(tape.results(), RETRY) == "no scenario yet"
    assert status(tape) == 0


def test_too_little_executed_fails() -> None:
    executed = whole_run().results()["run"]["executed"]
    assert status(whole_run(), min_executed=executed) == 0
    assert status(whole_run(), min_executed=executed + 1) == 1


# ------------------------------------------------------------------------------------------- executed, executable


def test_what_was_executed_and_what_could_have_been() -> None:
    run = whole_run().results()["run"]
    assert (run["executed"], run["executable"], run["total"]) == (8, 9, len(CLAIMS))  # of the logs nothing is known
    run = Tape().begins().ends().results()["run"]
    assert (run["executed"], run["executable"]) == (0, 9)


def test_what_the_machine_lacks_cannot_be_executed() -> None:
    results = Tape().begins(lacks=["packet-filter"]).ends().results()
    assert results["run"]["executable"] == 0
    assert results["run"]["lacks"] == {"packet-filter": 2}
    assert {reason(results, claim) for claim in (ALERT, LOCK, LIST, TIMEOUT)} == {"needs packet-filter"}


# ------------------------------------------------------------------------------------------------- runs cut off


def test_a_run_that_was_cut_off_confirms_nothing() -> None:
    tape = whole_run()
    assert tape.events.pop()["kind"] == "run-end"
    results = tape.results()
    assert not results["run"]["complete"]
    judged = [*results["claims"], *results["procedures"]]
    judged += [p for claim in results["claims"] for p in (*claim["parts"], *claim["by_scenario"])]
    assert {found["verdict"] for found in judged} == {"observed", "untested", "manual"}
    assert reason(results, ALERT).endswith("; the run was cut off")
    assert results["run"]["ended"] == tape.events[-1]["time"]


def test_an_arm_that_was_cut_off_is_an_error() -> None:
    tape = whole_run()
    while tape.events[-1]["kind"] != "inject":
        tape.events.pop()
    (*_, last) = tape.results()["scenarios"]
    assert (last["outcome"], last["message"], last["ended"]) == ("error", "the run was cut off in this arm", None)
    assert status(tape) == 1


def test_an_arm_whose_test_errored_gives_no_control() -> None:
    """An exception in the quiet arm: it ended, with all its sources, but did not watch to its end."""
    tape = Tape().begins().quiet(broke_off=True).fault().withheld().ends()
    assert verdict(tape.results(), ALERT) == "observed"
    assert status(tape) == 1


# ------------------------------------------------------------------------------------------------ several workers


def merged(*tapes: Tape) -> JsonObject:
    return judge.results([event for tape in tapes for event in tape.events])


def test_the_journals_of_two_workers_are_one_run() -> None:
    one = Tape("gw0").begins().quiet().fault().withheld().ends()
    other = Tape("gw1", began=100.05).begins().measured("off", 7.0).measured("on", 1.0).harmless().ends()
    results = merged(one, other)
    assert {verdict(results, claim) for claim in (ALERT, LOCK, LIST, TIMEOUT)} == {"confirmed"}
    assert len(results["scenarios"]) == 6
    assert results["run"]["complete"]
    assert all(line.startswith("gw1:") for line in of(results, TIMEOUT)["evidence"])


def test_arms_of_one_name_in_two_workers_are_two_arms() -> None:
    quiet = Tape("gw1", began=100.05).begins().quiet(seen=[SIGNALS[0]]).ends()
    results = merged(Tape("gw0").begins().quiet().fault().withheld().ends(), quiet)
    assert verdict(results, ALERT) == "refuted"
    assert [arm["outcome"] for arm in results["scenarios"] if arm["arm"] == "quiet"] == ["passed", "failed"]


def test_a_run_is_complete_when_every_worker_is() -> None:
    one, other = whole_run(), Tape("gw1").begins().quiet()
    assert not merged(one, other)["run"]["complete"]
    assert verdict(merged(one, other), ALERT) == "observed"


def test_experiments_that_only_one_worker_planned_are_planned() -> None:
    one, other = Tape("gw0").begins().quiet().fault().withheld().ends(), Tape("gw1").begins(steps=()).ends()
    for tape in (one, other):
        plan = next(event for event in tape.events if event["kind"] == "plan")
        plan["scenarios"] = plan["scenarios"][:1] if tape is one else plan["scenarios"][1:]
    assert reason(merged(one, other), TIMEOUT) == "not run"


# --------------------------------------------------------------------------------------------- runbooks not tried


def test_a_watched_signal_of_a_runbook_without_scenarios_can_still_be_refuted() -> None:
    tape = Tape().begins()
    next(event for event in tape.events if event["kind"] == "plan")["scenarios"] = []
    results = tape.quiet(seen=[SIGNALS[0]]).ends().results()
    assert (verdict(results, ALERT), reason(results, ALERT)) == ("refuted", "also appears without a fault")


def test_the_results_hold_what_the_reports_read() -> None:
    results = whole_run().results()
    assert set(results) == {"schema", "run", "environment", "scenarios", "claims", "procedures"}
    assert results["environment"]["time_scale"] == 600
    for claim in results["claims"]:
        for entry in claim["by_scenario"]:
            assert set(entry) == {"scenario", "arm", "fault", "case", "verdict", "reason", "evidence"}
        for piece in claim["parts"]:
            assert set(piece) == {"text", "kind", "verdict", "reason", "evidence"}


# ------------------------------------------------------------------------------------------------- what one arm says


def _of_arm(tape: Tape) -> list[JsonObject]:
    return [event for event in tape.events if event["arm"] is not None]


def complaints(tape: Tape) -> list[str]:
    return judge.complaints(_of_arm(tape), CLAIMS, BINDINGS, {})


def test_an_arm_in_which_all_is_well_has_no_complaints() -> None:
    assert complaints(Tape().begins().quiet()) == []
    assert complaints(Tape().begins().fault()) == []


def test_a_blind_signal_in_the_quiet_arm_is_complained_of() -> None:
    (text,) = complaints(Tape().begins().quiet(blind=[SIGNALS[0]]))
    assert text.splitlines() == [
        f"inconclusive: RB-900.md:10 [{ALERT.id}]",
        "  says:     `Broken` fires.",
        "  expected: seen by a named component in every case of a cause, and silent without the fault",
        "  seen:     Broken was silent, but blind: nobody answers",
    ]
    assert complaints(Tape().begins().quiet(seen=[SIGNALS[0]], blind=[SIGNALS[0]])) == []  # seen, so not blind
    assert complaints(Tape().begins().fault(blind=[SIGNALS[1]])) == []  # with a fault, other arms may decide


def test_refuted_and_undecided_sentences_are_complained_of() -> None:
    tape = Tape().begins().fault(steps=(listed(12), looked(), killed(12, changes={}), retried(error="KeyError: 'x'")))
    texts = complaints(tape)
    assert [text.partition(":")[0] for text in texts] == ["refuted", "inconclusive"]
    assert "expected: the command's output names what the fault's witness knows, and no innocents" in texts[0]
    assert "seen:     pid 11 is missing; it names 12 instead" in texts[0]
    assert f"[{RETRY.id}]" in texts[1]
