"""verifiers.users: what counts as waiting, failing, blocked and served, read from a growing file."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from runlab import journal
from runlab.journal import Journal
from runlab.model import JsonObject, Signal, UsersRecord, UsersSay
from runlab.waiting import wait_until
from verifiers.users import UsersWatcher

LIST, CREATE = "GET /projects", "POST /projects"


def symptom(predicate: Callable[[UsersRecord], bool]) -> Signal:
    probe = UsersSay("users wait for 5 s", predicate)
    return Signal("RB-001", "RB-001/detect/5", "Potential data unavailability.", "symptom", probe)


@dataclass
class Record:
    """Writes a users' record; times are seconds before now."""

    path: Path
    number: int = 0

    def start(self, ago_s: float, endpoint: str = LIST) -> int:
        self.number += 1
        self._append(event="start", id=self.number, t=time.monotonic() - ago_s, endpoint=endpoint)
        return self.number

    def end(self, number: int, ago_s: float = 0.0, *, ok: bool = True) -> None:
        t = time.monotonic() - ago_s
        self._append(event="end", id=number, t=t, ok=ok, status=200 if ok else None, error=None if ok else "timeout")

    def request(self, *, ok: bool = True, took_s: float = 0.0) -> None:
        self.end(self.start(took_s), ok=ok)

    def _append(self, **line: object) -> None:
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")


@dataclass
class Lab:
    record: Record
    archive: Record
    journal: Journal
    watcher: UsersWatcher

    def signals(self) -> list[JsonObject]:
        return [event for event in journal.read(self.journal.path.parent) if event["kind"] == "signal"]


Build = Callable[..., Lab]


@pytest.fixture
def build(tmp_path: Path) -> Iterator[Build]:
    made: list[Lab] = []

    def builder(
        predicate: Callable[[UsersRecord], bool] = lambda r: r.longest_wait_s > 5,
        *,
        with_archive: bool = False,
        stack: object = None,
        **more: float,
    ) -> Lab:
        written = Journal(tmp_path / "journal", "r1")
        written.write("run-start")
        record = Record(tmp_path / "users.jsonl")
        record.path.touch()
        archive = Record(tmp_path / "archive-users.jsonl")
        records = {"users": record.path}
        if with_archive:
            archive.path.touch()
            records["archive-users"] = archive.path
        watcher = UsersWatcher(stack, written, [symptom(predicate)], records=records, **more)  # type: ignore[arg-type]
        made.append(Lab(record, archive, written, watcher))
        return made[0]

    yield builder
    for lab in made:
        lab.watcher.close()
        lab.journal.close()


def test_served_users_are_settled_and_the_detail_says_how(build: Build) -> None:
    lab = build()
    for _ in range(3):
        lab.record.request(took_s=0.02)
    seen = lab.watcher.settled()
    assert seen.holds
    assert seen.detail.startswith("users: 3 requests, 0 failed, longest 0.0")


def test_no_request_at_all_is_not_settled(build: Build) -> None:
    lab = build()
    assert not lab.watcher.settled().holds
    lab.record.end(lab.record.start(5), ago_s=3)
    assert lab.watcher.settled().detail == "users: 0 requests, 0 failed, longest 0.00 s; none was answered"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda record: record.request(ok=False),
        lambda record: record.request(took_s=1.2),
        lambda record: record.start(1.2),
        lambda record: record.path.unlink(),
    ],
    ids=["failed", "slow", "still waiting", "no file"],
)
def test_one_bad_request_is_not_settled(build: Build, spoil: Callable[[Record], None]) -> None:
    lab = build()
    lab.record.request()
    assert lab.watcher.settled().holds
    spoil(lab.record)
    assert not lab.watcher.settled().holds


def test_a_failure_is_forgiven_after_a_while(build: Build) -> None:
    lab = build(recent_s=0.2)
    lab.record.request(ok=False)

    def served() -> bool:
        lab.record.request()
        return lab.watcher.settled().holds

    assert not served()
    wait_until("served", served, deadline_s=2)


@dataclass
class Reset:
    """A stack that was reset so many seconds ago."""

    reset_at: float

    @classmethod
    def ago(cls, ago_s: float) -> Reset:
        return cls(time.monotonic() - ago_s)


