"""Which services of compose.yaml start in a run, and what cannot be had on this machine.

A service with `profiles` is optional. A capability that is needed makes the profiles of the service that declares it
active, and then all services of an active profile start, as they do for Compose; so does what these require. Where the
programs of a service with `profiles` or `x-lab.fronts` are not installed, it is left out with whatever requires it, and
its capabilities are missing; any other service without its programs is an error.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from runlab.stack.compose import Compose, Service
from runlab.stack.control import StackError

Find = Callable[..., str]
"""runlab.stack.programs.find: (program, service=…) -> path, or StackError."""

_ROOT_ONLY = "accounts"
_NOT_ROOT = "without root all programs have the same account; run as root, in a container for example"


@dataclass(frozen=True)
class Choice:
    """`services` that start, in the file's order, and their `capabilities`.

    `available`: capabilities that can be had here, also those of services that nobody needs this time. `missing`: why
    each other one that the file declares cannot be had, and what to do about it.
    """

    services: tuple[str, ...]
    capabilities: frozenset[str]
    available: frozenset[str]
    missing: Mapping[str, str]


@dataclass(frozen=True)
class Runtime:
    """What the runtime itself has, and why it lacks what others have."""

    capabilities: frozenset[str] = frozenset()
    missing: Mapping[str, str] = field(default_factory=dict)


def choose(
    compose: Compose,
    named: Collection[str] | None,
    needs: Collection[str] | None,
    find: Find,
    runtime: Runtime = Runtime(),
) -> Choice:
    """Choose the services `named` and what they require; without names, those that `needs` asks for, None for all.

    What the `runtime` has counts as had, and what it lacks is missing, with the services that need it.
    StackError for a service that is named, or requires nothing optional, and whose programs are not installed;
    LabError for a name that the file does not have.
    """
    absent = _absent(compose, find, runtime)
    wanted = compose.with_dependencies(named if named is not None else _needed(compose, needs))
    if lost := [name for name in named or () if name in absent]:
        raise absent[lost[0]]
    here = [name for name in compose.services if name not in absent]
    root = {_ROOT_ONLY} if os.geteuid() == 0 else set()
    besides = root | runtime.capabilities
    available = _capabilities(compose, here) | besides
    chosen = tuple(name for name in wanted if name not in absent)
    missing = dict(runtime.missing) | {
        capability: str(absent[name])
        for name in absent
        for capability in compose.services[name].lab.capabilities
        if capability not in available
    }
    return Choice(
        services=chosen,
        capabilities=_capabilities(compose, chosen) | besides,
        available=available,
        missing=missing if root else {**missing, _ROOT_ONLY: _NOT_ROOT},
    )


def _needed(compose: Compose, needs: Collection[str] | None) -> list[str]:
    active = {
        profile
        for service in compose.services.values()
        if needs is None or not set(needs).isdisjoint(service.lab.capabilities)
        for profile in service.profiles
    }
    return [
        name
        for name, service in compose.services.items()
        if not service.profiles or not active.isdisjoint(service.profiles)
    ]


def _absent(compose: Compose, find: Find, runtime: Runtime) -> dict[str, StackError]:
    """Services that cannot start here, though the others can: those without their programs or for which the runtime
    lacks something, then what requires them.
    """
    found: dict[str, StackError] = {}
    for name, service in compose.services.items():
        if lacks := [need for need in service.lab.needs if need not in runtime.capabilities]:
            why = runtime.missing.get(lacks[0], "which this runtime does not have")
            found[name] = StackError(f"service {name} needs {lacks[0]}: {why}")
        elif (service.profiles or service.lab.fronts) and (error := _lack(name, service, find)):
            found[name] = error
    while more := {
        name: found[other]
        for name, service in compose.services.items()
        for other in service.requires
        if other in found and name not in found
    }:
        found |= more
    return found


def _lack(name: str, service: Service, find: Find) -> StackError | None:
    try:
        for argv in service.commands:
            find(argv[0], service=name)
    except StackError as error:
        return error
    return None


def _capabilities(compose: Compose, services: Collection[str]) -> frozenset[str]:
    return frozenset(one for name in services for one in compose.services[name].lab.capabilities)
