"""Signals and causes: what confirms them, what refutes them, and what silence is worth."""

from __future__ import annotations

import pytest

from tests.journals import (
    ALERT,
    LOCK,
    LOGS,
    SHOWN,
    SIGNALS,
    SKEW,
    SYMPTOM,
    Tape,
    of,
    part,
    reason,
    verdict,
    whole_run,
)

BROKEN, ALPHA = SIGNALS[0], SIGNALS[1]
TWO = (("Lock", "slow"), ("Lock", "sudden"))


def test_a_signal_seen_with_the_fault_and_silent_without_it_is_confirmed() -> None:
    results = whole_run().results()
    assert verdict(results, ALERT) == verdict(results, SYMPTOM) == verdict(results, LOCK) == "confirmed"
    assert reason(results, ALERT) == "seen by a watcher, at time scale 600"


def test_until_the_quiet_arm_has_run_it_is_only_observed() -> None:
    results = Tape().begins().fault().withheld().ends().results()
    for claim in (ALERT, SYMPTOM, LOCK):
        assert verdict(results, claim) == "observed"
        assert "its control has not run" in reason(results, claim)


def test_a_quiet_arm_that_broke_off_is_no_control() -> None:
    results = Tape().begins().quiet(broke_off=True).fault().withheld().ends().results()
    assert verdict(results, ALERT) == verdict(results, LOCK) == "observed"


def test_while_any_quiet_arm_broke_off_it_might_have_shown_there() -> None:
    tape = (
        Tape().begins(causes=(LOCK, SKEW)).quiet().quiet(scenario="TestSkew", broke_off=True).fault().withheld().ends()
    )
    assert verdict(tape.results(), ALERT) == "observed"
    assert reason(tape.results(), ALERT).endswith("; an arm broke off")


def test_what_was_seen_in_an_arm_that_broke_off_is_observed() -> None:
    tape = Tape().begins().quiet().fault().ends()
    tape.events = [event for event in tape.events if event["kind"] != "recovered"]
    assert verdict(tape.results(), ALERT) == verdict(tape.results(), LOCK) == "observed"


def test_the_quiet_arm_of_another_case_is_no_control() -> None:
    tape = Tape().begins(incidents=TWO).quiet("slow").fault(case="slow").fault(case="sudden").ends()
    assert verdict(tape.results(), ALERT) == "observed"
    tape = Tape().begins(incidents=TWO).quiet("slow").quiet("sudden").fault(case="slow").fault(case="sudden").ends()
    assert verdict(tape.results(), ALERT) == "confirmed"


@pytest.mark.parametrize("missing", ["answers", "exists", "fresh"])
def test_blind_is_not_quiet(missing: str) -> None:
    tape = Tape().begins().quiet().fault().withheld().ends()
    source = next(e for e in tape.events if e["kind"] == "source" and (e["claim"], e["name"]) == BROKEN)
    source[missing] = False
    results = tape.results()
    assert verdict(results, ALERT) == "inconclusive"
    assert reason(results, ALERT).endswith(f"silent without the fault, but blind: not {missing}")
    assert verdict(results, LOCK) == "confirmed"  # by the symptom, whose silence counts


def test_a_cause_needs_one_signal_whose_silence_counted() -> None:
    results = Tape().begins().quiet(blind=SHOWN).fault().withheld().ends().results()
    assert verdict(results, LOCK) == "inconclusive"


def test_a_signal_that_also_shows_without_a_fault_is_refuted() -> None:
    results = Tape().begins().quiet(seen=[BROKEN]).fault().withheld().ends().results()
    assert verdict(results, ALERT) == "refuted"
    assert reason(results, ALERT) == "also appears without a fault"
    assert verdict(results, LOCK) == "confirmed"  # it still raised the symptom, which was silent


def test_noise_alone_shows_no_cause() -> None:
    results = Tape().begins().quiet(seen=[BROKEN]).fault(seen=[BROKEN]).withheld(seen=[BROKEN]).ends().results()
    assert verdict(results, LOCK) == "refuted"


def test_what_shows_before_the_fault_shows_without_it() -> None:
    results = Tape().begins().quiet().fault(early=[BROKEN], seen=()).withheld().ends().results()
    assert verdict(results, ALERT) == "refuted"


def test_a_signal_that_nobody_by_name_has_seen_was_not_seen() -> None:
    tape = whole_run()
    for event in tape.events:
        if event["kind"] == "signal":
            event["by"] = ""
    assert verdict(tape.results(), ALERT) == "untested"