def test_what_a_reset_broke_is_not_held_against_what_comes_after(build: Build) -> None:
    lab = build(stack=Reset.ago(0.5), recent_s=60.0)
    lab.record.end(lab.record.start(0.9), 0.7, ok=False)
    lab.record.end(lab.record.start(0.8), 0.4, ok=False)
    assert "none was answered" in lab.watcher.settled().detail
    lab.record.request()
    assert lab.watcher.settled().holds
    lab.record.end(lab.record.start(0.2), 0.1, ok=False)
    assert not lab.watcher.settled().holds


def test_after_a_reset_each_endpoint_is_answered_anew(build: Build) -> None:
    lab = build(stack=Reset.ago(0.5), recent_s=60.0)
    for endpoint in (LIST, CREATE):
        lab.record.end(lab.record.start(0.9, endpoint), 0.8)
    lab.record.request()
    assert lab.watcher.settled().detail.endswith(f"since the reset none of {CREATE} was answered")
    waiting = lab.record.start(0.1, CREATE)
    assert not lab.watcher.settled().holds
    lab.record.end(waiting)
    assert lab.watcher.settled().holds


def test_what_was_sent_before_a_reset_does_not_still_wait(build: Build) -> None:
    lab = build(stack=Reset.ago(0.5), recent_s=60.0)
    waiting = lab.record.start(0.6)
    lab.record.request()
    assert lab.watcher.settled().detail.endswith("one of before the reset still waits")
    lab.record.end(waiting, ok=False)
    assert lab.watcher.settled().holds


def test_long_after_a_reset_an_endpoint_may_rest(build: Build) -> None:
    lab = build(stack=Reset.ago(2.0), recent_s=1.0)
    lab.record.end(lab.record.start(1.9, CREATE), 1.8)
    lab.record.request()
    assert lab.watcher.settled().holds


def test_the_record_counts_from_the_arm_on_and_a_waiting_request_as_it_stands(build: Build) -> None:
    lab = build()
    lab.record.request(ok=False)
    waiting = lab.record.start(30)
    lab.watcher.begin("a1")
    seen = lab.watcher.record()
    assert (seen.requests, seen.failures) == (1, 0)
    assert seen.longest_wait_s < 1, "the wait before the arm is not this arm's"
    lab.record.end(waiting, ok=False)
    lab.record.request()
    seen = lab.watcher.record()
    assert (seen.requests, seen.failures) == (2, 1)


def test_a_symptom_is_journalled_once(build: Build) -> None:
    lab = build(lambda record: record.failures >= 2)
    lab.watcher.begin("a1")
    lab.record.request(ok=False)
    lab.record.request(ok=False)
    event = wait_until("the symptom", lab.signals, deadline_s=2)[0]
    lab.record.request(ok=False)
    lab.watcher.end()
    assert len(lab.signals()) == 1
    assert (event["arm"], event["by"], event["signal_kind"]) == ("a1", "users' record", "symptom")
    assert event["detail"].startswith("users wait for 5 s: 2 requests, 2 failed")


def test_silence_counts_while_the_record_is_alive(build: Build) -> None:
    lab = build()
    lab.watcher.begin("a1")
    lab.record.request()
    (source,) = lab.watcher.end()
    assert (source.answers, source.exists, source.fresh, source.detail) == (True, True, True, "")


def test_silence_does_not_count_without_a_record(build: Build) -> None:
    lab = build()
    lab.record.path.unlink()
    lab.watcher.begin("a1")
    (source,) = lab.watcher.end()
    assert (source.answers, source.exists, source.fresh) == (False, False, False)
    assert "can't be read: No such file" in source.detail


def test_silence_does_not_count_when_no_request_ended(build: Build) -> None:
    lab = build()
    lab.watcher.begin("a1")
    lab.record.start(0)
    (source,) = lab.watcher.end()
    assert (source.answers, source.exists, source.fresh) == (True, False, True)
    assert source.detail == "no request of users ended"


def test_silence_does_not_count_when_the_record_stopped(build: Build) -> None:
    lab = build(stale_s=0.2)
    lab.watcher.begin("a1")
    lab.record.request()
    assert wait_until("an old record", lambda: not lab.watcher.end()[0].fresh, deadline_s=2)
    (source,) = lab.watcher.end()
    assert (source.answers, source.exists, source.fresh) == (True, True, False)
    assert "the last line of users is" in source.detail


