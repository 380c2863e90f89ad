"""The faults of faults/dns.py on the sandbox's own name servers."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from faults import dns
from faults.dns import CACHES, NameServerDown, StaleCache, WrongRecord
from runlab.model import Fault, LabError, Undo
from runlab.stack.namespaces import sandbox_obstacle
from runlab.stack.processes import ProcessStack
from runlab.waiting import wait_until
from tests.e2e import fault_stacks
from tests.e2e.test_faults import heal, write_journal

SERVICES = {"dns", "dns-2", "public-dns", "cache-a", "cache-b", "toxiproxy", "postgres"}
INTERNAL, PUBLIC = "db.platform.internal", "east.provider.example"
ZONES = ("zone-a", "zone-b")
OPTIONS = "options timeout:1 attempts:2\n"
OBSTACLE = sandbox_obstacle()
FAULTS = [
    NameServerDown(),
    NameServerDown(how="hung"),
    NameServerDown("cache-a"),
    NameServerDown("cache-b", how="hung"),
    WrongRecord(INTERNAL),
    WrongRecord(PUBLIC, leads_to="provider-west"),
    WrongRecord(PUBLIC, server="public-dns"),
    StaleCache(INTERNAL),
    StaleCache(PUBLIC, leads_to="provider-west"),
]
NO_ADDRESS = 2  # as getent ends
CONNECT = "import socket, sys; socket.create_connection((sys.argv[1], 5432)).recv(1)"

pytestmark = pytest.mark.skipif(OBSTACLE is not None, reason=OBSTACLE or "")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessStack]:
    """The name servers, and somebody who can have a connection."""
    yield from fault_stacks.start(tmp_path_factory.mktemp("reports"), *SERVICES, runtime="sandbox")


@pytest.fixture
def undo(stack: ProcessStack, fault: Fault) -> Iterator[Undo]:
    """The fault's undo, as the journal gives it back; reverted whatever the test does. All is then as new."""
    before = state(stack)
    made = json.loads(json.dumps(fault.prepare(stack)))
    assert state(stack) == before, "preparing changes nothing"
    yield made
    fault.revert(stack, made)
    assert state(stack) == before
    stack.check()


def state(stack: ProcessStack) -> list[object]:
    """What is recorded, and what each zone gets for it."""
    records = [sorted((stack.data_folder(server) / "records").read_text().split()) for server in ("dns", "public-dns")]
    return [*records, *(resolve(stack, name, zone) for name in (INTERNAL, PUBLIC) for zone in ("zone-a", "zone-b"))]


def resolve(stack: ProcessStack, name: str, zone: str) -> str:
    """The address that a program in the zone gets; "" for none."""
    done = stack.execute(["getent", "ahostsv4", name], account="service", on=zone)
    assert done.status in (0, NO_ADDRESS), done.stderr
    return done.stdout.partition(" ")[0]


def stands(stack: ProcessStack, address: str) -> bool:
    """Whether somebody in zone-a has a connection to this address."""
    return bool(
        stack.execute(["ss", "-Htn", "state", "established", "dst", address], account="root", on="zone-a").stdout
    )


def is_of(fault: Fault) -> str:
    return fault.name


@pytest.mark.parametrize("fault", FAULTS, ids=is_of)
def test_it_is_in_effect_between_inject_and_revert(stack: ProcessStack, fault: Fault, undo: Undo) -> None:
    assert not fault.witness(stack, undo).holds
    fault.revert(stack, undo)  # of what was never injected
    fault.inject(stack, undo)
    seen = fault.witness(stack, undo)
    assert seen.holds, seen.detail
    for _ in range(2):
        fault.revert(stack, undo)
        after = fault.witness(stack, undo)
        assert not after.holds, after.detail


