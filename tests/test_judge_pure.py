"""The judge is a pure function of the journal, and no verdict survives the loss of what it rests on."""

from __future__ import annotations

import copy
import json
import random
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runlab import judge
from runlab.model import JsonObject
from tests.journals import (
    ALERT,
    LOCK,
    SHOWN,
    SIGNALS,
    SKEW,
    WELL,
    Tape,
    killed,
    listed,
    looked,
    retried,
    scenario_of,
    whole_run,
)

INCIDENTS = (("Lock", "slow"), ("Lock", "sudden"))
STEPS = st.sampled_from(
    [
        WELL,
        (listed(12), looked(), killed(12, changes={}), retried(changes={})),
        (listed(11, 12), looked(), killed(11, 12), retried()),
        (listed(12, 11), looked(facts={"column": ["name"]}), killed(12, 11), retried()),
        (listed(), looked(), killed(error="no earlier step found any pid"), retried(changes={})),
    ]
)
SEEN = st.sets(st.sampled_from(SIGNALS)).map(sorted)


SOMETIMES = st.integers(0, 7).map(lambda drawn: drawn == 0)


@st.composite
def runs(draw: st.DrawFn) -> Tape:
    """Runs in which most goes well and anything may go wrong; arms are missing, or were run twice."""
    causes = draw(st.sampled_from([(LOCK,), (LOCK,), (LOCK, SKEW)]))
    incidents = draw(st.sampled_from([INCIDENTS[:1], INCIDENTS]))
    tape = Tape().begins(incidents=incidents, causes=causes)
    names = [scenario_of(cause, causes) for cause in causes]
    arms = [(arm, case, name) for name in names for arm in ("quiet", "fault", "withheld") for _, case in incidents]
    arms += [("off", "", ""), ("on", "", "")]
    arms = [arm for arm in arms if not draw(SOMETIMES)]
    for arm in arms + [arm for arm in arms if draw(SOMETIMES)]:
        _run(draw, tape, *arm)
    return tape.ends()


def _run(draw: st.DrawFn, tape: Tape, arm: str, case: str, scenario: str) -> None:
    def perhaps(usual: Any, else_: st.SearchStrategy[Any]) -> Any:
        return draw(else_) if draw(SOMETIMES) else usual

    watched = {"case": case, "blind": perhaps([], SEEN), "scenario": scenario}
    if arm == "quiet":
        tape.quiet(**watched, seen=perhaps([], SEEN), broke_off=draw(SOMETIMES))
    elif arm == "fault":
        steps, recovers_in = perhaps(WELL, STEPS), perhaps(2.0, st.sampled_from([0.5, None]))
        seen, bites, still = perhaps(SHOWN, SEEN), not draw(SOMETIMES), not draw(SOMETIMES)
        tape.fault(**watched, steps=steps, seen=seen, bites=bites, still=still, recovers_in=recovers_in)
    elif arm == "withheld":
        seen, watched_s = perhaps(SHOWN, SEEN), perhaps(4.1, st.just(1.0))
        tape.withheld(**watched, seen=seen, watched_s=watched_s, healed_s=perhaps(None, st.just(1.5)))
    else:
        tape.measured(arm, perhaps(7.0 if arm == "off" else 1.0, st.just(3.0)), bites=not draw(SOMETIMES))


def judged(results: JsonObject) -> Iterator[tuple[str, JsonObject]]:
    """Whatever has a verdict, by a name."""
    for claim in results["claims"]:
        yield claim["id"], claim
        yield from ((f"{claim['id']} part {part['text']}", part) for part in claim["parts"])
    for number, found in enumerate(results["procedures"]):
        yield f"procedure {number}", found


def confirmed(results: JsonObject) -> set[str]:
    return {name for name, found in judged(results) if found["verdict"] == "confirmed"}


# ------------------------------------------------------------------------------------------------------------ purity


@settings(deadline=None, max_examples=60)
@given(runs())
def test_the_same_journal_gives_the_same_results_and_stays_as_it_was(tape: Tape) -> None:
    before = copy.deepcopy(tape.events)
    results = tape.results()
    assert tape.events == before
    assert results == judge.results(before)
    assert results == json.loads(json.dumps(results))  # JSON, through and through


@settings(deadline=None, max_examples=40)
@given(runs(), st.randoms(use_true_random=False))
def test_the_order_in_which_lines_are_given_does_not_matter(tape: Tape, chance: random.Random) -> None:
    """Also where several have the same time, as with a coarse clock: a worker's own numbers order them."""
    for event in tape.events:
        event["t"] = round(event["t"], 0)
    shuffled = list(tape.events)
    chance.shuffle(shuffled)
    assert judge.results(shuffled) == tape.results()


