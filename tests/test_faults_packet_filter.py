"""faults.packet_filter on a chain of words; what a real one does is in tests/e2e."""

from __future__ import annotations

import json
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
TOLD = {Dropped: "silent", Rejected: "ECONNREFUSED", HostUnreachable: "EHOSTUNREACH"}
LISTENING = (
    "LISTEN 0 4096 10.20.3.10:5432 0.0.0.0:*",
    "LISTEN 0 4096 10.20.3.11:8474 0.0.0.0:*",
    "LISTEN 0 128 127.0.0.1:9999 0.0.0.0:*",
    "LISTEN 0 128 [::1]:9999 [::]:*",
)


class Router:
    """The chain FORWARD, each rule with the packets that it has met; who listens behind it, and what they are told who
    connect, by their machine."""

    def __init__(self) -> None:
        self.listening = LISTENING
        self.told: dict[str, str] = {}
        self.asked: set[tuple[str, int]] = set()
        self.chain: list[tuple[str, int]] = [(OTHER, 7)]
        self.meets = 3
        self.ended: list[tuple[str, ...]] = []
        self.broken = ""

    def execute(self, argv: Sequence[str], *, account: str, on: str) -> CommandResult:
        assert account == ("service" if argv[0] == "python" else "root")
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
            case ["ss", "-Htln", *which]:
                at = which[2] if which else ""
                said = "\n".join(line for line in self.listening if line.split()[3].endswith(at))
            case ["hostname", "-I"]:
                said = "10.20.3.9 10.20.3.10 \n"
            case ["python", "-c", _, settings]:
                asked = json.loads(settings)
                self.asked.add((asked["host"], asked["port"]))
                said = json.dumps({"end": self.told.get(on, "answered")})
                error = "" if self.told.get(on, "answered") else "python: not found"
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
    router.told = {"zone-a": TOLD[kind]}
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


@pytest.mark.parametrize("kind", TOLD)
@pytest.mark.parametrize("told", ["answered", "ECONNREFUSED", "EHOSTUNREACH", "silent"])
def test_who_connects_is_told_what_this_rule_tells_and_no_other(router: Router, kind: Kind, told: str) -> None:
    stack, fault = cast("Stack", router), kind("zone-a", "data")
    undo = fault.prepare(stack)
    fault.inject(stack, undo)
    router.told = {"zone-a": told}
    seen = fault.witness(stack, undo)
    assert seen.holds == (told == TOLD[kind])
    said = told.replace("answered", "connected")
    assert (
        seen.detail == f"the rule has met 3 packets; who connects is told from zone-a: {said}, from control: connected"
    )
    router.told["control"] = told
    assert not fault.witness(stack, undo).holds, "the server is gone, for all alike"


@pytest.mark.parametrize(
    ("listening", "port", "asked"),
    [
        (LISTENING, 0, ("10.20.3.11", 8474)),
        (LISTENING, 5432, ("10.20.3.10", 5432)),
        (("LISTEN 0 5 *:8999 *:*",), 8999, ("10.20.3.9", 8999)),
        (("LISTEN 0 5 0.0.0.0:8999 0.0.0.0:*",), 0, ("10.20.3.9", 8999)),
        (("LISTEN 0 5 [::]:8999 [::]:*",), 0, ("10.20.3.9", 8999)),
    ],
)
def test_the_witness_connects_where_somebody_listens(
    router: Router, listening: tuple[str, ...], port: int, asked: tuple[str, int]
) -> None:
    stack, fault = cast("Stack", router), Dropped("zone-a", "data", port)
    router.listening = listening
    undo = fault.prepare(stack)
    fault.inject(stack, undo)
    assert not router.asked, "a packet of the witness's own is none that the rule has met"
    fault.witness(stack, undo)
    assert router.asked == {asked}


def test_a_machine_on_which_nobody_listens_is_refused(router: Router) -> None:
    for port, where in ((6379, "at port 6379"), (9999, "at port 9999")):
        with pytest.raises(LabError, match=f"nobody on data listens {where}"):
            Dropped("zone-a", "data", port).prepare(cast("Stack", router))
    router.listening = ()
    with pytest.raises(LabError, match="nobody on data listens at any port"):
        Dropped("zone-a", "data").prepare(cast("Stack", router))


def test_two_faults_take_each_their_own_back(router: Router) -> None:
    stack, first, second = cast("Stack", router), Dropped("zone-a", "data"), Rejected("zone-a", "data")
    undos = first.prepare(stack), second.prepare(stack)
    router.told = {"zone-a": "ECONNREFUSED"}
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


def test_a_witness_that_can_not_connect_says_so(router: Router) -> None:
    stack, fault = cast("Stack", router), Dropped("zone-a", "data")
    undo = fault.prepare(stack)
    fault.inject(stack, undo)
    router.told = {"zone-a": ""}
    with pytest.raises(LabError, match="nobody can connect from zone-a: python: not found"):
        fault.witness(stack, undo)


def test_it_is_the_same_fault_when_it_comes_from_the_journal() -> None:
    fault = HostUnreachable("zone-a", "data", 5432)
    assert load_fault(fault.as_data()) == fault
