"""faults.packet_filter on a chain of words; what a real one does is in tests/e2e."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import cast

import pytest

import faults.packet_filter
from faults.packet_filter import Dropped, HostUnreachable, Rejected
from runlab.journal import load_fault
from runlab.model import CommandResult, LabError, Stack

OTHER = "FORWARD -i users -o edge -p tcp --dport 22 -m comment --comment change-0000 -j DROP"
Kind = type[Dropped | HostUnreachable | Rejected]


class Router:
    """The chain FORWARD, each rule with the packets that it has met."""

    def __init__(self) -> None:
        self.chain: list[tuple[str, int]] = [(OTHER, 7)]
        self.meets = 3
        self.ended: list[tuple[str, ...]] = []
        self.broken = ""

    def execute(self, argv: Sequence[str], *, account: str, on: str) -> CommandResult:
        assert account == "root"
        said, error = "", ""
        match list(argv):
            case ["ip", *_, machine]:
                known = {"zone-a": "10.20.1.1/24", "data": "10.20.3.1/24"}
                said = f"{machine}@if2 UP {known[machine]} \n" if machine in known else ""
                error = "" if said else f'Device "{machine}" does not exist.\n'
            case ["iptables", "-w", *_] if self.broken:
                error = self.broken
            case ["iptables", "-w", "-v", "-S", "FORWARD"]:
                lines = [f"-A {rule.replace(' -j', f' -c {met} 180 -j')}" for rule, met in self.chain]
                said = "\n".join(("-P FORWARD ACCEPT -c 12 720", *lines))
            case ["iptables", "-w", "-I", "FORWARD", "1", *rule]:
                self.chain.insert(0, (f"FORWARD {shlex.join(rule)}", self.meets))
            case ["iptables", "-w", "-D", *rule]:
                self.chain.remove(next(it for it in self.chain if it[0] == shlex.join(rule)))
            case ["ss", "-K", *which]:
                self.ended.append((on, *which))
            case _:
                raise AssertionError(argv)
        return CommandResult(tuple(argv), 1 if error else 0, said, error, 0.0)

    @property
    def rules(self) -> list[str]:
        return [rule for rule, _ in self.chain]


@pytest.fixture
def router(monkeypatch: pytest.MonkeyPatch) -> Router:
    monkeypatch.setattr(faults.packet_filter, "_BITES_WITHIN_S", 0.02)
    return Router()


@pytest.mark.parametrize(
    ("kind", "verdict"),
    [
        (Dropped, "-j DROP"),
        (Rejected, "-j REJECT --reject-with icmp-port-unreachable"),
        (HostUnreachable, "-j REJECT --reject-with icmp-host-unreachable"),
    ],
)
def test_the_rule_comes_first_and_goes_alone(router: Router, kind: Kind, verdict: str) -> None:
    stack, fault = cast("Stack", router), kind("zone-a", "data", 5432)
    undo = fault.prepare(stack)
    assert router.rules == [OTHER]
    fault.inject(stack, undo)
    rule = f"FORWARD -i zone-a -o data -p tcp --dport 5432 -m comment --comment {undo['comment']} {verdict}"
    assert router.rules == [rule, OTHER]
    seen = fault.witness(stack, undo)
    assert (seen.holds, seen.truth, seen.innocents) == (
        True,
        {"rule": [rule], "hop": ["10.20.1.1"]},
        {"rule": [OTHER]},
    )
    for _ in range(2):
        fault.revert(stack, undo)
        assert router.rules == [OTHER]
    after = fault.witness(stack, undo)
    assert (after.holds, after.truth, after.innocents) == (False, {"rule": [], "hop": []}, {"rule": [OTHER]})


def test_without_a_port_it_is_all_traffic(router: Router) -> None:
    stack, fault = cast("Stack", router), Dropped("zone-a", "data")
    undo = fault.prepare(stack)
    fault.inject(stack, undo)
    assert router.rules[0] == f"FORWARD -i zone-a -o data -m comment --comment {undo['comment']} -j DROP"
    assert router.ended == [("zone-a", "-Htn", "dst", "10.20.3.0/24")]


def test_only_connections_to_that_port_are_ended(router: Router) -> None:
    stack, fault = cast("Stack", router), Dropped("zone-a", "data", 5432)
    fault.inject(stack, fault.prepare(stack))
    assert router.ended == [("zone-a", "-Htn", "dst", "10.20.3.0/24", "dport", "=", ":5432")]


def test_a_rule_that_nobody_meets_is_not_in_effect(router: Router) -> None:
    stack, fault = cast("Stack", router), Dropped("zone-a", "data")
    router.meets = 0
    undo = fault.prepare(stack)
    fault.inject(stack, undo)
    seen = fault.witness(stack, undo)
    assert (seen.holds, seen.detail, len(seen.truth["rule"])) == (False, "the rule has met 0 packets", 1)


def test_two_faults_take_each_their_own_back(router: Router) -> None:
    stack, first, second = cast("Stack", router), Dropped("zone-a", "data"), Rejected("zone-a", "data")
    undos = first.prepare(stack), second.prepare(stack)
    first.inject(stack, undos[0])
    second.inject(stack, undos[1])
    assert len(second.witness(stack, undos[1]).innocents["rule"]) == 2
    first.revert(stack, undos[0])
    assert not first.witness(stack, undos[0]).holds
    assert second.witness(stack, undos[1]).holds


def test_errors_are_one_line(router: Router) -> None:
    stack = cast("Stack", router)
    with pytest.raises(LabError, match=r"no machine 'zone-c': Device \"zone-c\" does not exist.; see `network`"):
        Dropped("zone-c", "data").prepare(stack)
    for port in (-1, 65536):
        with pytest.raises(LabError, match=f"no such port: {port}"):
            Dropped("zone-a", "data", port)
    fault = Dropped("zone-a", "data")
    undo = fault.prepare(stack)
    router.broken = "iptables: one\niptables: Permission denied.\n"
    with pytest.raises(LabError) as caught:
        fault.inject(stack, undo)
    assert str(caught.value) == "iptables on the router: iptables: Permission denied."


def test_it_is_the_same_fault_when_it_comes_from_the_journal() -> None:
    fault = HostUnreachable("zone-a", "data", 5432)
    assert load_fault(fault.as_data()) == fault
