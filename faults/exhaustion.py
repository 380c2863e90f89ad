"""Something that there was always enough of is used up: a pool's connections, ports of a machine or of a NAT gateway,
bandwidth.

But for the pool, what there is of it is made little first, since a machine of today has more than anybody would want to
use in a test; then a program that takes more than its share (faults/greedy.py) uses it up.
"""

from __future__ import annotations

import json
import random
import re
import shlex
import uuid
from abc import abstractmethod
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

import httpx

from faults import clients, greedy, links
from faults.links import Exchange
from faults.machines import interface, run
from runlab import databases
from runlab.model import Fault, Json, LabError, Observation, Stack, Undo
from runlab.stack.plan import ROUTER
from runlab.waiting import wait_until

USED_UP_WITHIN_S: Final = 20.0

REPLICAS: Final = ("api1", "api2")
_API_PORT: Final = 8000
_GIVEN_UP_S: Final = 1.0
"""Far longer than it takes to fetch one project, and shorter than a request waits for a connection of the pool."""
_IDLE_HOLDER: Final = (
    "SELECT a.pid FROM pg_stat_activity a JOIN pg_locks l USING (pid) WHERE a.application_name = %s"
    " AND a.state = 'idle in transaction' AND l.mode = 'RowExclusiveLock' AND l.relation = to_regclass('projects')"
)
_WAITING: Final = (
    "SELECT count(*) AS n FROM pg_stat_activity WHERE application_name = 'api' AND wait_event_type = 'Lock'"
)

_RANGE: Final = "net.ipv4.ip_local_port_range"
_ABOVE_OTHERS: Final = 61000
"""The first local port of a range made small: no standing connection has one of these."""
_NAT_PORTS: Final = (40000, 60000)
"""Where a NAT's ports begin: others each time, for it keeps those of a connection that has ended for ten seconds."""
_HOARDED_FROM: Final = 20000
"""The first own port of connections that are kept to use up others' ports: below those that the kernel gives."""
_OTHER: Final = "control"
"""The machine whose exchanges the fault does not touch."""
_ANSWERS_WITHIN_S: Final = 0.5
_TRIES: Final = 3
_SOURCE, _SOURCE_PORT, _STREAMS = "data", 20873, 16


@dataclass(frozen=True)
class PoolExhausted(Fault):
    """A batch job has changed every project and does not commit, and who wants to change one of them waits for it.

    Each of those requests keeps its connection of the API's pool, for the API sets no limit to a statement; so soon
    there is none left for anybody, and those who would only read fail too, although the database would serve them.
    `requests` such changes are sent to each replica at once, in place of waiting until enough users have come.
    """

    requests: int = 20

    def __post_init__(self) -> None:
        _refuse_other_than(1, 100, self.requests)

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"postgres", "api"})

    def prepare(self, stack: Stack) -> Undo:
        with databases.connect(stack) as connection:
            ids = connection.execute("SELECT id FROM projects ORDER BY id LIMIT %s", (self.requests,)).fetchall()
        name = clients.named("batch")
        return {"clients": [name], "changes": f"changes-{name}", "ids": [row["id"] for row in ids]}

    def inject(self, stack: Stack, undo: Undo) -> None:
        (name,) = clients.names(undo)
        clients.start(stack, "postgres", name, "BEGIN;\nUPDATE projects SET updated_at = updated_at;\n")
        with databases.connect(stack) as connection:
            wait_until(
                f"the batch job of {self.name}",
                lambda: connection.execute(_IDLE_HOLDER, (name,)).fetchone(),
                deadline_s=USED_UP_WITHIN_S,
            )
        stack.hold(str(undo["changes"]), self._changes(stack, undo), on=stack.machine("lb"))
        wait_until(self.name, lambda: self.witness(stack, undo).holds, deadline_s=USED_UP_WITHIN_S)

    def revert(self, stack: Stack, undo: Undo) -> None:
        stack.release(str(undo["changes"]))
        clients.end(stack, "postgres", *clients.names(undo))

    def witness(self, stack: Stack, undo: Undo) -> Observation:
        """Asks each replica and the server for the same thing: the server has it at once, and no replica can fetch it.

        That each replica is well otherwise, its health says, which takes no connection of the pool.
        """
        with databases.connect(stack) as connection:
            connection.execute("SELECT id FROM projects ORDER BY id LIMIT 1")
            pids = [row["pid"] for row in connection.execute(_IDLE_HOLDER, clients.names(undo))]
            waiting = [row["n"] for row in connection.execute(_WAITING)]
            others = clients.others(connection, "postgres", pids)
        with ThreadPoolExecutor(len(REPLICAS)) as pool:
            answers = dict(
                zip(REPLICAS, pool.map(lambda it: _answer(stack, it, "/projects?limit=1"), REPLICAS), strict=True)
            )
        alive = all(_answer(stack, name, "/health") == HTTPStatus.OK for name in REPLICAS)
        said = ", ".join(f"{name} says {status or 'nothing'}" for name, status in answers.items())
        return Observation(
            holds=alive and bool(pids) and all(status != HTTPStatus.OK for status in answers.values()),
            by="requests of the witness's own to each replica, and the same query straight to the server",
            detail=f"the server answers, {said}; {waiting[0]} of the API's sessions wait for a lock",
            truth={"pid": pids},
            innocents={"pid": others},
        )

    def _changes(self, stack: Stack, undo: Undo) -> list[str]:
        """One curl that sends them all at once, each without a change, and waits for their answers."""
        ids = undo["ids"]
        assert isinstance(ids, list)
        command = ["curl", "-sS", "--parallel", "--parallel-immediate", "--parallel-max", "300", "-X", "PATCH"]
        command += ["-H", "Content-Type: application/json", "-d", "{}"]
        for name in REPLICAS:
            for number in ids:
                command += ["-o", "/dev/null", f"http://{stack.inside(name)}:{_API_PORT}/projects/{number}"]
        return command