def test_silence_does_not_count_when_a_line_is_torn(build: Build) -> None:
    lab = build()
    lab.watcher.begin("a1")
    with lab.record.path.open("a") as file:
        file.write('{"event": "sta')
    lab.record.request()
    (source,) = lab.watcher.end()
    assert not source.answers
    assert source.detail.startswith("not a line of the record of users")


def test_silence_does_not_count_when_the_predicate_crashes(build: Build) -> None:
    lab = build(lambda record: 1 / (record.requests * 0) > 1)
    lab.watcher.begin("a1")
    lab.record.request()
    (source,) = lab.watcher.end()
    assert not source.answers
    assert "the predicate crashed: ZeroDivisionError" in source.detail


# ------------------------------------------------------------------------------------------- several services' users


def test_users_of_several_services_are_counted_together(build: Build) -> None:
    lab = build(with_archive=True)
    lab.watcher.begin("a1")
    lab.record.request(ok=False)
    lab.archive.request()  # its ids are its own: the same as above
    waiting = lab.archive.start(0, "archive GET /projects")
    lab.record.start(0)
    lab.archive.end(waiting, ok=False)
    seen = lab.watcher.record()
    assert (seen.requests, seen.failures) == (4, 2)


def test_an_endpoint_is_blocked_although_another_services_users_are_served(build: Build) -> None:
    lab = build(with_archive=True)
    lab.watcher.begin("a1")
    lab.archive.start(0, "archive GET /projects")

    def blocked() -> bool:
        lab.record.request()
        return lab.watcher.record().blocked_s > 0.3

    wait_until("a blocked endpoint", blocked, deadline_s=2)


@pytest.mark.parametrize("served", ["users", "archive-users"])
def test_served_are_users_only_if_those_of_every_service_are(build: Build, served: str) -> None:
    lab = build(with_archive=True)
    one, other = (lab.record, lab.archive) if served == "users" else (lab.archive, lab.record)
    one.request()
    assert not lab.watcher.settled().holds
    assert "none was answered" in lab.watcher.settled().detail
    other.request()
    seen = lab.watcher.settled()
    assert seen.holds
    assert [part.partition(":")[0] for part in seen.detail.split("; ")] == ["users", "archive-users"]
    other.request(ok=False)
    assert not lab.watcher.settled().holds


def test_silence_counts_only_while_every_record_is_alive(build: Build) -> None:
    lab = build(with_archive=True)
    lab.watcher.begin("a1")
    lab.record.request()
    (source,) = lab.watcher.end()
    assert (source.answers, source.exists, source.fresh) == (False, False, False)
    assert source.detail == "the record of archive-users does not grow; no request of archive-users ended"
    lab.watcher.begin("a2")
    lab.record.request()
    lab.archive.request()
    (source,) = lab.watcher.end()
    assert (source.answers, source.exists, source.fresh, source.detail) == (True, True, True, "")


def test_without_any_record_nobody_is_served_and_silence_says_nothing(tmp_path: Path) -> None:
    watcher = UsersWatcher(None, Journal(tmp_path, "r1"), [symptom(bool)], records={})  # type: ignore[arg-type]
    try:
        watcher.begin("a1")
        assert not watcher.settled().holds
        (source,) = watcher.end()
        assert (source.answers, source.exists, source.fresh) == (False, False, False)
    finally:
        watcher.close()


@pytest.mark.parametrize(
    ("happens", "serves"),
    [
        (lambda record: record.request(), True),
        (lambda record: record.end(record.start(0.1, CREATE), ok=False), True),
        (lambda record: record.start(3.0, CREATE), True),
        (lambda record: record.request(ok=False), False),
        (lambda record: record.request(took_s=1.2), False),
        (lambda record: record.start(1.2), False),
    ],
    ids=["well", "another failed", "another waits", "failed", "slow", "still waiting"],
)
def test_an_endpoint_serves_whatever_becomes_of_others(
    build: Build, happens: Callable[[Record], None], *, serves: bool
) -> None:
    lab = build()
    lab.record.request()
    happens(lab.record)
    assert lab.watcher.serves("GET /", within_s=1.0) is serves


def test_an_endpoint_that_nobody_asked_for_lately_does_not_serve(build: Build) -> None:
    lab = build()
    lab.record.request()
    assert not lab.watcher.serves("/suggestions", within_s=1.0)
    assert lab.watcher.serves("/projects", within_s=1.0)
    lab.record.end(lab.record.start(2.0, CREATE), ago_s=1.5)
    assert not lab.watcher.serves("POST /projects", within_s=1.0)
