"""The sentences of a procedure, each by its own effect."""

from __future__ import annotations

import pytest

from tests.followed import ACTS_AND_FINDS, followed, procedure, says
from tests.journals import (
    BINDINGS,
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
    ran,
    retried,
    verdict,
    whole_run,
)

# ----------------------------------------------------------------------------------------------------- steps that find


def test_a_step_that_misses_the_truth_is_refuted() -> None:
    assert says(followed(listed(12, 13)), LIST) == ("refuted", "pid 11 is missing; it names 12, 13 instead")


def test_an_empty_list_of_facts_confirms_nothing() -> None:
    tape = followed(listed(), Taken(KILL, error="no earlier step found any pid"))
    assert says(tape, LIST) == ("refuted", "pid 11 is missing; it names nothing")
    assert says(tape, KILL) == ("untested", "depends on an earlier step: no earlier step found any pid")


def test_innocents_must_not_be_named_or_only_below_the_truth() -> None:
    assert says(followed(listed(12, 11)), LIST) == ("refuted", "it also names innocent pid 12")
    assert verdict(followed(listed(11, 12, 13), *WELL[1:], recovers_in=2.0).results(), LIST) == "confirmed"


def test_a_step_that_only_lists_is_judged_by_the_truth_alone() -> None:
    innocent = {"innocents": {"column": ["id", "name"]}, "truth": {"column": ["name"]}}
    tape = Tape().begins().fault(steps=(listed(11), looked(witness=innocent), killed(11), retried())).withheld().ends()
    assert says(tape, LOOK)[0] == "confirmed"
    assert says(tape, LOOK)[1].startswith("lists column")


def test_what_no_witness_knows_is_inconclusive() -> None:
    tape = followed(listed(11, witness={"truth": {}}))
    assert says(tape, LIST) == ("inconclusive", "no witness knows the truth about what it found (pid)")
    nothing = followed(Taken(LIST, [ran(QUERY)]))
    assert says(nothing, LIST) == ("inconclusive", "no witness knows the truth about what it found (nothing)")


def test_the_truth_must_be_known_when_the_step_begins() -> None:
    tape = followed(listed(11, witness={"holds": False}))
    assert says(tape, LIST) == ("inconclusive", "the fault was not in effect when this step began")
    tape = followed(listed(11))
    tape.events = [event for event in tape.events if event.get("moment") != f"before {LIST.id}"]
    assert verdict(tape.results(), LIST) == "inconclusive"


def test_looking_again_after_the_fault_was_ended_is_untested() -> None:
    assert says(followed(listed(11), killed(11), looked()), LOOK) == (
        "untested",
        f"the fault had ended before, by {KILL.id}",
    )


@pytest.mark.parametrize(
    ("step", "why"),
    [
        (Taken(LIST, [ran(QUERY, stdout="pid\n12\n")], {"pid": ["11"]}), "does not stand in the output"),
        (Taken(LIST, [ran(QUERY, stdout="pid\n111\n")], {"pid": ["11"]}), "does not stand in the output"),
        (Taken(LIST, [ran(None, "psql", stdout="pid\n11\n")], {"pid": ["11"]}), "own command was not run"),
        (
            Taken(LIST, [ran(QUERY), ran(None, "psql", stdout="pid\n11\n")], {"pid": ["11"]}),
            "was not read from the sentence's own command",
        ),
        (Taken(LIST, [ran(QUERY)], error="TypeError: fact pid is a int"), "TypeError: fact pid is a int"),
    ],
)
def test_a_definition_that_cheats_makes_no_verdict(step: Taken, why: str) -> None:
    found = says(followed(step), LIST)
    assert found[0] == "inconclusive"
    assert why in found[1]


def test_a_fact_of_another_step_is_no_fact_of_this_one() -> None:
    tape = followed(listed(11))
    command = next(event for event in tape.events if event["kind"] == "command")
    command["claim"] = LOOK.id
    assert verdict(tape.results(), LIST) == "inconclusive"