def _answer(stack: Stack, service: str, path: str) -> int:
    """The status of an answer of that service, 0 for none in time."""
    try:
        return httpx.get(f"http://{stack.host(service)}:{_API_PORT}{path}", timeout=_GIVEN_UP_S).status_code
    except httpx.TransportError:
        return 0


class _Compared(Fault):
    """Seen by exchanges over the link `link` from the machine that lacks something, and from one that does not."""

    link: str
    machine: str

    @abstractmethod
    def takes(self, stack: Stack) -> dict[str, Json]:
        """What the program that uses it up is told (faults/greedy.py)."""

    @abstractmethod
    def is_so(self, exchange: Exchange) -> bool:
        """Whether an exchange was what this fault makes of it."""

    def examine(self, stack: Stack, machine: str) -> Exchange:
        """An exchange that would show the fault."""
        return links.examine(stack, links.find(self.link), limit_s=_ANSWERS_WITHIN_S, on=machine)

    def compared(self, stack: Stack) -> tuple[bool, str]:
        """Whether it is so for the machine alone, and what was seen."""
        for _ in range(_TRIES):
            here = self.examine(stack, self.machine)
            detail = f"from {self.machine}: {here}"
            if not self.is_so(here):
                return False, detail
            there = self.examine(stack, _OTHER)
            detail += f"; from {_OTHER}: {there}"
            if not self.is_so(there):
                return True, detail
        return False, detail

    def observed(
        self, stack: Stack, truth: Mapping[str, list[Json]], innocents: Mapping[str, list[Json]] | None = None
    ) -> Observation:
        """What the comparison shows, with what else is known."""
        holds, detail = self.compared(stack)
        told = re.sub(r"[^a-z0-9 ]", ".", json.dumps(self.takes(stack)))
        own, every = (_processes(stack, self.machine, pattern) for pattern in (told, "."))
        return Observation(
            holds=holds,
            by="exchanges of the witness's own from that machine and from another",
            detail=detail,
            truth={**truth, "pid": own},
            innocents={**(innocents or {}), "pid": [pid for pid in every if pid not in own]},
        )

    def end_connections(self, stack: Stack, which: str) -> None:
        """End the machine's connections over the link, of which `which` is true in the words of ss(8)."""
        far = f"dst {stack.inside(self.link)} dport = :{links.find(self.link).port}"
        run(stack, self.machine, "ss", "-K", "-Htn", f"{far} and {which}")

    def await_effect(self, stack: Stack) -> None:
        """Returns once it is so."""
        wait_until(self.name, lambda: self.compared(stack)[0], deadline_s=USED_UP_WITHIN_S, every_s=0.1)


