"""A rule of the packet filter between two machines that holds back what should pass: a Security Group gone wrong.

The filter is that of the sandbox's router (iptables, chain FORWARD), and the rule is put before all others, as the
latest change. Connections that the rule forbids and that stand already are ended with it, as appliances do when a new
policy is pushed; a rule alone would let them hang for minutes, since a filter can't tell their owners.

What the owner of a connection that is held back is told depends on the rule alone: nothing at all (`Dropped`), that
nobody listens (`Rejected`), or that there is no way (`HostUnreachable`).
"""

from __future__ import annotations

import ipaddress
import json
import re
import shlex
import uuid
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from faults import exchange, links
from faults.machines import interface, last_words, run
from runlab.model import CommandResult, Fault, Json, LabError, Observation, Stack, Undo
from runlab.stack.plan import ROUTER
from runlab.waiting import DeadlineError, wait_until

_BITES_WITHIN_S = 5.0
_SILENCE_S: Final = 0.5
"""So long without a word of the connection is silence; the router and a server that works answer within some ms."""
_BESIDE: Final = ("control", "operator", "users")
"""Machines from which the witness connects as well, to see that the server itself is there."""
_COUNTED = re.compile(r" -c (\d+) \d+")


@dataclass(frozen=True)
class _Rule(Fault):
    """`port` 0 is all traffic from `source` to `target`, both machines; else TCP to that port alone."""

    source: str
    target: str
    port: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.port < 65536:
            raise LabError(f"no such port: {self.port}", mend="write a port, or 0 for all")

    @property
    @abstractmethod
    def verdict(self) -> Sequence[str]:
        """What iptables is to do with a packet that matches."""

    @property
    @abstractmethod
    def told(self) -> str:
        """What whoever connects is told then: an errno's name, or "silent"."""

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"packet-filter"})

    def prepare(self, stack: Stack) -> Undo:
        """LabError when there is no such machine, or when nobody there listens to whom it would be forbidden."""
        return {
            "comment": f"change-{uuid.uuid4().hex[:8]}",
            "hop": str(interface(stack, self.source).ip),
            "target": str(interface(stack, self.target).network),
            "listener": [*_listener(stack, self.target, self.port)],
        }

    def inject(self, stack: Stack, undo: Undo) -> None:
        """Returns once the rule has met a packet, or after five seconds without any; then its witness sees nothing."""
        port = ["-p", "tcp", "--dport", str(self.port)] if self.port else []
        comment = ["-m", "comment", "--comment", str(undo["comment"])]
        _iptables(stack, "-I", "FORWARD", "1", "-i", self.source, "-o", self.target, *port, *comment, *self.verdict)
        _end_connections(stack, self.source, str(undo["target"]), self.port)
        try:
            wait_until("a packet", lambda: _met(_rules(stack, str(undo["comment"]))), deadline_s=_BITES_WITHIN_S)
        except DeadlineError:
            return

    def revert(self, stack: Stack, undo: Undo) -> None:
        for rule, _ in _rules(stack, str(undo["comment"])):
            _iptables(stack, "-D", *shlex.split(rule))

    def witness(self, stack: Stack, undo: Undo) -> Observation:
        """The kernel's own count of the packets that the rule has met, and what whoever connects is told.

        The source is told what this rule tells and no other does, and a machine beside it is not.
        """
        found = _rules(stack, str(undo["comment"]))
        met = _met(found)
        holds, detail = met > 0, f"the rule has met {met} packets" if found else "there is no such rule"
        if met:
            beside = next(machine for machine in _BESIDE if machine not in (self.source, self.target))
            here, there = (_connect(stack, machine, undo["listener"]) for machine in (self.source, beside))
            holds = here == self.told != there
            detail += f"; who connects is told from {self.source}: {here}, from {beside}: {there}"
        return Observation(
            holds=holds,
            by="the router's count of packets, and connections of the witness's own from that machine and another",
            detail=detail,
            truth={"rule": [rule for rule, _ in found], "hop": [undo["hop"]] if found else []},
            innocents={"rule": _others(stack, str(undo["comment"]))},
        )