def test_a_query_that_cannot_run_as_printed_is_refuted() -> None:
    broken = ran(QUERY, status=1, stderr='ERROR:  relation "holders" does not exist')
    found = says(followed(Taken(LIST, [broken], error="LookupError: the output has no column pid")), LIST)
    assert found == ("refuted", 'cannot run as printed: ERROR:  relation "holders" does not exist')
    lacks = Taken(LIST, [ran(QUERY, stdout="name\nx\n")], error="LookupError: the output has no column pid, only name")
    assert says(followed(lacks), LIST) == ("refuted", "the output has no column pid, only name")


def test_a_tool_of_ours_that_fails_refutes_nothing() -> None:
    ours = ran(None, "psql", status=2, stderr="could not connect")
    found = says(followed(Taken(LOOK, [ours], error="LookupError: no column")), LOOK)
    assert found == ("inconclusive", "the tool that stands in for a command did not serve: could not connect")
    found = says(
        followed(listed(11), killed(11), retried(commands=[ran(None, "curl", status=22, stderr="409")])), RETRY
    )
    assert found == ("inconclusive", "the tool that stands in for a command failed: 409")


# ------------------------------------------------------------------------------------------------------ steps that act


def test_an_act_is_judged_by_what_it_promises() -> None:
    assert says(followed(listed(11), killed(11, changes={})), KILL) == (
        "refuted",
        "what it promises did not come about: fault is True, not False [with substitution, as role oncall]",
    )
    assert says(whole_run(), KILL)[1] == "the fault has ended [with substitution, as role oncall]"
    assert says(whole_run(), RETRY)[1] == "the goal is reached [tool: ours (curl), as role oncall]"


def test_an_act_that_cannot_run_as_printed_is_refuted() -> None:
    failing = Taken(KILL, [ran(COMMAND, "psql", status=1, stderr="ERROR:  permission denied")])
    assert says(followed(listed(11), failing), KILL) == ("refuted", "cannot run as printed: ERROR:  permission denied")
    late = Taken(KILL, [ran(COMMAND, "psql", status=None)])
    assert says(followed(listed(11), late), KILL)[1] == "cannot run as printed: it was ended at its time limit"


def test_an_act_by_other_means_makes_no_verdict() -> None:
    other = killed(11)
    by_other_means = Taken(KILL, [ran(None, "psql", "-c", "SELECT 1")], used=other.used, changes=other.changes)
    tape = followed(listed(11), looked(), by_other_means, retried(), recovers_in=2.0)
    assert says(tape, KILL) == ("inconclusive", "the sentence's own command was not run")
    assert procedure(tape) == ("observed", f"recovered in 2.0 s; not carried out as written: {KILL.id}")


def test_an_act_that_runs_more_than_the_sentence_makes_no_verdict() -> None:
    more = killed(11)
    tape = followed(listed(11), Taken(KILL, [*more.commands, ran(None, "psql", "-c", "x")], changes=more.changes))
    assert says(tape, KILL) == ("inconclusive", "more was run than the sentence's own command: psql -c x")


def test_what_was_so_already_is_untested() -> None:
    before = looked(changes={"fault": False})
    assert says(followed(listed(11), before, killed(11)), KILL) == ("untested", "what it promises was so already")


def test_what_used_the_facts_of_a_refuted_step_depends_on_it() -> None:
    depends = ("untested", f"depends on {LIST.id}, which was refuted")
    assert says(followed(listed(12), killed(12, changes={})), KILL) == depends
    assert (
        says(followed(listed(12, 11), killed(12, 11)), KILL) == depends
    )  # also where it hit the right one among others


def test_what_comes_after_a_refuted_step_depends_on_it_while_the_fault_is_there() -> None:
    tape = followed(listed(12), killed(12, changes={}), retried(changes={}))
    assert says(tape, RETRY) == ("untested", f"depends on {LIST.id}, which was refuted")
    tape = followed(listed(11), killed(11, changes={}), retried(changes={}))
    assert says(tape, RETRY) == ("untested", f"depends on {KILL.id}, which was refuted")


