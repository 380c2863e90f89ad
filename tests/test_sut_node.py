"""The node: what becomes of an order to run a release, with small processes in place of the API."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from runlab.waiting import wait_until
from sut.node import node as nodes
from sut.node.child import Child
from sut.node.control import ordered
from sut.node.node import Node, Release

SERVES = "import time; print('here', flush=True); time.sleep(60)"
FAILS = "print('first'); print('last words'); raise SystemExit(3)"
PROGRAMS = {"good": SERVES, "better": SERVES, "slow": SERVES, "bad": FAILS}


class Machine:
    """A node at work; releases "good" and "better" serve, "slow" does nothing."""

    def __init__(self) -> None:
        self.children: list[Child] = []
        self.node = Node(Release("good"), self._start, lambda release: release.number in {"good", "better"})
        self._thread = threading.Thread(target=self.node.run, daemon=True)
        self._thread.start()

    def _start(self, release: Release, ended: Callable[[Child], None]) -> Child:
        self.children.append(
            Child([sys.executable, "-c", PROGRAMS[release.number]], {"RELEASE": release.number}, ended)
        )
        return self.children[-1]

    def roll(self, release: str, within_s: float = 5.0) -> str:
        return self.node.roll(Release(release), within_s)

    def alive(self) -> list[int]:
        return [child.pid for child in self.children if is_running(child.pid)]

    def stop(self) -> None:
        self.node.stop()
        self._thread.join(10)
        assert not self._thread.is_alive()


def is_running(pid: int) -> bool:
    with suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    monkeypatch.setattr(nodes, "RESTART_AFTER_S", 0.05)
    machine = Machine()
    yield machine
    machine.stop()
    assert machine.alive() == []


def test_a_release_is_swapped_for_another(machine: Machine) -> None:
    assert machine.roll("good") == ""
    first = machine.alive()
    assert machine.roll("better") == ""
    assert len(machine.alive()) == 1
    assert machine.alive() != first
    assert (machine.node.status.release.number, machine.node.status.state) == ("better", "serving")


def test_what_serves_already_is_left_alone(machine: Machine) -> None:
    assert machine.roll("good") == machine.roll("good") == ""
    assert len(machine.children) == 1


def test_a_release_that_fails_is_started_again_and_again_until_another_is_ordered(machine: Machine) -> None:
    assert machine.roll("bad") == "last words (status 3)"
    wait_until("a third start", lambda: machine.node.status.starts >= 3, deadline_s=5)
    assert machine.node.status.release.number == "bad"
    assert machine.node.status.detail == "last words (status 3)"
    assert machine.roll("bad") == "last words (status 3)"
    assert machine.roll("good") == ""
    assert machine.node.status == nodes.Status(Release("good"), "serving", starts=1)


def test_a_release_that_is_killed_is_started_again(machine: Machine) -> None:
    assert machine.roll("good") == ""
    os.kill(machine.alive()[0], 9)
    wait_until("a second start", lambda: machine.node.status.starts == 2, deadline_s=5)
    wait_until("it serves", lambda: machine.node.status.state == "serving", deadline_s=5)


def test_an_order_is_answered_in_time_though_the_release_does_not_serve(machine: Machine) -> None:
    assert machine.roll("slow", 0.1) == "release slow does not serve after 0.1 s"
    assert machine.node.status.state == "starting"
    assert machine.roll("slow", 0.1) == "release slow does not serve after 0.1 s"
    assert [child.pid for child in machine.children[1:]] == machine.alive(), "the second order started it again"


def test_an_order_is_answered_when_another_takes_its_place(machine: Machine) -> None:
    answers: list[str] = []
    waiting = threading.Thread(target=lambda: answers.append(machine.roll("slow", 10)))
    waiting.start()
    wait_until("its start", lambda: machine.node.status.release.number == "slow", deadline_s=5)
    assert machine.roll("good") == ""
    waiting.join(5)
    assert answers == ["another release was ordered"]


def test_what_a_child_writes_stands_in_the_nodes_own_output(
    machine: Machine, capfd: pytest.CaptureFixture[str]
) -> None:
    assert machine.roll("bad")
    machine.roll("good")
    assert "first\nlast words\n" in capfd.readouterr().out


def test_other_settings_are_another_order_and_the_same_are_none(machine: Machine) -> None:
    west = Release.of("good", {"PROVIDER_REGION": "west"})
    assert machine.node.roll(west, 5.0) == ""
    assert machine.node.told()["settings"] == {"PROVIDER_REGION": "west"}
    assert machine.node.roll(west, 5.0) == ""
    assert len(machine.children) == 2
    assert machine.roll("good") == ""
    assert (len(machine.children), machine.node.told()["settings"]) == (3, {})


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "say which"),
        (b'["1"]', "say which"),
        (b'{"release": 1}', "say which"),
        (b'{"release": "1", "settings": ["x"]}', "settings are strings by name"),
        (b'{"release": "1", "settings": {"PROVIDER_RETRIES": 2}}', "settings are strings by name"),
        (b'{"release": "1", "settings": {"PATH": "/x"}}', "no such setting: PATH; there are DB_MAX_OVERFLOW, "),
    ],
)
def test_what_is_no_order_says_why(body: bytes, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        ordered(body)


def test_an_order_names_a_release_and_may_name_settings() -> None:
    assert ordered(b'{"release": "1"}') == Release("1")
    order = b'{"release": "2", "settings": {"PROVIDER_RETRIES": "2", "DB_POOL_SIZE": "3"}}'
    assert ordered(order) == Release("2", (("DB_POOL_SIZE", "3"), ("PROVIDER_RETRIES", "2")))
