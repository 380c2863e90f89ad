"""Names that lead nowhere, or to the wrong place: what an on-call engineer says it always is.

The sandbox has name servers of its own (compose/network.yaml): `dns`, which everybody relies on, and a cache in each
zone, which keeps an answer for as long as it may. Whoever has a connection does not ask for its name again, so that
none of this would be noticed before a connection is made anew. Unless `connections` is "kept", those of the zones are
ended with the fault, as they would end one by one by themselves.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, Literal

from runlab.model import CommandResult, Fault, Json, LabError, Observation, Stack, Undo
from runlab.waiting import wait_until

CACHES: Final[Mapping[str, str]] = {"cache-a": "zone-a", "cache-b": "zone-b"}
"""The caches, and the machines that ask them."""

Connections = Literal["ended", "kept"]

_BY: Final = "dig, at the name server and in both zones"
_RECORDS: Final = "records"
_IN_EFFECT_WITHIN_S: Final = 15.0
_ADDRESS = re.compile(r"^\d+\.\d+\.\d+\.\d+$", re.MULTILINE)
_REPLACE = 'printf %s "$1" >"$2.new" && mv "$2.new" "$2"'


@dataclass(frozen=True)
class NameServerDown(Fault):
    """A name server, `dns` or a zone's cache, is "stopped", its port closed, or "hung", which is silence.

    What a cache remembered of `dns` has run out as well. The platform's own names have no address then.
    """

    service: str = "dns"
    how: Literal["stopped", "hung"] = "stopped"
    connections: Connections = "ended"

    def __post_init__(self) -> None:
        _refuse_other("service", self.service, ("dns", *CACHES))
        _refuse_other("how", self.how, ("stopped", "hung"))
        _refuse_other("connections", self.connections, ("ended", "kept"))

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"private-resolver"})

    def prepare(self, stack: Stack) -> Undo:
        """LabError when the server does not answer as it is."""
        if not _answers(stack, self.service):
            raise LabError(f"{self.name}: {self.service} does not answer as it is")
        known: list[Json] = [name for _, name in _read_records(stack, "dns")]
        return {"service": self.service, "names": known}

    def inject(self, stack: Stack, undo: Undo) -> None:
        """Raises DeadlineError when names still have addresses after fifteen seconds."""
        led_to = [address for address, _ in (*_read_records(stack, "dns"), *_read_records(stack, "public-dns"))]
        _signal(stack, self.service, "STOP" if self.how == "hung" else "TERM")
        for cache in CACHES if self.service == "dns" else ():
            _signal(stack, cache, "HUP")
        if self.connections == "ended":
            _end_connections(stack, self._zones, led_to)
        wait_until(self.name, lambda: self.witness(stack, undo).holds, deadline_s=_IN_EFFECT_WITHIN_S)

    def revert(self, stack: Stack, undo: Undo) -> None:
        """Whatever was done to it: one that hangs goes on, and one that still does not answer is started again."""
        service = str(undo["service"])
        _send(stack, service, "CONT")
        if not _answers(stack, service):
            stack.restart(service)

    def witness(self, stack: Stack, undo: Undo) -> Observation:
        """A question to the server itself, and one for each of the platform's own names in each zone concerned."""
        service, names = str(undo["service"]), _words(undo["names"])
        questions = [(zone, "", name) for zone in self._zones for name in names]
        with ThreadPoolExecutor(1) as beside:
            itself = beside.submit(_answers, stack, service)
            found = _ask_all(stack, questions)
        without = [name for name in names if any(not found[zone, "", name] for zone in self._zones)]
        answers = itself.result()
        told = "answers" if answers else "does not answer"
        truth: list[Json] = [*without]
        return Observation(
            holds=not answers and without == names,
            by=_BY,
            detail=f"{service} {told}; in {' and '.join(self._zones)} no address for {', '.join(without) or 'no name'}",
            truth={"unresolved": truth},
        )

    @property
    def _zones(self) -> tuple[str, ...]:
        return (CACHES[self.service],) if self.service in CACHES else tuple(CACHES.values())


