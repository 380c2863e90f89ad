"""The faults of faults/toxics.py on real links, in both runtimes: who uses the link meets them, and nobody else."""

from __future__ import annotations

import itertools
import json
import signal
from collections.abc import Iterator
from dataclasses import replace

import httpx
import pytest

from faults import toxics
from faults.links import LINKS
from faults.toxics import Bandwidth, CutData, Down, Latency, OnLink, ResetPeer, SlowClose, Timeout
from faults.toxiproxy import Toxiproxy
from runlab.model import LabError, Undo
from runlab.stack.processes import ProcessStack
from tests.e2e import fault_stacks
from tests.e2e.test_faults import heal, write_journal

SERVICES = {"postgres", "migrate", "redis", "provider-east", "toxiproxy", "toxiproxy-east", "api1"}
OF_EACH_KIND = [
    Latency("db", 200, 50),
    Timeout("db"),
    Timeout("db", 300),
    ResetPeer("db"),
    ResetPeer("db", 200),
    Bandwidth("db", 10),
    SlowClose("db", 300),
    CutData("db", 100),
    Down("db"),
]
FAULTS = [replace(fault, link=link) for fault in OF_EACH_KIND for link in LINKS]
ONE_OF_EACH_KIND = [
    replace(fault, link=link) for fault, link in zip(OF_EACH_KIND, itertools.cycle(LINKS), strict=False)
]
OTHER = {"db": "sessions-db", "sessions-db": "db", "east": "db"}


@pytest.fixture(scope="module", params=["sandbox", "processes"])
def stack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessStack]:
    """A replica of the API and what it asks."""
    yield from fault_stacks.start(tmp_path_factory.mktemp("reports"), *SERVICES, runtime=request.param)


@pytest.fixture(params=FAULTS, ids=lambda fault: fault.name)
def fault(request: pytest.FixtureRequest, stack: ProcessStack) -> OnLink:
    found: OnLink = request.param
    fault_stacks.need(stack, found)
    if stack.runtime == "processes" and found not in ONE_OF_EACH_KIND:
        pytest.skip("a link is a link: in processes one of each kind will do")
    return found


@pytest.fixture
def undo(stack: ProcessStack, fault: OnLink) -> Iterator[Undo]:
    """The fault's undo, as the journal gives it back; reverted whatever the test does. All links are then as new."""
    before = links(stack)
    made = json.loads(json.dumps(fault.prepare(stack)))
    assert links(stack) == before, "preparing changes nothing"
    yield made
    fault.revert(stack, made)
    assert links(stack) == before


def links(stack: ProcessStack) -> list[object]:
    return [Toxiproxy(stack.host(name)).proxies() for name in ("toxiproxy", "toxiproxy-east")]


def test_the_link_has_it_between_inject_and_revert_and_no_other_link(
    stack: ProcessStack, fault: OnLink, undo: Undo
) -> None:
    assert not fault.witness(stack, undo).holds
    fault.revert(stack, undo)  # of what was never injected
    fault.inject(stack, undo)
    seen = fault.witness(stack, undo)
    assert seen.holds, seen.detail
    assert not replace(fault, link=OTHER[fault.link]).witness(stack, undo).holds
    for _ in range(2):
        fault.revert(stack, undo)
        after = fault.witness(stack, undo)
        assert not after.holds, after.detail


@pytest.mark.parametrize("fault", [f for f in FAULTS if f.link == "east"], indirect=True, ids=lambda fault: fault.name)
def test_who_puts_the_link_right_ends_the_fault(stack: ProcessStack, fault: OnLink, undo: Undo) -> None:
    """The witness looks at the link, not at what was done."""
    fault.inject(stack, undo)
    httpx.post(f"http://{stack.host('toxiproxy-east')}:8474/reset").raise_for_status()
    assert not fault.witness(stack, undo).holds


def test_a_server_that_is_silent_is_no_fault_of_the_link(stack: ProcessStack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toxics, "SILENCE_S", 0.5)
    stack.signal("provider-east", signal.SIGSTOP)
    try:
        seen = Timeout("east").witness(stack, {})
        assert not seen.holds
        assert seen.detail.count("silent") == 2
    finally:
        stack.signal("provider-east", signal.SIGCONT)


def test_another_process_reverts_half_an_injection_from_the_journal_alone(
    stack: ProcessStack, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The injector dies as soon as the link is bad."""

    def dies(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(toxics, "wait_until", dies)
    before = links(stack)
    for fault in OF_EACH_KIND:
        undo = fault.prepare(stack)
        run = write_journal(tmp_path_factory.mktemp("run"), stack, (fault, undo))  # type: ignore[arg-type]
        with pytest.raises(KeyboardInterrupt):
            fault.inject(stack, undo)
        assert links(stack) != before
        assert fault.witness(stack, undo).holds
        for _ in range(2):
            status, lines, errors = heal(run)
            assert (status, errors, lines[0].split(" (")[0]) == (0, "", f"{fault.name}: reverted")
        assert links(stack) == before


def test_a_link_that_is_down_as_it_is_cannot_be_broken(stack: ProcessStack) -> None:
    down = Down("db")
    undo = down.prepare(stack)
    try:
        down.inject(stack, undo)
        with pytest.raises(LabError, match="toxiproxy has no link db that is up"):
            Latency("db", 100).prepare(stack)
    finally:
        down.revert(stack, undo)
