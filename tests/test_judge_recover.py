"""Procedures: all of their sentences together, against the arm without the steps and over several arms."""

from __future__ import annotations

from tests.followed import ACTS_AND_FINDS, TWO, followed, procedure, says
from tests.journals import (
    COMMAND,
    KILL,
    LIST,
    LOOK,
    QUERY,
    RETRY,
    TELL,
    WELL,
    Taken,
    Tape,
    killed,
    listed,
    looked,
    of,
    part,
    ran,
    reason,
    retried,
    verdict,
    whole_run,
)

# ---------------------------------------------------------------------------------------------- procedures and control


def test_a_procedure_that_recovers_what_stays_broken_without_it_is_confirmed() -> None:
    tape = whole_run()
    assert procedure(tape) == ("confirmed", "recovered in 2.0 s")
    assert all(verdict(tape.results(), claim) == "confirmed" for claim in ACTS_AND_FINDS)


def test_until_the_steps_were_withheld_it_is_observed() -> None:
    tape = Tape().begins().quiet().fault().ends()
    assert procedure(tape) == ("observed", "recovered in 2.0 s; its control has not run")
    assert all(verdict(tape.results(), claim) == "observed" for claim in ACTS_AND_FINDS)


def test_the_control_is_as_long_as_twice_the_time_to_recover() -> None:
    short = Tape().begins().fault(recovers_in=2.0).withheld(watched_s=3.9).ends()
    assert procedure(short) == ("observed", "recovered in 2.0 s; the steps were withheld for only 3.9 s, not 4.0 s")
    assert verdict(short.results(), KILL) == "observed"
    rounded = Tape().begins().fault(recovers_in=2.194).withheld(watched_s=4.387).ends()
    assert procedure(rounded)[0] == "confirmed"


def test_a_control_whose_fault_was_gone_at_the_end_is_none() -> None:
    tape = Tape().begins().fault().withheld(lasts=False).ends()
    assert procedure(tape)[0] == verdict(tape.results(), KILL) == "observed"
    assert "not witnessed to the end" in procedure(tape)[1]


def test_a_control_that_did_not_come_to_its_end_is_none() -> None:
    tape = whole_run()
    tape.events = [event for event in tape.events if event.get("moment") != "at the end"]
    assert procedure(tape)[0] == verdict(tape.results(), KILL) == "observed"


def test_while_a_second_control_broke_off_it_might_have_healed_there() -> None:
    tape = Tape().begins().fault().withheld().withheld().ends()
    assert procedure(tape)[0] == "confirmed"
    last = max(n for n, event in enumerate(tape.events) if event["kind"] == "withheld")
    del tape.events[last : last + 2]
    assert procedure(tape) == ("observed", "recovered in 2.0 s; an arm broke off")


def test_the_control_is_that_of_the_same_incident() -> None:
    tape = Tape().begins(incidents=TWO).fault(case="slow").withheld(case="sudden").ends()
    assert procedure(tape)[0] == "observed"


def test_where_it_heals_itself_the_steps_are_not_what_recovered_it() -> None:
    tape = Tape().begins().fault().withheld(healed_s=3.2, lasts=False).ends()
    healed = "recovered in 2.0 s, but with the steps withheld it self-healed in 3.2 s"
    assert procedure(tape) == ("inconclusive", healed)
    assert verdict(tape.results(), KILL) == "inconclusive"
    assert verdict(tape.results(), LIST) == "observed"  # what a step finds does not depend on who recovers


def test_an_act_needs_one_procedure_that_recovered_and_not_all() -> None:
    tape = Tape().begins(incidents=TWO).quiet("slow").quiet("sudden")
    tape.fault(case="slow").withheld(case="slow")
    tape.fault(case="sudden", recovers_in=None).withheld(case="sudden")
    assert says(tape.ends(), KILL)[0] == "confirmed"


def test_what_does_not_recover_is_refuted() -> None:
    tape = followed(*WELL, recovers_in=None)
    assert procedure(tape) == ("refuted", "did not recover: the goal is not reached")
    assert says(tape, KILL) == (
        "observed",
        "the fault has ended [with substitution, as role oncall]; no procedure that holds it recovered",
    )


def test_recovered_means_goal_users_and_alerts() -> None:
    tape = whole_run()
    recovered = next(event for event in tape.events if event["kind"] == "recovered")
    recovered["settled"]["users"]["holds"] = False
    assert procedure(tape) == ("refuted", "did not recover: goal, users and alerts were not all back")
    recovered["settled"] = {}
    assert procedure(tape)[0] == "refuted"


def test_without_the_fault_when_the_steps_begin_nothing_follows() -> None:
    tape = Tape().begins().quiet().fault(still=False).withheld().ends()
    assert procedure(tape) == ("inconclusive", "the fault was not in effect when the steps began")


def test_a_goal_that_was_reached_before_the_first_step_shows_nothing() -> None:
    tape = whole_run()
    first = next(event for event in tape.events if event.get("after") == "before the first step")
    first["goal"] = True
    assert procedure(tape) == ("inconclusive", "the goal was reached before the first step")