def test_a_refuted_act_does_not_excuse_the_next_that_promises_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BINDINGS, KILL.id, {"role": "acts", "promises": {"goal": True}})
    tape = followed(listed(11), killed(11, changes={}), retried(changes={}))
    assert [says(tape, claim)[0] for claim in (KILL, RETRY)] == ["refuted", "refuted"]
    assert "goal is False, not True" in says(tape, RETRY)[1]


def test_a_step_is_not_excused_by_a_refuted_one_once_the_fault_is_gone() -> None:
    refuted_but_harmless = looked(facts={"column": ["name"]}, witness={"truth": {"column": ["id"]}})
    tape = followed(listed(11), refuted_but_harmless, killed(11), retried(changes={}))
    assert verdict(tape.results(), LOOK) == "refuted"
    assert says(tape, RETRY)[0] == "refuted"
    assert "goal is False, not True" in says(tape, RETRY)[1]


def test_a_step_that_is_to_end_the_fault_is_not_excused_by_a_step_whose_facts_it_did_not_use() -> None:
    refuted = looked(facts={"column": ["name"]}, witness={"truth": {"column": ["id"]}})
    assert verdict(followed(listed(11), refuted, killed(11, changes={})).results(), KILL) == "refuted"


def test_once_all_is_well_later_steps_are_untested() -> None:
    healed = {"fault": False, "goal": True, "well": True}
    tape = followed(listed(11), killed(11, changes=healed), looked(), retried(), recovers_in=2.0)
    assert says(tape, RETRY) == says(tape, LOOK) == ("untested", "already recovered")


def test_all_is_well_only_with_the_goal() -> None:
    quiet_but_broken = killed(11, changes={"fault": False, "well": True})
    tape = Tape().begins().fault(steps=(listed(11), looked(), quiet_but_broken, retried())).withheld().ends()
    assert says(tape, RETRY)[0] == "confirmed"


def test_a_command_that_is_not_allowed_is_untested_with_its_line() -> None:
    refused = {"printed": COMMAND, "argv": [], "refused": "DROP is not among the statements"}
    for error in ("command not allowed: DROP is not among the statements", None):  # also where a definition goes on
        tape = followed(listed(11), Taken(KILL, [refused], error=error))
        assert says(tape, KILL) == ("untested", "command not allowed: DROP is not among the statements (RB-900.md:10)")
        assert procedure(tape)[0] == "inconclusive"


def test_a_definition_that_crashes_makes_no_verdict() -> None:
    tape = followed(listed(11), Taken(KILL, error="KeyError: 'pid'"))
    assert says(tape, KILL) == ("inconclusive", "the definition of this step that acts failed: KeyError: 'pid'")


def test_advice_is_manual_whether_or_not_anybody_came_to_it() -> None:
    for tape in (followed(*WELL, Taken(TELL), recovers_in=2.0), whole_run(), Tape().begins().ends()):
        assert says(tape, TELL) == ("manual", "the owner must judge: it is theirs")


def test_a_sentence_without_a_definition_says_so() -> None:
    tape = (
        Tape().begins(bindings={RETRY.id: {"role": None, "error": "no step for this wording"}}).fault(steps=()).ends()
    )
    assert says(tape, RETRY) == ("untested", "no step for this wording")


def test_a_step_of_a_procedure_that_no_scenario_follows_has_no_scenario() -> None:
    tape = Tape().begins(steps=(LIST,)).ends()
    assert says(tape, LIST)[1] == "not run"
    assert says(tape, RETRY)[1] == "no scenario yet"


def test_a_step_in_an_arm_whose_fault_did_not_bite_is_inconclusive() -> None:
    tape = whole_run()
    for event in tape.events:
        if event["kind"] == "witness" and event["moment"] == "after injection" and "fault/" in event["arm"]:
            event["holds"] = False
    assert all(says(tape, claim) == ("inconclusive", "the fault was not witnessed") for claim in ACTS_AND_FINDS)
    assert procedure(tape) == ("inconclusive", "the fault was not witnessed")
