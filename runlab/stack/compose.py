"""compose.yaml, the only description of a service, read the way the Compose specification has it.

The part of the specification that a runtime without a container engine can honour is parsed into frozen models; a key
that is unknown, or that would need an engine, is an error with file and line. What Compose has no word for stands
under `x-lab`: see `ServiceLab` and `StackLab`.
"""

from __future__ import annotations

import ipaddress
import itertools
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from runlab.model import LabError
from runlab.stack.document import load
from runlab.stack.namespaces import Capability
from runlab.stack.plan import CONTROL, OPERATOR, ROUTER

Condition = Literal["service_started", "service_healthy", "service_completed_successfully"]

_MACHINE = re.compile(r"[a-z][a-z0-9-]{0,14}")
"""What an interface can be called, as the router's to that machine is."""

_UNITS_S = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001, "us": 0.000001}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|us|h|m|s)")


def _seconds(value: object) -> float:
    text = str(value)
    pieces = _DURATION.findall(text)
    if not pieces or "".join(number + unit for number, unit in pieces) != text:
        raise ValueError(f"no duration: {text!r}; write 100ms, 5s or 1m30s")
    return sum(float(number) * _UNITS_S[unit] for number, unit in pieces)


def _scalar_text(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    raise ValueError("must be a string or a number; quote it")


def _long_form(value: object) -> object:
    """The short form `[a, b]` means service_started, as in the specification."""
    return {name: {"condition": "service_started"} for name in value} if isinstance(value, list) else value


def _of_tcp(value: object) -> object:
    """Without the ports of UDP, "53/udp": nothing is led there from outside."""
    return [port for port in value if not str(port).endswith("/udp")] if isinstance(value, list) else value


def _subnet(value: str) -> str:
    return str(ipaddress.IPv4Network(value))


def _address(value: str) -> str:
    return str(ipaddress.IPv4Address(value))


def _long_machine(value: object) -> object:
    return {"subnet": value} if isinstance(value, str) else value


Seconds = Annotated[float, BeforeValidator(_seconds)]
Text = Annotated[str, BeforeValidator(_scalar_text)]
Argv = Annotated[list[Text], Field(min_length=1)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Dependency(_Model):
    """What a service waits for. Without what is not `required` it starts all the same."""

    condition: Condition
    required: bool = True


class Healthcheck(_Model):
    """`test` is ["CMD", …] without a shell. Unhealthy after `start_period` and then `retries` times `interval`."""

    test: Annotated[list[Text], Field(min_length=2)]
    interval: Seconds = 30.0
    timeout: Seconds = 30.0
    start_period: Seconds = 0.0
    retries: int = 3

    def model_post_init(self, _context: object, /) -> None:
        if self.test[0] != "CMD":
            raise ValueError('a health check is ["CMD", program, …], without a shell')

    @property
    def argv(self) -> list[str]:
        return self.test[1:]


class ServiceLab(_Model):
    """`x-lab` of a service. Argument lists run as the service's account, in its environment, without a shell.

    `capabilities`: what faults may count on while it runs. `prepare`: run once, before it starts; the files of its
    `secrets` exist only meanwhile. `reset`: back to the first day, between scenarios. `quiesce`: what this service
    must stop doing before any service is reset. `version`: its first line of output is the version. `once`: it runs to
    completion and then counts as ready. `nice`: as nice(1).

    `fronts`: further host names, each with the service that is reached through this one at it. Such a host has an
    address of its own, where this service listens on the ports of the service behind; while this one is left out, the
    host is the service behind itself.

    `machine`: where it is in a sandbox, one of `x-lab.network` of the file; `address`: a fixed one there. `needs`: what
    the runtime must have, so that it can start at all.
    """

    capabilities: list[str] = []
    prepare: list[Argv] = []
    quiesce: list[Argv] = []
    reset: list[Argv] = []
    fronts: dict[str, str] = {}
    version: Argv | None = None
    once: bool = False
    nice: int = 0
    machine: str = CONTROL
    address: Annotated[str, AfterValidator(_address)] = ""
    needs: list[Capability] = []


class Config(_Model):
    """A configuration file, its text inline."""

    content: str


class Secret(_Model):
    """A password, made for each run; `environment` names the variable that holds it."""

    environment: str


class Mount(_Model):
    """Where an engine mounts a config or secret; without one, ${CONFIG_name} and ${SECRET_name} say where it is."""

    source: str
    target: str = ""
    mode: int | None = None


class Service(_Model):
    """One service. `stop_signal` is what it gets before SIGKILL when the run ends; unless given, nothing: its data is
    thrown away. With `profiles` it is optional: runlab/stack/choice.py says when it starts. The last block of fields
    is for a container engine and not used here.
    """

    entrypoint: list[Text] = []
    command: list[Text] = []
    environment: dict[str, Text] = {}
    expose: Annotated[list[int], BeforeValidator(_of_tcp)] = []
    healthcheck: Healthcheck | None = None
    depends_on: Annotated[dict[str, Dependency], BeforeValidator(_long_form)] = {}
    profiles: list[str] = []
    configs: list[Mount] = []
    secrets: list[Mount] = []
    stop_signal: str = "SIGKILL"
    lab: ServiceLab = Field(default=ServiceLab(), alias="x-lab")

    image: str = ""
    build: Any = None
    init: Any = None
    networks: Any = None
    ports: Any = None
    restart: Any = None
    shm_size: Any = None
    tmpfs: Any = None
    user: Any = None
    volumes: Any = None

    @property
    def argv(self) -> list[str]:
        return [*self.entrypoint, *self.command]

    @property
    def commands(self) -> list[list[str]]:
        """Every argument list that is run for it."""
        lab = self.lab
        checks = [self.healthcheck.argv] if self.healthcheck else []
        return [self.argv, *checks, *lab.prepare, *lab.quiesce, *lab.reset, *([lab.version] if lab.version else [])]

    @property
    def requires(self) -> list[str]:
        """The services without which it does not start."""
        return [name for name, dependency in self.depends_on.items() if dependency.required]


class Machine(_Model):
    """A host of the sandbox; `resolver`: the service that its resolv.conf names, if that starts."""

    subnet: Annotated[str, AfterValidator(_subnet)]
    resolver: str = ""


class StackLab(_Model):
    """`x-lab` of the whole file. Paths are relative to it.

    `hosts`: further addresses of the stack's network and the ports that must be free there. `rules`: the folder of
    alert rules, found at ${CONFIG_rules}. `release`: a Python package, copied for each run and put on PYTHONPATH.

    `network`: the machines of a sandbox, behind one router. `names`: what name servers call a service or a host that
    one fronts; ${NAME_host} is that name where the machines' resolvers start, and the host's address elsewhere.
    `reserve`: a name server that people may turn to. `filter`: the rules that the router's packet filter has by
    rights, each as it follows `iptables -A FORWARD`, where an interface of the router has its machine's name.
    """

    hosts: dict[str, list[int]] = {}
    rules: str = ""
    release: str = ""
    network: dict[str, Annotated[Machine, BeforeValidator(_long_machine)]] = {
        CONTROL: Machine(subnet="10.20.0.0/24"),
        OPERATOR: Machine(subnet="10.20.5.0/24"),
    }
    names: dict[str, str] = {}
    reserve: str = ""
    filter: list[Annotated[str, Field(pattern=r"^-[^\n]+$")]] = []


class Compose(_Model):
    """A whole document: services in its order, those of included files first, which is the order of their start."""

    services: Annotated[dict[str, Service], Field(min_length=1)]
    configs: dict[str, Config] = {}
    secrets: dict[str, Secret] = {}
    lab: StackLab = Field(default=StackLab(), alias="x-lab")
    name: str = ""
    networks: Any = None
    volumes: Any = None

    def with_dependencies(self, names: Collection[str] | None) -> list[str]:
        """`names` and whatever they require, in the file's order; None means all. LabError for an unknown one."""
        wanted = list(self.services if names is None else names)
        for name in wanted:
            if name not in self.services:
                raise LabError(f"no such service: {name}", mend=f"there are {', '.join(self.services)}")
            wanted += [other for other in self.services[name].requires if other not in wanted]
        return [name for name in self.services if name in wanted]

    def fronts(self) -> Iterator[tuple[str, str, str]]:
        """(host, service that fronts, service behind) for each of `x-lab.fronts`."""
        for name, service in self.services.items():
            for host, behind in service.lab.fronts.items():
                yield host, name, behind


def read(file: Path, variables: Mapping[str, str] | None = None) -> Compose:
    """Parse `file`, its strings interpolated with `variables`; with None they are left as they stand.

    Raises LabError with file and line for what `document.load` refuses, unknown or malformed keys, and names that are
    not declared.
    """
    document = load(file, variables)
    try:
        compose = Compose.model_validate(_without_extensions(document.data))
    except ValidationError as error:
        first = error.errors()[0]
        path = ".".join(str(step) for step in first["loc"])
        what = "unknown here, or needs a container engine" if first["type"] == "extra_forbidden" else first["msg"]
        raise LabError(f"{path}: {what}", where=document.place(first["loc"])) from None
    for loc, message in _undeclared(compose):
        raise LabError(message, where=document.place(loc))
    return compose


def _without_extensions(data: Any) -> Any:
    """Drop `x-…` keys other than ours at the two levels where the specification allows them."""
    if not isinstance(data, dict):
        return data
    kept = {key: value for key, value in data.items() if not str(key).startswith("x-") or key == "x-lab"}
    if isinstance(kept.get("services"), dict):
        kept["services"] = {
            name: {key: value for key, value in entry.items() if not str(key).startswith("x-") or key == "x-lab"}
            if isinstance(entry, dict)
            else entry
            for name, entry in kept["services"].items()
        }
    return kept


def _undeclared(compose: Compose) -> Iterator[tuple[tuple[str, ...], str]]:
    for name, service in compose.services.items():
        if not service.argv:
            yield ("services", name), f"service {name} has no command"
        for key, used, declared in (
            ("depends_on", list(service.depends_on), compose.services),
            ("configs", [mount.source for mount in service.configs], compose.configs),
            ("secrets", [mount.source for mount in service.secrets], compose.secrets),
            ("fronts", list(service.lab.fronts.values()), compose.services),
        ):
            for other in used:
                if other not in declared:
                    loc = ("services", name, *(("x-lab",) if key == "fronts" else ()), key)
                    yield loc, f"service {name}: {key} names {other}, which is not declared"
        if name in _reachable(compose, name):
            yield ("services", name, "depends_on"), f"service {name} depends on itself"
    taken = {*compose.services, *compose.lab.hosts}
    for host, name, behind in compose.fronts():
        loc = ("services", name, "x-lab", "fronts", host)
        if host in taken:
            yield loc, f"service {name}: there is a host {host} already"
        if behind == name:
            yield loc, f"service {name} fronts itself"
        taken.add(host)
    yield from _undeclared_in_network(compose, taken)


def _undeclared_in_network(compose: Compose, hosts: Collection[str]) -> Iterator[tuple[tuple[str, ...], str]]:
    network = compose.lab.network
    for machine in (CONTROL, OPERATOR):
        if machine not in network:
            yield ("x-lab", "network"), f"there is no machine {machine}, which every stack has"
    for machine, it in network.items():
        loc = ("x-lab", "network", machine)
        if machine in {ROUTER, "lo", "all", "default"} or not _MACHINE.fullmatch(machine):
            yield loc, f"no machine can be called {machine}; at most 15 of a-z, 0-9 and -, and not {ROUTER}"
        if it.resolver and it.resolver not in compose.services:
            yield (*loc, "resolver"), f"machine {machine}: the resolver {it.resolver} is not declared"
    for name, host in compose.lab.names.items():
        if host not in hosts:
            yield ("x-lab", "names", name), f"{name} is the name of {host}, which is not declared"
    if compose.lab.reserve and compose.lab.reserve not in compose.services:
        yield ("x-lab", "reserve"), f"the name server in reserve, {compose.lab.reserve}, is not declared"
    yield from _misplaced(compose)


def _misplaced(compose: Compose) -> Iterator[tuple[tuple[str, ...], str]]:
    network = compose.lab.network
    subnets = {name: ipaddress.IPv4Network(machine.subnet) for name, machine in network.items()}
    for one, other in itertools.combinations(subnets, 2):
        if subnets[one].overlaps(subnets[other]):
            yield ("x-lab", "network", other), f"the subnets of {one} and {other} overlap"
    taken: set[str] = set()
    for name, service in compose.services.items():
        loc, lab = ("services", name, "x-lab"), service.lab
        if lab.machine not in network:
            yield (*loc, "machine"), f"service {name}: x-lab.network has no machine {lab.machine}"
        elif lab.address:
            usable = list(subnets[lab.machine].hosts())[2:]
            free = ipaddress.IPv4Address(lab.address) in usable and lab.address not in taken
            if not free:
                yield (
                    (*loc, "address"),
                    f"service {name}: {lab.address} is taken, or none for a service on {lab.machine}",
                )
            taken.add(lab.address)


def _reachable(compose: Compose, name: str) -> set[str]:
    found: set[str] = set()
    todo = list(compose.services[name].depends_on)
    while todo:
        other = todo.pop()
        if other not in found and other in compose.services:
            found.add(other)
            todo += compose.services[other].depends_on
    return found
