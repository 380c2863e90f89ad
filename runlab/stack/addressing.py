"""Which address and machine each service has in a sandbox, and what its names are."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Mapping
from pathlib import Path

from runlab.model import LabError
from runlab.stack.compose import CONTROL, Compose
from runlab.stack.plan import MachinePlan, NetworkPlan

_OWN, _FIRST = 2, 10
"""In each subnet, the number of the machine itself and that of its first service; the router has number 1."""


def network(compose: Compose, chosen: Collection[str], folder: Path) -> NetworkPlan:
    """The machines of `x-lab.network`, with an address for every service and host, be it chosen or not.

    So a service has the same address in every run. LabError for an address that its machine cannot have.
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
    return NetworkPlan(
        machines=machines,
        addresses=addresses,
        places=places,
        reserve=addresses[compose.lab.reserve] if compose.lab.reserve in chosen else "",
        operator_home=str(folder / "operator"),
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
    for name, address in fixed.items():
        if ipaddress.IPv4Address(address) not in subnets[places[name]]:
            raise LabError(f"service {name}: {address} is not in the subnet of {places[name]}")
    found, last = dict(fixed), dict.fromkeys(subnets, _FIRST - 1)
    taken = set(fixed.values())
    for name, place in places.items():
        while name not in found:
            last[place] += 1
            if (address := str(subnets[place][last[place]])) not in taken:
                found[name] = address
    return found