@dataclass(frozen=True)
class LocalPortsExhausted(_Compared):
    """On `machine` there are only `ports` local ports for each server, and a leak keeps all that lead to `link`.

    Connections to that server that stand already are ended, as idle ones are sooner or later. Other servers are reached
    as before, by whoever needs fewer than `ports` connections a minute to one of them: a closed one's port is kept for
    so long.
    """

    machine: str = "zone-a"
    link: str = "east"
    ports: int = 32

    def __post_init__(self) -> None:
        links.find(self.link)
        _refuse_other_than(2, 1000, self.ports)

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"port-range"}) | links.find(self.link).needs

    def prepare(self, stack: Stack) -> Undo:
        return {"range": self._range(stack), "held": f"leak-{uuid.uuid4().hex[:8]}"}

    def inject(self, stack: Stack, undo: Undo) -> None:
        _set(stack, self.machine, f"{_ABOVE_OTHERS} {_ABOVE_OTHERS + self.ports - 1}")
        stack.hold(str(undo["held"]), links.program(greedy.__file__, self.takes(stack)), on=self.machine)
        self.await_effect(stack)
        self.end_connections(stack, f"sport < :{_ABOVE_OTHERS}")

    def revert(self, stack: Stack, undo: Undo) -> None:
        stack.release(str(undo["held"]))
        _set(stack, self.machine, str(undo["range"]))

    def witness(self, stack: Stack, undo: Undo) -> Observation:  # noqa: ARG002
        return self.observed(stack, {"range": [self._range(stack)]})

    def takes(self, stack: Stack) -> dict[str, Json]:
        port = links.find(self.link).port
        return {"does": "hoard", "host": stack.inside(self.link), "port": port, "count": self.ports}

    def is_so(self, exchange: Exchange) -> bool:
        return exchange.end == "EADDRNOTAVAIL"

    def _range(self, stack: Stack) -> str:
        """As the kernel's file has it, with a tab between the first port and the last."""
        return run(stack, self.machine, "sysctl", "-n", _RANGE).stdout.strip()


@dataclass(frozen=True)
class NatExhausted(_Compared):
    """The router hides `machine` behind its own address towards `link`, and all `ports` that it may use are taken.

    Connections that stand already are ended, as those of an idle pool are sooner or later.
    """

    machine: str = "zone-a"
    link: str = "east"
    ports: int = 4

    def __post_init__(self) -> None:
        links.find(self.link)
        _refuse_other_than(1, 1000, self.ports)

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"packet-filter"}) | links.find(self.link).needs

    def prepare(self, stack: Stack) -> Undo:
        """LabError when there is no such machine, or when nothing of it would be hidden."""
        if self.machine == stack.machine(links.find(self.link).proxied_by):
            raise LabError(f"{self.name}: {self.link} is on {self.machine} itself", mend="name another machine")
        interface(stack, self.machine)
        return {"comment": f"nat-{uuid.uuid4().hex[:8]}", "first": random.randrange(*_NAT_PORTS)}

    def inject(self, stack: Stack, undo: Undo) -> None:
        """At first only its own connections are hidden: nobody else is to get one of those ports."""
        name = str(undo["comment"])
        towards = ("-s", str(interface(stack, self.machine).network), "-d", stack.inside(self.link))
        own, first = f"{_HOARDED_FROM}:{_HOARDED_FROM + 999}", int(str(undo["first"]))
        ports = f"{first}-{first + self.ports - 1}"
        few = ("-m", "comment", "--comment", name, "-j", "MASQUERADE", "--to-ports", ports)
        own_alone = ("POSTROUTING", *towards, "-p", "tcp", "--sport", own, "--syn", *few)
        _nat(stack, "-A", *own_alone)
        stack.hold(name, links.program(greedy.__file__, self.takes(stack)), on=self.machine)
        wait_until(self.name, lambda: self._taken(stack) >= self.ports, deadline_s=USED_UP_WITHIN_S)
        _nat(stack, "-A", "POSTROUTING", *towards, "-p", "tcp", "--syn", *few)
        _nat(stack, "-D", *own_alone)
        self.end_connections(stack, f"sport >= :{_HOARDED_FROM + 1000}")
        self.await_effect(stack)

    def _taken(self, stack: Stack) -> int:
        own = f"dst {stack.inside(self.link)} and sport < :{_HOARDED_FROM + 1000}"
        return len(run(stack, self.machine, "ss", "-Htn", "state", "established", own).stdout.splitlines())

    def revert(self, stack: Stack, undo: Undo) -> None:
        stack.release(str(undo["comment"]))
        for rule in self._rules(stack, undo)[0]:
            _nat(stack, "-D", *shlex.split(rule)[1:])

    def witness(self, stack: Stack, undo: Undo) -> Observation:
        rules, others = ([rule.removeprefix("-A ") for rule in some] for some in self._rules(stack, undo))
        return self.observed(stack, {"rule": [*rules]}, {"rule": [*others]})

    def takes(self, stack: Stack) -> dict[str, Json]:
        host, port = stack.inside(self.link), links.find(self.link).port
        return {"does": "hoard", "host": host, "port": port, "count": self.ports, "first": _HOARDED_FROM}

    def is_so(self, exchange: Exchange) -> bool:
        """What finds no port is thrown away, and nobody told."""
        return exchange.connect_s is None and exchange.end == "silent"

    def _rules(self, stack: Stack, undo: Undo) -> tuple[list[str], list[str]]:
        """This fault's own, and others; as iptables prints them."""
        rules = [line for line in _nat(stack, "-S").splitlines() if line.startswith("-A ")]
        own = [rule for rule in rules if f"--comment {undo['comment']} " in rule]
        return own, [rule for rule in rules if rule not in own]


