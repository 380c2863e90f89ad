"""A rule of the packet filter between two machines that holds back what should pass: a Security Group gone wrong.

The filter is that of the sandbox's router (iptables, chain FORWARD), and the rule is put before all others, as the
latest change. Connections that the rule forbids and that stand already are ended with it, as appliances do when a new
policy is pushed; a rule alone would let them hang for minutes, since a filter can't tell their owners.

What the owner of a connection that is held back is told depends on the rule alone: nothing at all (`Dropped`), that
nobody listens (`Rejected`), or that there is no way (`HostUnreachable`).
"""

from __future__ import annotations

import re
import shlex
import uuid
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from faults.machines import interface, last_words, run
from runlab.model import CommandResult, Fault, Json, LabError, Observation, Stack, Undo
from runlab.stack.plan import ROUTER
from runlab.waiting import DeadlineError, wait_until

_BITES_WITHIN_S = 5.0
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
    def needs(self) -> frozenset[str]:
        return frozenset({"packet-filter"})

    def prepare(self, stack: Stack) -> Undo:
        """LabError when there is no such machine."""
        return {
            "comment": f"change-{uuid.uuid4().hex[:8]}",
            "hop": str(interface(stack, self.source).ip),
            "target": str(interface(stack, self.target).network),
        }

    def inject(self, stack: Stack, undo: Undo) -> None:
        """Returns once the rule has met a packet, or after five seconds without any; then its witness sees nothing."""
        port = ["-p", "tcp", "--dport", str(self.port)] if self.port else []
        comment = ["-m", "comment", "--comment", str(undo["comment"])]
        _iptables(stack, "-I", "FORWARD", "1", "-i", self.source, "-o", self.target, *port, *comment, *self.verdict)
        _end_connections(stack, self.source, str(undo["target"]), self.port)
        try:
            wait_until("a packet", lambda: self.witness(stack, undo).holds, deadline_s=_BITES_WITHIN_S)
        except DeadlineError:
            return

    def revert(self, stack: Stack, undo: Undo) -> None:
        for rule, _ in _rules(stack, str(undo["comment"])):
            _iptables(stack, "-D", *shlex.split(rule))

    def witness(self, stack: Stack, undo: Undo) -> Observation:
        """The kernel's own count of the packets that the rule has met."""
        found = _rules(stack, str(undo["comment"]))
        met = sum(packets for _, packets in found)
        return Observation(
            holds=met > 0,
            by="the kernel's count of packets, iptables on the router",
            detail=f"the rule has met {met} packets" if found else "there is no such rule",
            truth={"rule": [rule for rule, _ in found], "hop": [undo["hop"]] if found else []},
            innocents={"rule": _others(stack, str(undo["comment"]))},
        )


@dataclass(frozen=True)
class Dropped(_Rule):
    """Packets vanish: whoever connects hears nothing, and gives up when its time is over."""

    @property
    def verdict(self) -> Sequence[str]:
        return ("-j", "DROP")


@dataclass(frozen=True)
class Rejected(_Rule):
    """Whoever connects is told at once that nobody listens at that port."""

    @property
    def verdict(self) -> Sequence[str]:
        return ("-j", "REJECT", "--reject-with", "icmp-port-unreachable")


@dataclass(frozen=True)
class HostUnreachable(_Rule):
    """Whoever connects is told at once that there is no way to that host."""

    @property
    def verdict(self) -> Sequence[str]:
        return ("-j", "REJECT", "--reject-with", "icmp-host-unreachable")


def _end_connections(stack: Stack, source: str, target: str, port: int) -> None:
    """End what stands between the source and the target; their owners on the source learn of it at once."""
    only = ["dport", "=", f":{port}"] if port else []
    run(stack, source, "ss", "-K", "-Htn", "dst", target, *only)


def _rules(stack: Stack, comment: str) -> list[tuple[str, int]]:
    """The rules with this comment, as `iptables -S` prints them after -A, each with the packets that it has met."""
    return [(rule, met) for rule, met in _chain(stack) if f"--comment {comment} " in rule]


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