def test_seen_in_some_cases_only_is_partly_and_names_them() -> None:
    tape = Tape().begins(incidents=TWO).quiet("slow").quiet("sudden").fault(case="slow").fault(case="sudden", seen=())
    results = tape.ends().results()
    assert verdict(results, ALERT) == verdict(results, LOCK) == "partly"
    assert reason(results, ALERT) == "holds for slow with Lock; fails for sudden with Lock: never appeared"
    assert [(arm["case"], arm["verdict"]) for arm in of(results, ALERT)["by_scenario"]] == [
        ("slow", "confirmed"),
        ("sudden", "refuted"),
    ]


def test_seen_in_one_arm_of_an_incident_is_seen() -> None:
    assert verdict(Tape().begins().quiet().fault().withheld(seen=()).ends().results(), ALERT) == "confirmed"


def test_all_cases_of_one_cause_are_enough() -> None:
    tape = Tape().begins(causes=(LOCK, SKEW)).quiet().quiet(scenario="TestSkew")
    results = tape.fault().withheld().fault(seen=(), scenario="TestSkew").ends().results()
    assert verdict(results, ALERT) == "confirmed"
    assert verdict(results, SKEW) == "refuted"
    assert reason(results, SKEW) == "witnessed, and no signal of the runbook appeared"


def test_a_cause_in_which_it_shows_only_sometimes_says_nothing_against_one_in_which_it_always_does() -> None:
    tape = Tape().begins(causes=(LOCK, SKEW), incidents=TWO)
    for scenario, seen in (("TestLock", SHOWN), ("TestSkew", [])):
        tape.quiet("slow", scenario=scenario).quiet("sudden", scenario=scenario)
        tape.fault(case="slow", scenario=scenario).fault(case="sudden", scenario=scenario, seen=seen)
    results = tape.ends().results()
    assert (verdict(results, ALERT), verdict(results, SKEW)) == ("confirmed", "partly")


def test_while_incidents_are_still_to_come_it_is_observed() -> None:
    results = Tape().begins(incidents=TWO).quiet("slow").fault(case="slow").withheld(case="slow").ends().results()
    assert verdict(results, ALERT) == "observed"
    assert reason(results, ALERT).endswith("; 1 of 2 incidents ran")


def test_never_seen_is_refuted_only_when_every_cause_was_injected() -> None:
    results = Tape().begins().quiet().fault(seen=()).withheld(seen=()).ends().results()
    assert verdict(results, ALERT) == "untested"
    assert reason(results, ALERT) == "causes not injected: Skew"

    tape = Tape().begins(causes=(LOCK, SKEW)).quiet().fault().fault(scenario="TestSkew").ends()
    results = tape.results()
    assert verdict(results, LOGS) == "refuted"
    assert reason(results, LOGS) == "never appeared; seen instead: Broken, “Requests hang in `deploy`”"


def test_a_cause_of_which_incidents_are_missing_is_not_injected() -> None:
    tape = Tape().begins(causes=(LOCK, SKEW), incidents=TWO).quiet("slow").fault(case="slow").ends()
    assert reason(tape.results(), LOGS) == "causes not injected: Lock (1 of 2 incidents), Skew"


def test_while_some_incidents_cannot_be_had_a_signal_is_only_observed() -> None:
    tape = Tape().begins(incidents=TWO)
    plan = next(event for event in tape.events if event["kind"] == "plan")
    plan["scenarios"][0]["lacking"] = {"TestLock/Lock/sudden": ["mariadb"]}
    results = tape.quiet("slow").fault(case="slow").ends().results()
    assert verdict(results, ALERT) == "observed"
    assert reason(results, ALERT).endswith("1 of 2 incidents ran (others need mariadb)")
    assert results["run"]["lacks"] == {"mariadb": 1}


def test_a_cause_that_this_machine_cannot_make_says_what_it_needs() -> None:
    tape = Tape().begins(causes=(LOCK, SKEW))
    plan = next(event for event in tape.events if event["kind"] == "plan")
    skew = plan["scenarios"][1]
    skew["lacking"] = {key: ["packet-filter"] for key in skew["incidents"]}
    results = tape.quiet().fault().withheld().ends().results()
    assert reason(results, LOGS) == "causes not injected: Skew (needs packet-filter)"
    assert (verdict(results, SKEW), reason(results, SKEW)) == ("untested", "needs packet-filter")
    assert results["run"]["lacks"] == {"packet-filter": 1}


def test_silence_under_the_fault_counts_only_when_watched() -> None:
    results = Tape().begins().quiet().fault(blind=[ALPHA]).withheld(blind=[ALPHA]).ends().results()
    assert part(results, LOGS, "alpha lost")["verdict"] == "inconclusive"
    assert part(results, LOGS, "alpha lost")["reason"] == "silent, but blind: nobody answers"
    assert part(results, LOGS, "beta lost")["verdict"] == "untested"


