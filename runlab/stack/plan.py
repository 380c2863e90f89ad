"""What the runner hands to guard and keeper: plain data, passed as one line of JSON through a pipe.

Standard library only, and little of it: guard and keeper start in some 50 ms.
"""

from __future__ import annotations

from typing import TypedDict

CONTROL, OPERATOR, ROUTER = "control", "operator", "router"
"""A sandbox's machine of whatever names none, that of the account of the same name, and what lies between all."""
MACHINES = "machines"
"""The folder, in that of a run, which has one for the own files of each machine."""
AS_NEW = ".new"
"""The copy of a machine's own file, from which a reset puts it back, has this behind its name."""


class Reservation(TypedDict):
    """What the guard needs before a plan can be made. `hosts`: the ports that must be free on each; for a sandbox they
    are listened on, and what connects there is led to the service inside. `namespaces`: whether a PID one may be made.
    """

    run_id: str
    runner: int
    parent: str
    hosts: dict[str, list[int]]
    namespaces: bool
    sandbox: bool


class Health(TypedDict):
    """A health check, in seconds."""

    argv: list[str]
    interval_s: float
    timeout_s: float
    deadline_s: float


class ServicePlan(TypedDict):
    """One service, ready to start: programs are absolute paths, nothing is left to interpolate."""

    argv: list[str]
    environment: dict[str, str]
    cwd: str
    log: str
    nice: int
    once: bool
    machine: str
    stop_signal: int
    depends: list[str]
    health: Health | None
    prepare: list[list[str]]
    quiesce: list[list[str]]
    reset: list[list[str]]
    version: list[str] | None
    secret_files: dict[str, str]


class Account(TypedDict):
    """Whose rights a command has: `prefix` is the setpriv call that gives up all others; `uid` owns its files."""

    uid: int
    prefix: list[str]
    environment: dict[str, str]
    cwd: str


class MachinePlan(TypedDict):
    """A host of a sandbox. `addresses`: those of the services on it; `nameserver`: an address, or ""."""

    subnet: str
    addresses: list[str]
    nameserver: str


class NetworkPlan(TypedDict):
    """A sandbox's network. `addresses` and `places`: of each service and further host its address and its machine.

    `reserve`: the address of the name server kept in reserve, or "". `filter`: the rules of the router's packet filter.
    `homes`: what can be written on the operator's machine.
    `listeners`: "host:port" -> descriptor, outside, of a listening socket (the guard fills it).
    """

    machines: dict[str, MachinePlan]
    addresses: dict[str, str]
    places: dict[str, str]
    reserve: str
    filter: list[str]
    homes: list[str]
    listeners: dict[str, int]


class Plan(TypedDict):
    """A whole stack. `namespace`: whether the keeper is the first process of a PID namespace (the guard fills it).

    `hosts`: addresses as the runner reaches them. `network`: in a sandbox.

    `ports`: those on which the services, and what fronts them, listen. `capabilities` are of the services that start,
    `available` also of those that nobody needed, and `missing` says why what else is declared cannot be had here.
    """

    run_id: str
    folder: str
    logs: str
    namespace: bool
    hosts: dict[str, str]
    network: NetworkPlan | None
    ports: dict[str, list[int]]
    secrets: dict[str, str]
    capabilities: list[str]
    available: list[str]
    missing: dict[str, str]
    accounts: dict[str, Account]
    services: dict[str, ServicePlan]
