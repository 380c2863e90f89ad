"""Which address and machine each service has in a sandbox, and what its names are."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Mapping, Sequence

from runlab.model import LabError
from runlab.stack.compose import Compose
from runlab.stack.plan import CONTROL, MachinePlan, NetworkPlan

_OWN, _FIRST = 2, 10
"""In each subnet, the number of the machine itself and that of its first service; the router has number 1."""


def network(compose: Compose, chosen: Collection[str], homes: Sequence[str]) -> NetworkPlan:
    """The machines of `x-lab.network`, with an address for every service and host, be it chosen or not.

    So a service has the same address in every run. `homes` are folders that can be written on the operator's machine.
    LabError when a machine's subnet is too small.
    """
    places = {name: service.lab.machine for name, service in compose.services.items()}
    places |= {host: places[name] for host, name, _ in compose.fronts()}
    places |= dict.fromkeys(compose.lab.hosts, CONTROL)
    addresses = _addresses(compose, places)
    machines = {
        name: MachinePlan(
            subnet=machine.subnet,
            addresses=[
                str(ipaddress.IPv4Network(machine.subnet)[_OWN]),
                *(addresses[host] for host, place in places.items() if place == name),
            ],
            nameserver=addresses[machine.resolver] if machine.resolver in chosen else "",
        )
        for name, machine in compose.lab.network.items()
    }
    behind = {host: service for host, name, service in compose.fronts() if name not in chosen}
    return NetworkPlan(
        machines=machines,
        addresses=addresses | {host: addresses[service] for host, service in behind.items()},
        places=places | {host: places[service] for host, service in behind.items()},
        reserve=addresses[compose.lab.reserve] if compose.lab.reserve in chosen else "",
        filter=list(compose.lab.filter),
        homes=list(homes),
        listeners={},
    )


def names(compose: Compose, chosen: Collection[str], addresses: Mapping[str, str], *, resolved: bool) -> dict[str, str]:
    """By host, the name in `x-lab.names` where somebody resolves it, and else the address."""
    known = {host: name for name, host in compose.lab.names.items()}
    resolvers = {machine.resolver for machine in compose.lab.network.values()} - {""}
    if not resolved or not resolvers.intersection(chosen):
        known = {}
    return {host: known.get(host, address) for host, address in addresses.items()}


def _addresses(compose: Compose, places: Mapping[str, str]) -> dict[str, str]:
    subnets = {name: ipaddress.IPv4Network(machine.subnet) for name, machine in compose.lab.network.items()}
    fixed = {name: service.lab.address for name, service in compose.services.items() if service.lab.address}
    taken = set(fixed.values())
    free = {
        place: (str(it) for number, it in enumerate(subnet.hosts(), 1) if number >= _FIRST and str(it) not in taken)
        for place, subnet in subnets.items()
    }
    found = dict(fixed)
    for name, place in places.items():
        if name not in found:
            if (address := next(free[place], None)) is None:
                raise LabError(f"no address is left for {name} in {subnets[place]}", mend="give it a larger subnet")
            found[name] = address
    return found
