"""Zones and regions that are cut off: what an on-call engineer knows as "the provider has an outage".

The way is lost on the sandbox's router, by rules of its routing and not of its packet filter: who reviews firewall
rules finds nothing, and nobody on the platform's side can mend it. Connections that stand hang, as neither end hears of
the other.
"""

from __future__ import annotations

import random
import re
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from faults.machines import interface, run
from runlab.model import CommandResult, Fault, LabError, Observation, Stack, Undo
from runlab.stack.plan import ROUTER

DATA: Final = "data"
WITNESS: Final = "operator"
BESIDE: Final = "control"
"""A machine that none of these faults cuts off."""

_ECHO_WITHIN_S = "1"
_FIRST, _LAST = 1000, 30000
"""Where such rules stand: between the kernel's own for the router's addresses (0) and for all others (32766)."""
_ADDRESS = re.compile(r"\s(\d+\.\d+\.\d+\.\d+)/\d+")


class _Cut(Fault):
    silent: bool
    """Whether packets vanish; else the router answers at once that it knows no way to that network."""

    @property
    @abstractmethod
    def between(self) -> Sequence[tuple[str, str]]:
        """Pairs of machines that no longer reach each other; the second may be "", all others."""

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"route", "ping"})

    def prepare(self, stack: Stack) -> Undo:
        """LabError when there is no such machine."""
        machines = sorted({machine for way in (*self._lost(), *self._left()) for machine in way})
        return {
            "preference": random.randint(_FIRST, _LAST),
            "networks": {machine: str(interface(stack, machine).network) for machine in machines},
            "addresses": {machine: _address(stack, machine) for machine in machines},
        }

    def inject(self, stack: Stack, undo: Undo) -> None:
        kind = "blackhole" if self.silent else "unreachable"
        for machine, other in self.between:
            for source, target in ((machine, other), (other, machine)):
                of = ["iif", source] if source else []
                to = ["to", _of(undo, "networks", target)] if target else []
                _rule(stack, "add", "preference", str(undo["preference"]), *of, *to, "type", kind)

    def revert(self, stack: Stack, undo: Undo) -> None:
        """Connections that hung are ended as well: of themselves they would only be heard of after up to a minute."""
        mine = ("preference", str(undo["preference"]))
        rules = _rule(stack, "list", *mine).stdout.splitlines()
        for _ in rules:
            _rule(stack, "delete", *mine)
        for machine, other in self.between if rules else ():
            far = ["dst", _of(undo, "networks", other)] if other else ["not", "dst", _of(undo, "networks", machine)]
            run(stack, machine, "ss", "-K", "-Htn", "state", "connected", *far)

    def witness(self, stack: Stack, undo: Undo) -> Observation:
        """Nobody comes through where it is cut, and everybody does beside it."""
        cut, whole = self._lost(), self._left()
        reached = [way for way in (*cut, *whole) if _echoes(stack, way[0], _of(undo, "addresses", way[1]))]
        return Observation(
            holds=not set(cut) & set(reached) and set(whole) <= set(reached),
            by="ping from machine to machine",
            detail="; ".join(
                f"{source} {'reaches' if (source, target) in reached else 'does not reach'} {target}"
                for source, target in (*cut, *whole)
            ),
        )

    def _lost(self) -> list[tuple[str, str]]:
        return [(machine, other) if other else (WITNESS, machine) for machine, other in self.between]

    def _left(self) -> list[tuple[str, str]]:
        """To who can still be reached; from beside them, each end of what is cut between two."""
        ends = {end: None for way in self.between if way[1] for end in way}
        return [(WITNESS, BESIDE), *((BESIDE, end) for end in ends)]


@dataclass(frozen=True)
class ZoneCutOff(_Cut):
    """A zone, e.g. "zone-a", and all others no longer reach each other."""

    zone: str
    silent: bool = True

    @property
    def between(self) -> Sequence[tuple[str, str]]:
        return [(self.zone, "")]


@dataclass(frozen=True)
class ZonesCutFromDatabase(_Cut):
    """Zones and the databases' machine no longer reach each other; each is still reached by all others."""

    zones: tuple[str, ...] = ("zone-a", "zone-b")
    silent: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "zones", tuple(self.zones))  # a list, where it comes from the journal
        if not self.zones:
            raise LabError("no zone is named", mend='write zones=("zone-a",)')

    @property
    def between(self) -> Sequence[tuple[str, str]]:
        return [(zone, DATA) for zone in self.zones]


@dataclass(frozen=True)
class RegionLost(_Cut):
    """A region of the provider, "east" or "west", is reached by nobody."""

    region: str = "east"
    silent: bool = True

    @property
    def between(self) -> Sequence[tuple[str, str]]:
        return [(f"provider-{self.region}", "")]


def _of(undo: Undo, kind: str, machine: str) -> str:
    known = undo[kind]
    assert isinstance(known, dict)
    return str(known[machine])


def _address(stack: Stack, machine: str) -> str:
    """The machine's own first address."""
    found = _ADDRESS.search(run(stack, machine, "ip", "-4", "-brief", "address", "show", "dev", "eth0").stdout)
    if found is None:
        raise LabError(f"{machine} has no address")
    return found[1]


def _echoes(stack: Stack, source: str, address: str) -> bool:
    argv = ["ping", "-n", "-q", "-c", "1", "-W", _ECHO_WITHIN_S, address]
    return stack.execute(argv, account="root", on=source).status == 0


def _rule(stack: Stack, *arguments: str) -> CommandResult:
    return run(stack, ROUTER, "ip", "rule", *arguments)
