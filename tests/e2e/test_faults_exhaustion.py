"""The faults of faults/exhaustion.py in a real sandbox: something is used up for one, and there for all others."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

import pytest

from faults import exhaustion, links
from faults.exhaustion import BandwidthUsedUp, LocalPortsExhausted, NatExhausted, PoolExhausted
from runlab import databases
from runlab.model import Fault, LabError, Undo
from runlab.stack.processes import ProcessStack
from tests.e2e import fault_stacks
from tests.e2e.test_faults import heal, write_journal

SERVICES = {"postgres", "migrate", "provider-east", "toxiproxy", "toxiproxy-east", "api1", "api2"}
OF_THE_NETWORK = [
    LocalPortsExhausted(),
    LocalPortsExhausted(link="db", ports=8),
    NatExhausted(),
    NatExhausted("zone-b", "db", ports=1),
    BandwidthUsedUp(),
    BandwidthUsedUp("zone-b", 2000),
]
FAULTS = [PoolExhausted(), *OF_THE_NETWORK]
STATE = [
    ("zone-a", "sysctl", "-n", "net.ipv4.ip_local_port_range"),
    ("zone-b", "sysctl", "-n", "net.ipv4.ip_local_port_range"),
    ("router", "iptables", "-t", "nat", "-S"),
    ("router", "tc", "qdisc", "show"),
]


@pytest.fixture(scope="module", params=["sandbox", "processes"])
def stack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessStack]:
    """The API and what it asks, without its users."""
    yield from fault_stacks.start(tmp_path_factory.mktemp("reports"), *SERVICES, runtime=request.param)


def is_of(fault: Fault) -> str:
    return fault.name


@pytest.fixture
def undo(stack: ProcessStack, fault: Fault) -> Iterator[Undo]:
    """The fault's undo, as the journal gives it back; reverted whatever the test does. All is then as new."""
    fault_stacks.need(stack, fault)
    before = network(stack)
    made = json.loads(json.dumps(fault.prepare(stack)))
    assert network(stack) == before, "preparing changes nothing"
    yield made
    fault.revert(stack, made)
    assert network(stack) == before


def network(stack: ProcessStack) -> list[str]:
    """Every setting that a fault changes; nothing where there is no sandbox."""
    if stack.runtime != "sandbox":
        return []
    return [stack.execute(argv, account="root", on=machine).stdout for machine, *argv in STATE]


@pytest.mark.parametrize("fault", FAULTS, ids=is_of)
def test_it_is_used_up_between_inject_and_revert(stack: ProcessStack, fault: Fault, undo: Undo) -> None:
    assert not fault.witness(stack, undo).holds
    fault.revert(stack, undo)  # of what was never injected
    fault.inject(stack, undo)
    seen = fault.witness(stack, undo)
    assert seen.holds, seen.detail
    for _ in range(2):
        fault.revert(stack, undo)
        after = fault.witness(stack, undo)
        assert not after.holds, after.detail


@pytest.mark.parametrize("fault", OF_THE_NETWORK[:4], ids=is_of)
def test_another_machine_and_another_server_have_enough(
    stack: ProcessStack, fault: LocalPortsExhausted | NatExhausted, undo: Undo
) -> None:
    other = {"zone-a": "zone-b", "zone-b": "zone-a"}
    fault.inject(stack, undo)
    assert not replace(fault, machine=other[fault.machine]).witness(stack, undo).holds
    elsewhere = links.find({"db": "east", "east": "db"}[fault.link])
    assert links.examine(stack, elsewhere, on=fault.machine).end == "answered"


