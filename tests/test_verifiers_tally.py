"""verifiers.users.Tally: how long an endpoint was blocked, what failed and what waited, counted as requests come."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verifiers.users import Request, Seen, Tally, Users

LIST, CREATE = "GET /projects", "POST /projects"


def of(number: int) -> Request:
    return "users", number


def test_blocked_is_the_longest_stretch_of_one_endpoint_while_others_are_served() -> None:
    tally = Tally(began=100)
    for t in range(100, 110):
        tally.start(of(t), LIST, t)
        tally.end(of(t), t + 0.1, ok=True)
    tally.start(of(1), CREATE, 101)
    tally.end(of(1), 101.5, ok=True)
    tally.start(of(2), CREATE, 102)
    tally.end(of(2), 106, ok=False)
    assert tally.seen(107).blocked_s == 5, "a failure goes on blocking"
    tally.start(of(3), CREATE, 108)
    tally.end(of(3), 108.5, ok=True)
    assert tally.seen(200) == Seen(requests=13, failures=1, longest_wait_s=4, blocked_s=6.5)


def test_an_endpoint_that_nobody_wants_is_not_blocked() -> None:
    tally = Tally(began=0)
    tally.start(of(1), LIST, 1)
    tally.end(of(1), 1.2, ok=True)
    assert tally.seen(60).blocked_s == pytest.approx(0.2)
    tally.start(of(2), LIST, 60)
    assert tally.seen(61).blocked_s == 1
    tally.end(of(2), 61.5, ok=True)
    assert tally.seen(90).blocked_s == 1.5


def test_a_stretch_goes_on_while_another_still_waits() -> None:
    tally = Tally(began=0)
    tally.start(of(1), LIST, 1)
    tally.start(of(2), LIST, 2)
    tally.end(of(1), 3, ok=True)
    assert tally.seen(10).blocked_s == 7
    tally.end(of(2), 11, ok=True)
    assert tally.seen(20).blocked_s == 8


def test_what_ended_before_the_window_is_not_counted() -> None:
    tally = Tally(began=10, waiting={of(1): (LIST, 2.0), of(2): (CREATE, 3.0)})
    assert tally.end(of(1), 9.5, ok=False) == 7.5
    assert tally.end(of(2), 12.0, ok=True) == 9.0
    assert tally.end(of(99), 12.0, ok=False) is None
    assert tally.seen(12) == Seen(requests=1, failures=0, longest_wait_s=2, blocked_s=2)
    assert tally.seen(30).blocked_s == 2, "who failed before the window asks no more"


REQUESTS = st.lists(
    st.tuples(st.sampled_from([LIST, CREATE]), st.integers(0, 50), st.integers(0, 20), st.booleans()), max_size=30
)


@given(requests=REQUESTS, began=st.integers(0, 40), now=st.integers(71, 90))
def test_the_tally_agrees_with_counting_it_all_at_once(
    requests: list[tuple[str, int, int, bool]], began: int, now: int
) -> None:
    lines = [(sent, 0, number) for number, (_, sent, _, _) in enumerate(requests)]
    lines += [(sent + took, 1, number) for number, (_, sent, took, _) in enumerate(requests)]
    tally = Tally(began)
    for t, ends, number in sorted(lines):
        endpoint, _, _, ok = requests[number]
        if ends:
            tally.end(of(number), t, ok=ok)
        else:
            tally.start(of(number), endpoint, t)
    counted = [(sent, took, ok) for _, sent, took, ok in requests if sent + took >= began]
    seen = tally.seen(now)
    assert seen.requests == len(counted)
    assert seen.failures == sum(not ok for _, _, ok in counted)
    assert seen.longest_wait_s == max((min(took, sent + took - began) for sent, took, _ in counted), default=0)


def test_impacts_are_read_from_a_record() -> None:
    seen = Seen(requests=9, failures=2, longest_wait_s=3.0, blocked_s=4.0)
    impacts = (Users.blocked_s, Users.longest_wait_s, Users.failures)
    assert [(impact.read(seen), impact.unit) for impact in impacts] == [(4.0, "s"), (3.0, "s"), (2.0, "")]


def test_a_part_of_the_endpoints_has_a_record_of_its_own() -> None:
    tally = Tally(began=0)
    tally.start(of(1), LIST, 1)
    tally.end(of(1), 1.5, ok=True)
    tally.start(of(2), CREATE, 1)
    tally.end(of(2), 4, ok=False)
    tally.start(("archive-users", 1), "archive GET /projects", 2)
    seen = tally.seen(4)
    assert seen == Seen(requests=3, failures=1, longest_wait_s=3, blocked_s=3)
    assert seen.of("GET /projects") == Seen(requests=2, failures=0, longest_wait_s=2, blocked_s=2)
    assert seen.of("POST", "archive") == Seen(requests=2, failures=1, longest_wait_s=3, blocked_s=3)


def test_what_nobody_asked_for_has_no_record() -> None:
    tally = Tally(began=0)
    tally.start(of(1), LIST, 1)
    with pytest.raises(LookupError, match=r"^'?nobody asked for /suggestions, only for GET /projects"):
        tally.seen(2).of("/suggestions")