@dataclass(frozen=True)
class _Wrong(Fault):
    """`hostname` leads to the host `leads_to`, or where that is "" to an address of its network that nobody has.

    The wrong record is one of the name server `server`; that of a name which others know covers theirs.
    """

    hostname: str
    leads_to: str = ""
    server: str = "dns"
    connections: Connections = "ended"

    def __post_init__(self) -> None:
        _refuse_other("server", self.server, ("dns", "public-dns"))
        _refuse_other("connections", self.connections, ("ended", "kept"))

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"private-resolver"})

    def prepare(self, stack: Stack) -> Undo:
        """LabError when the name has no address as it is, or that of `leads_to`."""
        right = _ask(stack, stack.machine(self.server), self.server, self.hostname)
        if not right:
            raise LabError(f"{self.name}: {self.server} knows no address of {self.hostname}")
        wrong = stack.inside(self.leads_to) if self.leads_to else _vacant(right[0])
        if wrong in right:
            raise LabError(f"{self.name}: {self.hostname} leads to {self.leads_to} as it is", mend="name another host")
        known: list[Json] = [address for address, name in _read_records(stack, self.server) if name == self.hostname]
        return {
            "server": self.server,
            "hostname": self.hostname,
            "recorded": known,
            "right": [*right],
            "wrong": wrong,
        }

    def revert(self, stack: Stack, undo: Undo) -> None:
        """The record first, then what caches remember: otherwise they would learn the wrong one again.

        Whoever still tries to connect to the wrong address is told that it is over; they would wait for seconds more.
        """
        _record(stack, str(undo["server"]), str(undo["hostname"]), _words(undo["recorded"]))
        for cache in CACHES:
            _signal(stack, cache, "HUP")
        _end_connections(stack, tuple(CACHES.values()), [str(undo["wrong"])])

    def _spread(self, stack: Stack, undo: Undo) -> None:
        """Record the wrong address, and have both caches forget the right one and learn the wrong."""
        _record(stack, str(undo["server"]), self.hostname, [str(undo["wrong"])])
        for cache in CACHES:
            _signal(stack, cache, "HUP")
        for cache, zone in CACHES.items():
            found = _ask(stack, zone, cache, self.hostname)
            if found != [undo["wrong"]]:
                raise LabError(f"{self.name}: {cache} says {_or_none(found)} in place of {undo['wrong']}")

    def _await(self, stack: Stack, undo: Undo) -> None:
        """The connections end last, so that whoever makes a new one is led astray."""
        if self.connections == "ended":
            _end_connections(stack, tuple(CACHES.values()), _words(undo["right"]))
        wait_until(self.name, lambda: self.witness(stack, undo).holds, deadline_s=_IN_EFFECT_WITHIN_S)

    def _look(self, stack: Stack, undo: Undo) -> _Answers:
        server, name = str(undo["server"]), str(undo["hostname"])
        questions = [(stack.machine(server), server, name), *((zone, cache, name) for cache, zone in CACHES.items())]
        found = _ask_all(stack, questions)
        return _Answers(found[questions[0]], {cache: found[zone, cache, name] for cache, zone in CACHES.items()})

    def _seen(self, undo: Undo, answers: _Answers, *, holds: bool) -> Observation:
        told = {str(undo["server"]): answers.of_server, **answers.of_caches}
        return Observation(
            holds=holds,
            by=_BY,
            detail=f"{undo['hostname']}: " + ", ".join(f"{who} says {_or_none(found)}" for who, found in told.items()),
            truth={"address": [undo["wrong"]] if holds else []},
            innocents={"address": [*_words(undo["right"])]},
        )


@dataclass(frozen=True)
class _Answers:
    """The addresses that the name server gives, and those that each cache does."""

    of_server: list[str]
    of_caches: dict[str, list[str]]


@dataclass(frozen=True)
class WrongRecord(_Wrong):
    """The name server has a wrong record, and everybody believes it."""

    def inject(self, stack: Stack, undo: Undo) -> None:
        """LabError when a cache does not learn it."""
        self._spread(stack, undo)
        self._await(stack, undo)

    def witness(self, stack: Stack, undo: Undo) -> Observation:
        """In effect while the server, or a cache that has believed it, gives the wrong address."""
        answers = self._look(stack, undo)
        told = answers.of_server, *answers.of_caches.values()
        return self._seen(undo, answers, holds=any(str(undo["wrong"]) in found for found in told))