@settings(deadline=None, max_examples=40)
@given(runs())
def test_the_wall_clock_decides_nothing(tape: Tape) -> None:
    verdicts = [found["verdict"] for _, found in judged(tape.results())]
    for event in tape.events:
        event["time"] = "1970-01-01T00:00:00.000+00:00"
    assert [found["verdict"] for _, found in judged(tape.results())] == verdicts


def test_it_needs_no_fault_no_scenario_no_clock_and_no_file() -> None:
    """In a process in which all of these are blocked the results are the same."""
    program = """
import builtins, json, sys
events = json.load(sys.stdin)
for name in ("faults", "sut", "scenarios", "verifiers", "runlab.stack", "runlab.run", "runlab.arm", "runlab.settings"):
    sys.modules[name] = None
from runlab import judge
import socket, subprocess, time
def blocked(*_, **__):
    raise AssertionError("the judge reached out")
builtins.open = socket.socket = subprocess.Popen = time.time = time.monotonic = blocked
print(json.dumps(judge.results(events)))
"""
    tape = whole_run()
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=json.dumps(tape.events),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == tape.results()


# --------------------------------------------------------------------------------- nothing is confirmed by less


@settings(deadline=None, max_examples=60)
@given(runs(), st.data())
def test_dropping_the_tail_of_a_journal_confirms_nothing(tape: Tape, data: st.DataObject) -> None:
    kept = data.draw(st.integers(0, len(tape.events) - 1))
    assert confirmed(judge.results(tape.events[:kept])) == set()


@settings(deadline=None, max_examples=120)
@given(runs(), st.data())
def test_dropping_the_tail_of_an_arm_confirms_nothing_that_was_not(tape: Tape, data: st.DataObject) -> None:
    """The arm broke off: its test errored, or its worker was killed while another one ended well."""
    arms = arms_of(tape)
    if not arms:
        return
    arm = arms[data.draw(st.integers(0, len(arms) - 1))]
    kept = data.draw(st.integers(1, len(arm)))
    lost = {event["seq"] for event in arm[kept:]}
    if data.draw(st.booleans()):  # its fixture still wrote what it always writes
        lost -= {event["seq"] for event in arm if event["kind"] in ("source", "arm-end")}
    fewer = [event for event in tape.events if event["seq"] not in lost]
    assert confirmed(judge.results(fewer)) - confirmed(tape.results()) == set()


def arms_of(tape: Tape) -> list[list[JsonObject]]:
    arms: list[list[JsonObject]] = []
    for event in tape.events:
        if event["kind"] == "arm-start":
            arms.append([])
        if event["arm"] is not None:
            arms[-1].append(event)
    return arms


@settings(deadline=None, max_examples=120)
@given(runs(), st.data())
def test_a_witness_that_says_no_takes_every_verdict_that_rests_on_it(tape: Tape, data: st.DataObject) -> None:
    check_flipped(tape, data.draw(st.integers(0, 99)))


@pytest.mark.parametrize("number", range(len([e for e in whole_run().events if e["kind"] == "witness"])))
def test_every_witness_of_a_run_in_which_all_held_matters(number: int) -> None:
    tape = whole_run()
    assert any(line_of(witnesses(tape)[number]) in found["evidence"] for _, found in judged(tape.results()))
    check_flipped(tape, number)


def check_flipped(tape: Tape, number: int) -> None:
    if not witnesses(tape):
        return
    witness = witnesses(tape)[number % len(witnesses(tape))]
    before = tape.results()
    resting = {name for name, found in judged(before) if line_of(witness) in found["evidence"]} & confirmed(before)
    witness["holds"] = False
    left = resting & confirmed(tape.results())
    # what is confirmed all the same rests on another cause in which it was seen in all incidents, without this witness
    after = dict(judged(tape.results()))
    assert all(line_of(witness) not in after[name]["evidence"] and _has_two_causes(tape) for name in left)


def _has_two_causes(tape: Tape) -> bool:
    return len({e["scenario"] for e in tape.events if e["kind"] == "arm-start"} - {"TestTimeout"}) > 1


def witnesses(tape: Tape) -> list[JsonObject]:
    return [event for event in tape.events if event["kind"] == "witness"]


def line_of(event: JsonObject) -> str:
    return f"{event['worker']}:{event['seq']}"


@pytest.mark.parametrize("name", ["answers", "exists", "fresh"])
def test_a_source_that_went_blind_takes_every_verdict_that_rests_on_it(name: str) -> None:
    before = whole_run().results()
    for number, event in enumerate(whole_run().events):
        if event["kind"] != "source":
            continue
        tape = whole_run()
        tape.events[number][name] = False
        resting = {who for who, found in judged(before) if line_of(event) in found["evidence"]} & confirmed(before)
        assert {LOCK.id} >= resting & confirmed(tape.results())  # its other signal was silent too


def test_the_builder_makes_runs_in_which_something_is_confirmed() -> None:
    """Else the properties above would say nothing."""
    assert {ALERT.id, LOCK.id, "procedure 0"} <= confirmed(whole_run().results())