@pytest.mark.parametrize("fault", FAULTS, ids=is_of)
def test_another_process_reverts_half_an_injection_from_the_journal_alone(
    stack: ProcessStack,
    fault: Fault,
    undo: Undo,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The injector dies as soon as it would wait for the effect."""

    def dies(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    run = write_journal(tmp_path_factory.mktemp("run"), stack, (fault, undo))  # type: ignore[arg-type]
    monkeypatch.setattr(exhaustion, "wait_until", dies)
    before = network(stack)
    with pytest.raises(KeyboardInterrupt):
        fault.inject(stack, undo)
    assert isinstance(fault, PoolExhausted) or network(stack) != before
    for _ in range(2):
        status, lines, errors = heal(run)
        assert (status, errors, lines[0].split(" (")[0]) == (0, "", f"{fault.name}: reverted")
    assert network(stack) == before


# ---------------------------------------------------------------------------------------------------- the pool


@pytest.mark.parametrize("fault", [PoolExhausted()], ids=is_of)
def test_who_ends_the_batch_job_frees_the_pool(stack: ProcessStack, fault: Fault, undo: Undo) -> None:
    fault.inject(stack, undo)
    seen = fault.witness(stack, undo)
    (pid,) = seen.truth["pid"]
    assert pid not in seen.innocents["pid"]
    assert "api1 says nothing, api2 says nothing; 20 of the API's sessions wait for a lock" in seen.detail
    with databases.connect(stack) as connection:
        connection.execute("SELECT pg_terminate_backend(%s, 2000)", (pid,))
    assert not fault.witness(stack, undo).holds


@pytest.mark.parametrize("fault", [PoolExhausted(requests=2)], ids=is_of)
def test_a_pool_with_connections_left_is_not_exhausted(
    stack: ProcessStack, fault: Fault, undo: Undo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those who wait for the lock are there, but they do not keep anybody else from the database."""
    monkeypatch.setattr(exhaustion, "USED_UP_WITHIN_S", 2.0)
    with pytest.raises(TimeoutError, match="PoolExhausted"):
        fault.inject(stack, undo)
    seen = fault.witness(stack, undo)
    assert "api1 says 200, api2 says 200; 4 of the API's sessions wait" in seen.detail
    assert not seen.holds


# ------------------------------------------------------------------------------------------------- the network


@pytest.mark.parametrize("fault", OF_THE_NETWORK, ids=is_of)
def test_who_ends_the_program_that_uses_it_up_ends_the_fault(stack: ProcessStack, fault: Fault, undo: Undo) -> None:
    fault.inject(stack, undo)
    seen = fault.witness(stack, undo)
    (pid,) = seen.truth["pid"]
    assert pid not in seen.innocents["pid"]
    assert stack.execute(["kill", str(pid)], account="service").status == 0
    exhaustion.wait_until("the end of it", lambda: not fault.witness(stack, undo).holds, deadline_s=20)


@pytest.mark.parametrize("fault", [LocalPortsExhausted(ports=3)], ids=is_of)
def test_the_range_is_told_as_the_kernel_has_it(stack: ProcessStack, fault: Fault, undo: Undo) -> None:
    fault.inject(stack, undo)
    assert fault.witness(stack, undo).truth["range"] == ["61000\t61002"]
    told = stack.execute(["cat", "/proc/sys/net/ipv4/ip_local_port_range"], account="service", on="zone-a").stdout
    assert told.strip() == "61000\t61002"


@pytest.mark.parametrize("fault", [NatExhausted()], ids=is_of)
def test_who_takes_the_rule_away_ends_the_fault(stack: ProcessStack, fault: Fault, undo: Undo) -> None:
    fault.inject(stack, undo)
    (rule,) = fault.witness(stack, undo).truth["rule"]
    assert rule in stack.execute(STATE[2][1:], account="root", on="router").stdout
    stack.execute(["iptables", "-t", "nat", "-F"], account="root", on="router")
    seen = fault.witness(stack, undo)
    assert (seen.holds, seen.truth["rule"]) == (False, [])


@pytest.mark.parametrize("fault", [BandwidthUsedUp()], ids=is_of)
def test_a_narrow_line_that_nobody_else_uses_is_not_used_up(stack: ProcessStack, fault: Fault, undo: Undo) -> None:
    fault.inject(stack, undo)
    with pytest.raises(LabError, match="the line to zone-a is narrow as it is"):
        fault.prepare(stack)
    stack.release(str(undo["fetches"]))
    assert not fault.witness(stack, undo).holds


@pytest.mark.parametrize("fault", [NatExhausted("provider-east"), NatExhausted("nowhere")], ids=is_of)
def test_a_machine_that_has_no_such_way_is_refused(stack: ProcessStack, fault: Fault) -> None:
    fault_stacks.need(stack, fault)
    with pytest.raises(LabError, match=r"is on provider-east itself|knows no machine 'nowhere'"):
        fault.prepare(stack)