def test_a_procedure_that_could_not_be_carried_out_is_neither_confirmed_nor_refuted() -> None:
    without_retry = (listed(11), looked(), killed(11))
    tape = Tape().begins().fault(steps=without_retry, recovers_in=None).withheld().ends()
    assert procedure(tape)[0] == "inconclusive"
    assert procedure(tape)[1].endswith(f"not carried out as written: {RETRY.id}")
    tape = Tape().begins().fault(steps=without_retry).withheld().ends()
    assert procedure(tape) == ("observed", f"recovered in 2.0 s; not carried out as written: {RETRY.id}")


def test_advice_that_nobody_followed_does_not_refute_a_procedure() -> None:
    assert procedure(followed(*WELL, Taken(TELL)))[0] == "inconclusive"
    assert procedure(followed(*WELL, Taken(TELL), recovers_in=2.0))[0] == "confirmed"


# -------------------------------------------------------------------------------------------------------- several arms


def test_held_in_one_case_and_refuted_in_another_is_partly() -> None:
    tape = Tape().begins(incidents=TWO).fault(case="slow").withheld(case="slow")
    tape.fault(case="sudden", steps=(listed(12),), recovers_in=None).withheld(case="sudden")
    assert says(tape.ends(), LIST) == (
        "partly",
        "holds for slow with Lock; fails for sudden with Lock: pid 11 is missing; it names 12 instead",
    )


def test_reasons_that_differ_only_in_figures_are_told_once() -> None:
    tape = Tape().begins(incidents=(("Lock", "slow"), ("Lock", "sudden"), ("Report", "slow")))
    for number, (fault, case) in enumerate((("Lock", "slow"), ("Lock", "sudden"), ("Report", "slow"))):
        truth = {"truth": {"pid": [50 + number]}}
        tape.fault(fault, case, steps=(listed(60 + number, 70 + number, witness=truth),), recovers_in=None)
    tape.ends()
    assert says(tape, LIST) == ("refuted", "pid 50 is missing; it names 60, 70 instead")


def test_different_reasons_name_their_conditions() -> None:
    tape = Tape().begins(incidents=TWO).fault(case="slow", steps=(listed(12),), recovers_in=None)
    tape.fault(case="sudden", steps=(listed(),), recovers_in=None).ends()
    assert says(tape, LIST)[1] == (
        "pid 11 is missing; it names 12 instead (slow with Lock);"
        " pid 11 is missing; it names nothing (sudden with Lock)"
    )


def test_an_arm_that_was_run_twice_counts_twice() -> None:
    missed = (listed(12), looked(), killed(12, changes={}), retried(changes={}))
    tape = Tape().begins().quiet().fault(steps=missed, recovers_in=None).fault().withheld().ends()
    results = tape.results()
    assert verdict(results, LIST) == "partly"
    assert [arm["verdict"] for arm in of(results, LIST)["by_scenario"]] == ["refuted", "confirmed"]
    assert [found["verdict"] for found in results["procedures"]] == ["refuted", "confirmed"]


def test_while_incidents_are_still_to_come_a_step_is_observed() -> None:
    tape = Tape().begins(incidents=TWO).quiet().fault(case="slow").withheld(case="slow").ends()
    assert verdict(tape.results(), LIST) == "observed"
    assert reason(tape.results(), LIST).endswith("; 1 of 2 incidents ran")
    assert procedure(tape)[0] == "confirmed"  # of that incident


def test_an_arm_that_broke_off_leaves_a_step_unconfirmed() -> None:
    tape = Tape().begins(incidents=TWO).quiet("slow").fault(case="slow").withheld(case="slow")
    tape.fault(case="sudden", steps=(listed(11), Taken(LOOK, cut=True)), recovers_in=None).ends()
    results = tape.results()
    assert verdict(results, LOOK) == verdict(results, RETRY) == "observed"
    assert "broke off during this step" in reason(results, LOOK)


# --------------------------------------------------------------------------------------------------------------- parts


def test_an_alternative_that_was_not_tried_is_untested() -> None:
    results = whole_run().results()
    assert part(results, LOOK, "psql")["verdict"] == "confirmed"
    assert part(results, LOOK, "mysql")["verdict"] == "untested"
    assert part(results, LOOK, "mysql")["reason"] == "no command that ran for this sentence uses it"
    assert verdict(results, LOOK) == "confirmed"
    assert reason(results, LOOK).endswith("; not tried: `mysql`")


def test_a_printed_command_was_used_also_with_substitution() -> None:
    assert part(whole_run().results(), KILL, COMMAND)["verdict"] == "confirmed"


def test_a_part_is_a_word_of_its_own() -> None:
    command = ran(None, "psql2", "-c", "SELECT name FROM mypsql", stdout="name\nid\n")
    step = Taken(LOOK, [command], {"column": ["id"]})
    results = followed(listed(11), step, killed(11), retried(), recovers_in=2.0).results()
    assert part(results, LOOK, "psql")["verdict"] == "untested"


def test_parts_of_what_was_not_tried_say_why_the_whole_was_not() -> None:
    found = part(Tape().begins().ends().results(), LIST, QUERY)
    assert (found["verdict"], found["reason"]) == ("untested", "not run")