@dataclass(frozen=True)
class StaleCache(_Wrong):
    """The record was wrong and is right again, and the zones' caches still give the wrong one, for minutes to come."""

    def inject(self, stack: Stack, undo: Undo) -> None:
        """LabError when a cache does not learn the wrong record."""
        self._spread(stack, undo)
        _record(stack, str(undo["server"]), self.hostname, _words(undo["recorded"]))
        self._await(stack, undo)

    def witness(self, stack: Stack, undo: Undo) -> Observation:
        """In effect while the server gives the right address, and a cache the wrong one."""
        answers = self._look(stack, undo)
        stale = any(str(undo["wrong"]) in found for found in answers.of_caches.values())
        return self._seen(undo, answers, holds=stale and answers.of_server == undo["right"])


def _answers(stack: Stack, server: str) -> bool:
    """Whether the server answers a question about itself, asked on its own machine."""
    about_itself = ["dig", "+time=1", "+tries=1", f"@{stack.inside(server)}", "version.bind", "CH", "TXT"]
    return stack.execute(about_itself, account="operator", on=stack.machine(server)).status == 0


def _ask(stack: Stack, machine: str, server: str, name: str) -> list[str]:
    """The addresses of a name as a machine gets them of `server`, of its own resolver when that is ""; none: []."""
    of = [f"@{stack.inside(server)}"] if server else []
    done = stack.execute(["dig", "+short", "+time=1", "+tries=1", *of, name], account="operator", on=machine)
    return sorted(_ADDRESS.findall(done.stdout))


def _ask_all(stack: Stack, questions: Sequence[tuple[str, str, str]]) -> dict[tuple[str, str, str], list[str]]:
    """The same for many at once: each that nobody answers takes a second."""
    with ThreadPoolExecutor(len(questions)) as pool:
        return dict(zip(questions, pool.map(lambda asked: _ask(stack, *asked), questions), strict=True))


def _read_records(stack: Stack, server: str) -> list[tuple[str, str]]:
    """Address and name of each record."""
    text = (stack.data_folder(server) / _RECORDS).read_text(encoding="utf-8")
    return [(address, name) for address, name in map(str.split, text.splitlines())]


def _record(stack: Stack, server: str, hostname: str, addresses: Sequence[str]) -> None:
    """Have the server know these addresses of the name, and no others; it has read them when this returns."""
    others = [(address, name) for address, name in _read_records(stack, server) if name != hostname]
    records = [*others, *((address, hostname) for address in addresses)]
    text = "".join(f"{address} {name}\n" for address, name in records)
    file = str(stack.data_folder(server) / _RECORDS)
    _must(stack.execute(["sh", "-c", _REPLACE, "sh", text, file], account="service", on=stack.machine(server)))
    _signal(stack, server, "HUP")


def _signal(stack: Stack, server: str, name: str) -> None:
    """LabError when there is no such process. On HUP it reads its records again and forgets what it has cached."""
    _must(_send(stack, server, name))


def _send(stack: Stack, server: str, name: str) -> CommandResult:
    argv = ["pkill", "--signal", name, "--pidfile", "/run/dnsmasq.pid"]
    return stack.execute(argv, account="root", on=stack.machine(server))


def _end_connections(stack: Stack, machines: Sequence[str], addresses: Sequence[str]) -> None:
    """End what stands between the machines and the addresses; those who have them learn of it at once."""
    to = " or ".join(f"dst {address}" for address in addresses).split()
    for machine in machines:
        _must(stack.execute(["ss", "-K", "-Htn", *to], account="root", on=machine))


def _must(done: CommandResult) -> None:
    if done.status != 0:
        words = done.stderr.strip().splitlines()
        raise LabError(f"{' '.join(done.argv[:3])}: {words[-1] if words else f'status {done.status}'}")


def _vacant(address: str) -> str:
    """The last host's address of the network of 256 that `address` belongs to."""
    return str(ipaddress.ip_network(f"{address}/24", strict=False)[-2])


def _words(values: Json) -> list[str]:
    assert isinstance(values, list)
    return [str(value) for value in values]


def _or_none(found: Sequence[str]) -> str:
    return " and ".join(found) or "nothing"


def _refuse_other(field: str, given: str, known: Sequence[str]) -> None:
    if given not in known:
        raise LabError(f"no such {field}: {given!r}", mend=f"write {', '.join(known)}")