@dataclass(frozen=True)
class Dropped(_Rule):
    """Packets vanish: whoever connects hears nothing, and gives up when its time is over."""

    @property
    def verdict(self) -> Sequence[str]:
        return ("-j", "DROP")

    @property
    def told(self) -> str:
        return "silent"


@dataclass(frozen=True)
class Rejected(_Rule):
    """Whoever connects is told at once that nobody listens at that port."""

    @property
    def verdict(self) -> Sequence[str]:
        return ("-j", "REJECT", "--reject-with", "icmp-port-unreachable")

    @property
    def told(self) -> str:
        return "ECONNREFUSED"


@dataclass(frozen=True)
class HostUnreachable(_Rule):
    """Whoever connects is told at once that there is no way to that host."""

    @property
    def verdict(self) -> Sequence[str]:
        return ("-j", "REJECT", "--reject-with", "icmp-host-unreachable")

    @property
    def told(self) -> str:
        return "EHOSTUNREACH"


def _listener(stack: Stack, machine: str, port: int) -> tuple[str, int]:
    """Where somebody on the machine listens whom others reach: at that port, or with 0 at the highest of all."""
    only = ["sport", "=", f":{port}"] if port else []
    lines = run(stack, machine, "ss", "-Htln", *only).stdout.splitlines()
    found = [line.split()[3].rpartition(":")[::2] for line in lines]
    reached = [(int(at), host) for host, at in found if not host.startswith(("127.", "[::1]"))]
    if not reached:
        where = f"at port {port}" if port else "at any port"
        raise LabError(f"nobody on {machine} listens {where}", mend="start who does, or name another machine or port")
    at, host = max(reached)
    if host == "*" or ipaddress.ip_address(host.strip("[]")).is_unspecified:
        host = run(stack, machine, "hostname", "-I").stdout.split()[0]
    return host, at


def _connect(stack: Stack, machine: str, listener: Json) -> str:
    """What a program on that machine is told that connects: "connected", "silent" or an errno's name."""
    assert isinstance(listener, list)
    host, port = str(listener[0]), int(str(listener[1]))
    settings = exchange.Settings(host=host, port=port, request="", least=0, limit_s=_SILENCE_S, closing=False, select=0)
    done = stack.execute(links.program(exchange.__file__, settings), account="service", on=machine)
    if done.status != 0:
        raise LabError(f"nobody can connect from {machine}: {last_words(done)}")
    end = str(json.loads(done.stdout)["end"])
    return "connected" if end == "answered" else end


def _end_connections(stack: Stack, source: str, target: str, port: int) -> None:
    """End what stands between the source and the target; their owners on the source learn of it at once."""
    only = ["dport", "=", f":{port}"] if port else []
    run(stack, source, "ss", "-K", "-Htn", "dst", target, *only)


def _rules(stack: Stack, comment: str) -> list[tuple[str, int]]:
    """The rules with this comment, as `iptables -S` prints them after -A, each with the packets that it has met."""
    return [(rule, met) for rule, met in _chain(stack) if f"--comment {comment} " in rule]


def _met(rules: Sequence[tuple[str, int]]) -> int:
    return sum(packets for _, packets in rules)


def _others(stack: Stack, comment: str) -> list[Json]:
    return [rule for rule, _ in _chain(stack) if f"--comment {comment} " not in rule]


def _chain(stack: Stack) -> list[tuple[str, int]]:
    found = []
    for line in _iptables(stack, "-v", "-S", "FORWARD").stdout.splitlines():
        counted = _COUNTED.search(line)
        if line.startswith("-A ") and counted:
            found.append((_COUNTED.sub("", line, count=1).removeprefix("-A "), int(counted[1])))
    return found


def _iptables(stack: Stack, *arguments: str) -> CommandResult:
    done = stack.execute(["iptables", "-w", *arguments], account="root", on=ROUTER)
    if done.status != 0:
        raise LabError(f"iptables on the router: {last_words(done)}")
    return done
