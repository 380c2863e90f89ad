"""faults.zones on a router of words; what a real one does is in tests/e2e."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import cast

import pytest

from faults.zones import RegionLost, ZoneCutOff, ZonesCutFromDatabase
from runlab.journal import load_fault
from runlab.model import CommandResult, Fault, LabError, Stack, Undo

SUBNETS = {"zone-a": 1, "zone-b": 2, "data": 3, "control": 0, "operator": 5, "provider-east": 6}
ADDRESSES = {f"10.20.{number}.2": machine for machine, number in SUBNETS.items()}


class Network:
    """Machines, the router's rules by preference, and between whom no echo comes back."""

    def __init__(self) -> None:
        self.rules: list[str] = []
        self.broken: set[tuple[str, str]] = set()
        self.ended: list[tuple[str, str]] = []
        self.fails_at = -1

    def execute(self, argv: Sequence[str], *, account: str, on: str) -> CommandResult:
        assert account == "root"
        said, status = "", 0
        match list(argv):
            case ["ip", "-4", *_, machine]:
                number = SUBNETS.get(on if machine == "eth0" else machine)
                host = 2 if machine == "eth0" else 1
                said, status = ("", 1) if number is None else (f"{machine}@if2 UP 10.20.{number}.{host}/24", 0)
            case ["ip", "rule", "add", "preference", preference, *rule] if on == "router":
                if len(self.rules) == self.fails_at:
                    return CommandResult(tuple(argv), 2, "", "Usage: ip rule\nRTNETLINK answers: No\n", 0.0)
                self.rules.append(f"{preference}: {' '.join(rule)}")
            case ["ip", "rule", "list", "preference", preference] if on == "router":
                said = "".join(f"{rule}\n" for rule in self.rules if rule.startswith(f"{preference}:"))
            case ["ip", "rule", "delete", "preference", preference] if on == "router":
                self.rules.remove(next(rule for rule in self.rules if rule.startswith(f"{preference}:")))
            case ["ss", "-K", "-Htn", "state", "connected", *which]:
                self.ended.append((on, " ".join(which)))
            case ["ping", *_, address]:
                status = int((on, ADDRESSES[address]) in self.broken)
            case _:
                raise AssertionError(argv)
        return CommandResult(tuple(argv), status, said, "no such device\n" if status else "", 0.0)


@pytest.fixture
def network() -> Network:
    return Network()


def in_effect(network: Network, fault: Fault) -> Undo:
    stack = cast("Stack", network)
    undo = fault.prepare(stack)
    fault.inject(stack, undo)
    return undo


@pytest.mark.parametrize(
    ("fault", "rules", "ended"),
    [
        (
            ZoneCutOff("zone-a"),
            ["iif zone-a type blackhole", "to 10.20.1.0/24 type blackhole"],
            [("zone-a", "not dst 10.20.1.0/24")],
        ),
        (
            RegionLost("east", silent=False),
            ["iif provider-east type unreachable", "to 10.20.6.0/24 type unreachable"],
            [("provider-east", "not dst 10.20.6.0/24")],
        ),
        (
            ZonesCutFromDatabase(("zone-b",)),
            ["iif zone-b to 10.20.3.0/24 type blackhole", "iif data to 10.20.2.0/24 type blackhole"],
            [("zone-b", "dst 10.20.3.0/24")],
        ),
    ],
    ids=lambda it: it.name if isinstance(it, Fault) else "",
)
def test_both_directions_are_cut_and_all_is_taken_back_once(
    network: Network, fault: Fault, rules: list[str], ended: list[tuple[str, str]]
) -> None:
    network.rules.append("99: of somebody else")
    undo = in_effect(network, fault)
    assert network.rules[1:] == [f"{undo['preference']}: {rule}" for rule in rules]
    for _ in range(2):
        fault.revert(cast("Stack", network), undo)
    assert network.rules == ["99: of somebody else"]
    assert network.ended == ended


def test_what_was_never_injected_ends_no_connection(network: Network) -> None:
    fault = ZoneCutOff("zone-a")
    fault.revert(cast("Stack", network), fault.prepare(cast("Stack", network)))
    assert network.ended == []


def test_half_of_an_injection_is_undone(network: Network) -> None:
    fault = ZonesCutFromDatabase()
    undo = fault.prepare(cast("Stack", network))
    network.fails_at = 3
    with pytest.raises(LabError) as caught:
        fault.inject(cast("Stack", network), undo)
    assert str(caught.value) == "ip on router: RTNETLINK answers: No"
    assert len(network.rules) == 3
    fault.revert(cast("Stack", network), undo)
    assert network.rules == []


@pytest.mark.parametrize(
    ("fault", "broken", "holds"),
    [
        (ZoneCutOff("zone-a"), {("operator", "zone-a")}, True),
        (ZoneCutOff("zone-a"), set(), False),
        (ZoneCutOff("zone-a"), {("operator", "zone-a"), ("operator", "control")}, False),
        (RegionLost(), {("operator", "provider-east")}, True),
        (ZonesCutFromDatabase(), {("zone-a", "data"), ("zone-b", "data")}, True),
        (ZonesCutFromDatabase(), {("zone-a", "data")}, False),
        (ZonesCutFromDatabase(), {("zone-a", "data"), ("zone-b", "data"), ("control", "data")}, False),
        (ZonesCutFromDatabase(), {("zone-a", "data"), ("zone-b", "data"), ("control", "zone-b")}, False),
    ],
)
def test_the_witness_wants_all_of_it_cut_and_nothing_beside_it(
    network: Network, fault: Fault, broken: set[tuple[str, str]], holds: bool
) -> None:
    undo = in_effect(network, fault)
    network.broken = broken
    seen = fault.witness(cast("Stack", network), undo)
    assert seen.holds is holds
    for source, target in broken:
        assert f"{source} does not reach {target}" in seen.detail


def test_it_is_the_same_fault_when_it_comes_from_the_journal() -> None:
    for fault in (ZonesCutFromDatabase(), ZonesCutFromDatabase(("zone-a",), silent=False), RegionLost("west")):
        assert load_fault(json.loads(json.dumps(fault.as_data()))) == fault


def test_no_machine_and_no_zone_are_clear_errors(network: Network) -> None:
    with pytest.raises(LabError, match="the router knows no machine 'zone-c'"):
        ZoneCutOff("zone-c").prepare(cast("Stack", network))
    with pytest.raises(LabError, match="no zone is named"):
        ZonesCutFromDatabase(())