def test_a_blind_arm_does_not_undo_the_silence_of_one_that_was_watched() -> None:
    results = Tape().begins().quiet().fault().withheld(blind=[ALPHA]).ends().results()
    assert part(results, LOGS, "alpha lost")["verdict"] == "untested"


def test_silence_of_an_arm_that_broke_off_does_not_count() -> None:
    tape = Tape().begins(causes=(LOCK, SKEW)).quiet().fault(seen=()).fault(scenario="TestSkew", seen=()).ends()
    assert verdict(tape.results(), ALERT) == "refuted"
    tape.events = [event for event in tape.events if event["kind"] != "recovered"]
    results = tape.results()
    assert verdict(results, ALERT) == "inconclusive"
    assert "an arm broke off" in reason(results, ALERT)


@pytest.mark.parametrize("claim", [ALERT, LOCK])
def test_nothing_is_judged_before_the_fault_was_witnessed(claim: object) -> None:
    results = Tape().begins().quiet().fault(bites=False).ends().results()
    assert verdict(results, claim) == "inconclusive"  # type: ignore[arg-type]
    assert reason(results, claim) == "the fault was not witnessed"  # type: ignore[arg-type]


def test_an_arm_without_any_witness_was_not_witnessed() -> None:
    tape = whole_run()
    tape.events = [event for event in tape.events if event["kind"] != "witness"]
    assert verdict(tape.results(), ALERT) == verdict(tape.results(), LOCK) == "inconclusive"


def test_an_undecided_arm_never_overrides_one_that_held_but_leaves_it_unconfirmed() -> None:
    results = Tape().begins().quiet().fault().withheld(lasts=False).ends().results()
    assert verdict(results, ALERT) == "observed"
    assert reason(results, ALERT).endswith("not decided in every arm: the fault was not witnessed")


def test_a_sentence_of_several_signals_names_which_held() -> None:
    tape = Tape().begins(causes=(LOCK, SKEW)).quiet().quiet(scenario="TestSkew")
    tape.fault(seen=[ALPHA]).fault(seen=[ALPHA], scenario="TestSkew")
    results = tape.ends().results()
    assert verdict(results, LOGS) == "partly"
    assert reason(results, LOGS).startswith("holds for `alpha lost`; fails for `beta lost`: never appeared")
    assert part(results, LOGS, "alpha lost")["verdict"] == "confirmed"
    assert part(results, LOGS, "beta lost")["verdict"] == "refuted"
    assert [arm["verdict"] for arm in of(results, LOGS)["by_scenario"]] == ["partly", "partly"]


def test_a_signal_of_which_nothing_is_known_is_named_beside_those_that_held() -> None:
    results = Tape().begins().quiet().fault(seen=[ALPHA]).withheld(seen=[ALPHA]).ends().results()
    assert verdict(results, LOGS) == "confirmed"
    assert reason(results, LOGS).endswith("; not tried: `beta lost`")


def test_what_is_no_signal_says_why() -> None:
    results = Tape().begins(not_signals={"beta lost": "a name"}).quiet().fault(seen=[ALPHA]).ends().results()
    assert part(results, LOGS, "beta lost") == {
        "text": "beta lost",
        "kind": "signature",
        "verdict": "untested",
        "reason": "a name",
        "evidence": [],
    }


def test_a_threshold_is_not_tried_by_watching() -> None:
    found = part(whole_run().results(), SYMPTOM, "> 90 %")
    assert (found["verdict"], found["reason"]) == ("untested", "not tried just below and just above it")


def test_what_a_cause_mentions_is_not_confirmed_with_it() -> None:
    assert part(whole_run().results(), LOCK, "t")["verdict"] == "untested"


def test_a_symptom_that_nobody_defines_says_so() -> None:
    error = {SYMPTOM.id: {"role": None, "error": "no step for this wording"}}
    results = Tape().begins(bindings=error).quiet().fault(seen=[BROKEN]).ends().results()
    assert (verdict(results, SYMPTOM), reason(results, SYMPTOM)) == ("untested", "no step for this wording")


def test_deselected_is_not_run_and_without_a_scenario_is_that() -> None:
    results = Tape().begins().quiet().ends().results()
    assert reason(results, ALERT) == reason(results, LOCK) == "not run"
    assert reason(results, SKEW) == "no scenario yet"
    tape = Tape().begins()
    plan = next(event for event in tape.events if event["kind"] == "plan")
    plan["scenarios"] = []
    results = tape.ends().results()
    assert {claim["verdict"] for claim in results["claims"]} == {"untested", "manual"}
    assert reason(results, ALERT) == reason(results, LOCK) == "no scenario yet"