@pytest.mark.parametrize("fault", FAULTS, ids=is_of)
def test_another_process_reverts_half_an_injection_from_the_journal_alone(
    stack: ProcessStack, fault: Fault, undo: Undo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(dns, "wait_until", dies)
    with pytest.raises(KeyboardInterrupt):
        fault.inject(stack, undo)
    run = write_journal(tmp_path, stack, (fault, undo))
    for _ in range(2):
        status, _, errors = heal(run)
        assert (status, errors) == (0, "")
    after = fault.witness(stack, undo)
    assert not after.holds, after.detail


@pytest.mark.parametrize("fault", FAULTS[4:], ids=is_of)
def test_half_of_a_wrong_record_is_put_right(
    stack: ProcessStack, fault: Fault, undo: Undo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record is written, and nobody has read it yet."""

    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(dns, "_signal", dies)
        with pytest.raises(KeyboardInterrupt):
            fault.inject(stack, undo)
    fault.revert(stack, undo)
    assert not fault.witness(stack, undo).holds


@pytest.mark.parametrize("fault", FAULTS[4:], ids=is_of)
def test_a_program_is_led_to_the_wrong_address(
    stack: ProcessStack, fault: WrongRecord | StaleCache, undo: Undo
) -> None:
    fault.inject(stack, undo)
    assert {resolve(stack, fault.hostname, zone) for zone in ("zone-a", "zone-b")} == {undo["wrong"]}
    assert fault.witness(stack, undo).truth == {"address": [undo["wrong"]]}


@pytest.mark.parametrize("fault", FAULTS[:4], ids=is_of)
def test_a_program_gets_no_address(stack: ProcessStack, fault: NameServerDown, undo: Undo) -> None:
    fault.inject(stack, undo)
    found = {zone: resolve(stack, INTERNAL, zone) for zone in ("zone-a", "zone-b")}
    affected = {"cache-a": ["zone-a"], "cache-b": ["zone-b"]}.get(fault.service, ["zone-a", "zone-b"])
    assert [zone for zone, address in found.items() if not address] == affected
    assert INTERNAL in fault.witness(stack, undo).truth["unresolved"]


@pytest.mark.parametrize("fault", [StaleCache(INTERNAL), WrongRecord(INTERNAL)], ids=is_of)
def test_emptying_the_caches_helps_where_the_record_is_right(
    stack: ProcessStack, fault: WrongRecord | StaleCache, undo: Undo
) -> None:
    fault.inject(stack, undo)
    empty_caches(stack)
    assert fault.witness(stack, undo).holds == isinstance(fault, WrongRecord)


def test_emptying_the_caches_while_the_server_is_silent_takes_away_what_they_still_knew(stack: ProcessStack) -> None:
    known = {(name, zone): resolve(stack, name, zone) for name in (INTERNAL, PUBLIC) for zone in ZONES}
    stack.signal("dns", signal.SIGSTOP)
    try:
        assert all(known.values())
        assert {asked: resolve(stack, *asked) for asked in known} == known
        empty_caches(stack)
        assert not any(resolve(stack, *asked) for asked in known)
    finally:
        stack.signal("dns", signal.SIGCONT)


def test_a_zone_that_went_over_to_another_server_asks_its_own_again_after_a_reset(stack: ProcessStack) -> None:
    def asks(zone: str) -> str:
        return stack.execute(["cat", "/etc/resolv.conf"], account="operator", on=zone).stdout

    before = {zone: asks(zone) for zone in ZONES}
    assert all(stack.inside(cache) in before[zone] for cache, zone in CACHES.items())
    argv = ["cp", "/run/resolv.conf.backup", "/etc/resolv.conf"]
    assert stack.execute(argv, account="root", on="zone-a").status == 0
    assert (asks("zone-a"), asks("zone-b")) == (f"nameserver {stack.inside('public-dns')}\n{OPTIONS}", before["zone-b"])
    assert (resolve(stack, INTERNAL, "zone-a"), bool(resolve(stack, PUBLIC, "zone-a"))) == ("", True)
    stack.reset()
    assert {zone: asks(zone) for zone in ZONES} == before
    assert resolve(stack, INTERNAL, "zone-a") == stack.inside("db")


def test_the_second_name_server_knows_what_the_first_one_does(stack: ProcessStack) -> None:
    right = {name: resolve(stack, name, "zone-a") for name in (INTERNAL, PUBLIC)}
    stack.signal("dns", signal.SIGSTOP)
    try:
        empty_caches(stack)
        argv = ["cp", "/run/resolv.conf.second", "/etc/resolv.conf"]
        assert stack.execute(argv, account="root", on="zone-a").status == 0
        assert {name: resolve(stack, name, "zone-a") for name in right} == right
    finally:
        stack.signal("dns", signal.SIGCONT)
        stack.reset()


@pytest.mark.parametrize("fault", [WrongRecord(INTERNAL), WrongRecord(PUBLIC)], ids=is_of)
def test_the_records_as_they_are_kept_put_a_wrong_one_right(
    stack: ProcessStack, fault: WrongRecord, undo: Undo
) -> None:
    fault.inject(stack, undo)
    argv = ["dd", "if=/run/dns/records.kept", "of=/run/dns/records", "status=none"]
    assert stack.execute(argv, account="service", on="control").status == 0
    read_again(stack, "control")
    assert fault.witness(stack, undo).holds, "the caches believe it still"
    empty_caches(stack)
    assert not fault.witness(stack, undo).holds


def empty_caches(stack: ProcessStack) -> None:
    """As the person on call has it done."""
    for zone in ZONES:
        read_again(stack, zone)


def read_again(stack: ProcessStack, machine: str) -> None:
    """Have the name server there forget what it has from others, and read again what it keeps itself."""
    argv = ["pkill", "--signal", "HUP", "--pidfile", "/run/dnsmasq.pid"]
    assert stack.execute(argv, account="root", on=machine).status == 0


@pytest.mark.parametrize("fault", [WrongRecord(INTERNAL), NameServerDown(how="hung")], ids=is_of)
@pytest.mark.parametrize("connections", ["ended", "kept"])
def test_connections_that_stand_are_ended_or_kept(
    stack: ProcessStack, fault: WrongRecord | NameServerDown, undo: Undo, connections: str
) -> None:
    address = stack.inside("db")
    stack.hold("connection", ["python", "-c", CONNECT, address], on="zone-a")
    try:
        wait_until("a connection", lambda: stands(stack, address), deadline_s=10.0)
        replace(fault, connections=connections).inject(stack, undo)
        assert stands(stack, address) == (connections == "kept")
    finally:
        stack.release("connection")


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (WrongRecord("nobody.platform.internal"), "knows no address"),
        (WrongRecord(INTERNAL, leads_to="db"), "as it is"),
    ],
)
def test_what_can_not_be_broken_is_refused(stack: ProcessStack, fault: WrongRecord, words: str) -> None:
    with pytest.raises(LabError, match=words):
        fault.prepare(stack)
