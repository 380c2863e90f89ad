"""One way to wait: asked at once, asked again until a deadline, and shown to people meanwhile."""

from __future__ import annotations

import time

import pytest

from runlab.waiting import DeadlineError, wait_until


class Shown:
    """A progress that remembers."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, float, float]] = []
        self.over = 0

    def update(self, what: str, elapsed_s: float, deadline_s: float) -> None:
        self.lines.append((what, elapsed_s, deadline_s))

    def done(self) -> None:
        self.over += 1


def test_what_is_true_already_is_not_waited_for() -> None:
    shown, began = Shown(), time.monotonic()
    assert wait_until("x", lambda: "yes", deadline_s=60, every_s=30, progress=shown) == "yes"
    assert time.monotonic() - began < 1
    assert (shown.lines, shown.over) == ([], 1)


def test_the_first_true_answer_is_returned_and_the_wait_is_shown() -> None:
    answers, shown = iter([None, 0, "", "late"]), Shown()
    assert wait_until("the alert", lambda: next(answers), deadline_s=5, every_s=0.01, progress=shown) == "late"
    assert [(what, deadline) for what, _, deadline in shown.lines] == [("the alert", 5)] * 3
    elapsed = [seconds for _, seconds, _ in shown.lines]
    assert elapsed == sorted(elapsed)
    assert shown.over == 1


def test_at_the_deadline_the_last_answer_is_told() -> None:
    shown, began = Shown(), time.monotonic()
    with pytest.raises(DeadlineError, match=r"waited 0\.2 s for the alert; last seen: \[\]") as caught:
        wait_until("the alert", list, deadline_s=0.2, every_s=0.05, progress=shown)
    assert 0.2 <= time.monotonic() - began < 1
    assert (caught.value.what, caught.value.waited_s, caught.value.last) == ("the alert", 0.2, [])
    assert isinstance(caught.value, TimeoutError)
    assert shown.over == 1


def test_a_condition_is_asked_once_more_at_the_deadline_however_rare_the_asking() -> None:
    began = time.monotonic()
    assert wait_until("x", lambda: time.monotonic() - began >= 0.2, deadline_s=0.2, every_s=60)
    assert time.monotonic() - began < 1


def test_a_deadline_of_nothing_still_asks_once() -> None:
    asked = []
    with pytest.raises(DeadlineError):
        wait_until("x", lambda: asked.append(1), deadline_s=0)  # type: ignore[func-returns-value]
    assert asked == [1]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_what_the_condition_raises_goes_through_and_the_line_is_ended(error: type[BaseException]) -> None:
    def raises() -> bool:
        raise error

    shown = Shown()
    with pytest.raises(error):
        wait_until("x", raises, deadline_s=5, progress=shown)
    assert shown.over == 1