@dataclass(frozen=True)
class BandwidthUsedUp(_Compared):
    """The line to `machine` carries `kbit` a second, and somebody there fetches a copy of all data over it."""

    machine: str = "zone-a"
    kbit: int = 1000
    link: str = "db"

    def __post_init__(self) -> None:
        links.find(self.link)
        _refuse_other_than(100, 8000, self.kbit)
        if self.machine in {_SOURCE, _OTHER}:
            raise LabError(f"nothing is fetched by {self.machine}", mend="name another machine")

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"bandwidth"}) | links.find(self.link).needs

    def prepare(self, stack: Stack) -> Undo:
        """LabError when there is no such machine, or when its line is shaped as it is."""
        interface(stack, self.machine)
        if self._is_shaped(stack):
            raise LabError(f"{self.name}: the line to {self.machine} is narrow as it is", mend="revert that first")
        copy = uuid.uuid4().hex[:8]
        return {"serves": f"copy-source-{copy}", "fetches": f"copy-{copy}"}

    def inject(self, stack: Stack, undo: Undo) -> None:
        """The queue before the line holds what goes over it in 0.4 s."""
        shape = ("rate", f"{self.kbit}kbit", "burst", "4kb", "latency", "400ms")
        run(stack, ROUTER, "tc", "qdisc", "add", "dev", self.machine, "root", "tbf", *shape)
        serves = {"does": "serve", "port": _SOURCE_PORT}
        stack.hold(str(undo["serves"]), links.program(greedy.__file__, serves), on=_SOURCE)
        stack.hold(str(undo["fetches"]), links.program(greedy.__file__, self.takes(stack)), on=self.machine)
        self.await_effect(stack)

    def revert(self, stack: Stack, undo: Undo) -> None:
        stack.release(str(undo["fetches"]))
        stack.release(str(undo["serves"]))
        if self._is_shaped(stack):
            run(stack, ROUTER, "tc", "qdisc", "del", "dev", self.machine, "root")

    def witness(self, stack: Stack, undo: Undo) -> Observation:  # noqa: ARG002
        return self.observed(stack, {"line": [self.machine]})

    def takes(self, stack: Stack) -> dict[str, Json]:
        return {"does": "fetch", "host": stack.inside("db"), "port": _SOURCE_PORT, "streams": _STREAMS}

    def is_so(self, exchange: Exchange) -> bool:
        """Whoever comes gets less than half of what the line carries."""
        return exchange.bytes_per_s <= self._bytes_per_s / 2

    def examine(self, stack: Stack, machine: str) -> Exchange:
        """As much as the line carries in a tenth of a second, within five: more would get in others' way."""
        return links.examine(stack, links.find(self.link), least=self._bytes_per_s // 10, limit_s=5.0, on=machine)

    @property
    def _bytes_per_s(self) -> int:
        return self.kbit * 125

    def _is_shaped(self, stack: Stack) -> bool:
        return " tbf " in f" {run(stack, ROUTER, 'tc', 'qdisc', 'show', 'dev', self.machine).stdout}"


def _refuse_other_than(least: int, most: int, given: int) -> None:
    if not least <= given <= most:
        raise LabError(f"{given} is no such number", mend=f"write {least} to {most}")


def _set(stack: Stack, machine: str, ports: str) -> None:
    run(stack, machine, "sysctl", "-q", "-w", f"{_RANGE}={ports}")


def _processes(stack: Stack, machine: str, pattern: str) -> list[Json]:
    """The pids of those processes whose command line has such a piece; its status for none is 1."""
    told = stack.execute(["pgrep", "-f", "--", pattern], account="root", on=machine)
    return [int(pid) for pid in told.stdout.split()]


def _nat(stack: Stack, *arguments: str) -> str:
    return run(stack, ROUTER, "iptables", "-w", "-t", "nat", *arguments).stdout
