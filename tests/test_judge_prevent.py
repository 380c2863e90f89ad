"""Preventions: the same fault with the measure off and on, and the margin between them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.journals import PREVENTION, STAGING, TIMEOUT, Tape, of, part, reason, verdict


def tried(off: float, on: float, off_more: dict[str, Any] | None = None, on_more: dict[str, Any] | None = None) -> Tape:
    tape = Tape().begins().measured("off", off, **(off_more or {})).measured("on", on, **(on_more or {}))
    return tape.harmless().ends()


def says(tape: Tape) -> tuple[str, str]:
    results = tape.results()
    return verdict(results, TIMEOUT), reason(results, TIMEOUT)


@pytest.mark.parametrize(
    ("off", "on", "expected", "words"),
    [
        (7.0, 1.0, "confirmed", "blocked: 7 s without, 1 s with the measure"),
        (8.2, 3.2, "confirmed", ""),  # the margin, though 8.2 - 3.2 < 5.0
        (6.0, 1.1, "refuted", "less by 4.9 s, where 5 is called for"),
        (1.0, 7.0, "refuted", "more by 6 s, where 5 is called for"),
        (3.0, 3.0, "refuted", "less by 0 s"),
    ],
)
def test_the_impact_must_be_less_by_the_margin(off: float, on: float, expected: str, words: str) -> None:
    found = says(tried(off, on))
    assert found[0] == expected
    assert words in found[1]


def test_nothing_follows_from_one_of_them_alone() -> None:
    for name in ("off", "on"):
        tape = Tape().begins().measured(name, 1.0).ends()
        assert says(tape) == ("untested", f"only measured with the measure {name}")
    assert says(Tape().begins().ends()) == ("untested", "not run")


def test_the_fault_must_bite_in_both() -> None:
    for more in ({"off_more": {"bites": False}}, {"on_more": {"bites": False}}):
        assert says(tried(7.0, 1.0, **more)) == ("inconclusive", "the fault was not witnessed")


def test_a_measure_that_stops_what_is_harmless_too_is_refuted() -> None:
    def measured() -> Tape:
        return Tape().begins().measured("off", 7.0).measured("on", 1.0)

    assert says(measured().ends()) == (
        "observed",
        "blocked: 7 s without, 1 s with the measure; its control has not run",
    )
    assert says(measured().harmless(passes=False).ends()) == (
        "refuted",
        "blocked: 7 s without, 1 s with the measure; but with it on, what does no harm does not pass either",
    )
    assert says(measured().harmless().ends())[0] == "confirmed"
    assert says(measured().harmless(broke_off=True).ends())[0] == "observed"


def test_without_the_measure_the_fault_must_last() -> None:
    gone = {"lasts": False}
    assert says(tried(7.0, 1.0, off_more=gone))[0] == "inconclusive"
    assert says(tried(7.0, 1.0, on_more=gone))[0] == "confirmed"  # a measure may end the fault: that is its doing


@pytest.mark.parametrize(
    ("reached", "expected"),
    [
        ({}, "confirmed"),
        ({"off": False}, "inconclusive"),
        ({"on": None}, "inconclusive"),
    ],
)
def test_without_a_fault_what_does_harm_must_come_about_in_both(reached: dict[str, Any], expected: str) -> None:
    tape = tried(7.0, 1.0)
    tape.events = [event for event in tape.events if event["kind"] not in ("undo", "inject", "witness")]
    name = ""
    for event in tape.events:
        if event["kind"] == "arm-start":
            name, event["fault"], event["fault_name"] = event["name"], None, None
        if event["kind"] == "state":
            event["goal"], event["fault"] = reached.get(name, True), None
    assert says(tape)[0] == expected


def test_without_users_there_is_no_impact() -> None:
    assert says(tried(7.0, 1.0, on_more={"requests": 0})) == ("inconclusive", "no user asked for anything meanwhile")


def test_an_arm_that_broke_off_measured_nothing() -> None:
    tape = tried(7.0, 1.0)
    tape.events = [e for e in tape.events if not (e["kind"] == "measure" and e["setting"] == "on")]
    assert says(tape) == ("inconclusive", "it broke off before the impact was measured with the measure on")


def test_units_must_agree() -> None:
    assert says(tried(7000.0, 1.0, off_more={"unit": "ms"}))[0] == "inconclusive"


def test_measured_twice_must_hold_twice() -> None:
    tape = Tape().begins().measured("off", 7.0).measured("on", 1.0).measured("on", 6.9).harmless().ends()
    assert says(tape)[0] == "partly"
    assert len(of(tape.results(), TIMEOUT)["by_scenario"]) == 2


def test_a_part_was_tried_where_the_measure_sets_it() -> None:
    results = tried(7.0, 1.0).results()
    assert part(results, TIMEOUT, "lock_timeout")["verdict"] == "confirmed"
    tape = tried(7.0, 1.0)
    for event in tape.events:
        if event["kind"] == "arm-start":
            event["settings"] = {"statement_timeout": "1s"}
    assert part(tape.results(), TIMEOUT, "lock_timeout")["verdict"] == "untested"


def test_advice_is_manual_and_a_measure_that_was_tried_is_not_advice() -> None:
    advised = {TIMEOUT.id: {"role": "advises", "who": "the team", "why": "nobody can"}}
    tape = Tape().begins(bindings=advised).measured("off", 7.0).measured("on", 1.0).harmless().ends()
    assert says(tape)[0] == "confirmed"
    assert verdict(tried(7.0, 1.0).results(), STAGING) == "manual"


def test_what_the_machine_lacks_is_said() -> None:
    tape = Tape().begins(lacks=["packet-filter"]).ends()
    assert says(tape) == ("untested", "needs packet-filter")


def test_a_scenario_of_the_same_name_in_another_runbook_is_another_one() -> None:
    tape = tried(7.0, 1.0)
    for event in tape.events:
        if event["kind"] == "arm-start" and event["name"] == "on":
            assert event["scenario"] == PREVENTION
            event["runbook"] = "RB-901"
    assert says(tape)[0] == "untested"
