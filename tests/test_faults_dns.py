"""faults.dns on name servers that are played: what is recorded, remembered and answered, and what is refused."""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from faults import dns
from faults.dns import NameServerDown, StaleCache, WrongRecord
from runlab.model import CommandResult, Fault, LabError
from runlab.waiting import DeadlineError

DB, EAST = "db.platform.internal", "east.provider.example"
RIGHT, VACANT = "10.20.3.11", "10.20.3.254"
MACHINES = {"dns": "control", "public-dns": "public", "cache-a": "zone-a", "cache-b": "zone-b"}
ADDRESSES = {"dns": "10.20.0.53", "public-dns": "8.8.8.8", "cache-a": "10.20.1.53", "cache-b": "10.20.2.53"}
HOSTS = {"db": RIGHT, "west": "203.0.113.10", **ADDRESSES}
NO_REPLY = 9  # as dig ends


class Server:
    """A name server: what it has read of its records, and what it remembers of others' answers."""

    def __init__(self, file: Path, upstream: Server | None, *, remembers: bool) -> None:
        self.file, self.upstream, self.remembers, self.state = file, upstream, remembers, "up"
        self.hang_up()

    def hang_up(self) -> None:
        """Read the records again, forget the rest."""
        lines = self.file.read_text().splitlines() if self.file.exists() else []
        self.known = {name: address for address, name in map(str.split, lines)}
        self.cache: dict[str, str] = {}

    def ask(self, name: str) -> str:
        """The address, or "" for none."""
        if self.state != "up":
            return ""
        found = self.known.get(name) or self.cache.get(name) or (self.upstream.ask(name) if self.upstream else "")
        if found and self.remembers:
            self.cache[name] = found
        return found


class Played:
    """A stack of four name servers. `broken` commands, by their first word, end with status 1."""

    run_id, runtime, capabilities = "r", "sandbox", frozenset({"private-resolver"})

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for server in ADDRESSES:
            (folder / server).mkdir()
        (folder / "dns" / "records").write_text(f"{RIGHT} {DB}\n")
        (folder / "public-dns" / "records").write_text(f"198.51.100.11 {EAST}\n")
        public = Server(folder / "public-dns" / "records", None, remembers=False)
        own = Server(folder / "dns" / "records", public, remembers=False)
        caches = {name: Server(folder / name / "records", own, remembers=True) for name in ("cache-a", "cache-b")}
        self.servers = {"dns": own, "public-dns": public, **caches}
        self.restarted: list[str] = []
        self.ended: list[tuple[str, list[str]]] = []
        self.broken: set[str] = set()

    def inside(self, service: str) -> str:
        return HOSTS[service]

    def machine(self, service: str) -> str:
        return MACHINES[service]

    def data_folder(self, service: str) -> Path:
        return self.folder / service

    def restart(self, service: str) -> None:
        self.restarted.append(service)
        self.servers[service].state = "up"

    def execute(
        self,
        argv: Sequence[str],
        *,
        account: str,
        on: str = "",
        environment: Mapping[str, str] | None = None,
        time_limit_s: float = 30.0,
    ) -> CommandResult:
        status, printed = 1, ""
        if argv[0] not in self.broken:
            status, printed = getattr(self, argv[0])(list(argv), account, on)
        return CommandResult(tuple(argv), status, printed, "" if status == 0 else "it did not work", 0.0)

    def dig(self, argv: list[str], account: str, on: str) -> tuple[int, str]:
        assert account == "operator"
        asked = next((word[1:] for word in argv if word.startswith("@")), "")
        own = next(name for name in ("cache-a", "cache-b", "dns", "public-dns") if asked or MACHINES[name] == on)
        server = self.servers[next((name for name in ADDRESSES if ADDRESSES[name] == asked), own)]
        if server.state != "up":
            return NO_REPLY, ";; connection timed out; no servers could be reached\n"
        if "version.bind" in argv:
            return 0, '"played"\n'
        found = server.ask(argv[-1])
        return 0, f"{found}\n" if found else ""

    def sh(self, argv: list[str], account: str, on: str) -> tuple[int, str]:
        assert (account, on) in {("service", "control"), ("service", "public")}
        Path(argv[-1]).write_text(argv[-2])
        return 0, ""

    def pkill(self, argv: list[str], account: str, on: str) -> tuple[int, str]:
        assert account == "root"
        server = self.servers[next(name for name, machine in MACHINES.items() if machine == on)]
        if server.state == "ended":
            return 1, ""
        match signal.Signals[f"SIG{argv[2]}"]:
            case signal.SIGHUP:
                server.hang_up()
            case signal.SIGSTOP:
                server.state = "hung"
            case signal.SIGCONT:
                server.state = "up"
            case signal.SIGTERM:
                server.state = "ended"
        return 0, ""

    def ss(self, argv: list[str], account: str, on: str) -> tuple[int, str]:
        assert account == "root"
        self.ended.append((on, argv[3:]))
        return 0, ""


@pytest.fixture
def stack(tmp_path: Path) -> Any:
    return Played(tmp_path)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dns, "_IN_EFFECT_WITHIN_S", 0.1)


def records(stack: Any, server: str) -> str:
    return str((stack.folder / server / "records").read_text())


@pytest.mark.parametrize("cls", [WrongRecord, StaleCache])
@pytest.mark.parametrize("server", ["dns", "public-dns"])
def test_the_records_are_as_before(stack: Any, cls: type[WrongRecord | StaleCache], server: str) -> None:
    before = records(stack, "dns"), records(stack, "public-dns")
    fault = cls(EAST, leads_to="west", server=server)
    undo = fault.prepare(stack)
    fault.inject(stack, undo)
    assert stack.servers["cache-b"].ask(EAST) == HOSTS["west"]
    for _ in range(2):
        fault.revert(stack, undo)
        assert (records(stack, "dns"), records(stack, "public-dns")) == before
        assert stack.servers["cache-b"].ask(EAST) == "198.51.100.11"


def test_a_wrong_record_is_at_the_server_and_a_stale_one_in_the_caches(stack: Any) -> None:
    for fault, at_server in ((WrongRecord(DB), VACANT), (StaleCache(DB), RIGHT)):
        undo = fault.prepare(stack)
        fault.inject(stack, undo)
        assert [stack.servers[name].ask(DB) for name in ("dns", "cache-a", "cache-b")] == [at_server, VACANT, VACANT]
        seen = fault.witness(stack, undo)
        assert (seen.holds, seen.truth, seen.innocents) == (True, {"address": [VACANT]}, {"address": [RIGHT]})
        fault.revert(stack, undo)


def test_a_wrong_record_is_in_effect_while_one_cache_believes_it(stack: Any) -> None:
    fault = WrongRecord(DB)
    undo = fault.prepare(stack)
    fault.inject(stack, undo)
    dns._record(stack, "dns", DB, [RIGHT])
    stack.servers["cache-a"].hang_up()
    assert fault.witness(stack, undo).holds
    stack.servers["cache-b"].hang_up()
    assert not fault.witness(stack, undo).holds


def test_a_cache_is_not_stale_when_the_server_is_wrong_as_well(stack: Any) -> None:
    wrong, stale = WrongRecord(DB), StaleCache(DB)
    undo = wrong.prepare(stack)
    wrong.inject(stack, undo)
    assert not stale.witness(stack, undo).holds


def test_a_cache_that_does_not_learn_is_said(stack: Any) -> None:
    fault = StaleCache(DB)
    undo = fault.prepare(stack)
    stack.servers["cache-b"].state = "hung"
    with pytest.raises(LabError, match=r"cache-b says nothing in place of 10\.20\.3\.254"):
        fault.inject(stack, undo)


@pytest.mark.parametrize("how", ["stopped", "hung"])
def test_a_server_that_hangs_goes_on_and_one_that_was_stopped_is_started(stack: Any, how: Any) -> None:
    fault = NameServerDown(how=how)
    undo = fault.prepare(stack)
    stack.servers["cache-a"].ask(DB)
    fault.inject(stack, undo)
    seen = fault.witness(stack, undo)
    assert (seen.holds, seen.truth) == (True, {"unresolved": [DB]})
    for _ in range(2):
        fault.revert(stack, undo)
        assert not fault.witness(stack, undo).holds
    assert stack.restarted == (["dns"] if how == "stopped" else [])


def test_a_silent_server_alone_is_no_fault_while_the_caches_remember(stack: Any) -> None:
    fault = NameServerDown(how="hung")
    undo = fault.prepare(stack)
    for cache in ("cache-a", "cache-b"):
        stack.servers[cache].ask(DB)
    stack.servers["dns"].state = "hung"
    assert not fault.witness(stack, undo).holds


@pytest.mark.parametrize("fault", [NameServerDown(), WrongRecord(DB), StaleCache(DB)], ids=lambda it: it.name)
def test_whose_connections_are_ended(stack: Any, fault: Fault) -> None:
    kept = type(fault)(**{**fault.as_data()["fields"], "connections": "kept"})  # type: ignore[dict-item, call-overload]
    for it in (kept, fault):
        undo = it.prepare(stack)
        it.inject(stack, undo)
        assert [machine for machine, _ in stack.ended] == ([] if it is kept else ["zone-a", "zone-b"])
        assert all(" ".join(to).startswith(f"dst {RIGHT}") for _, to in stack.ended)
        it.revert(stack, undo)
        stack.ended.clear()


@pytest.mark.parametrize("fault", [WrongRecord(DB), StaleCache(DB)], ids=lambda it: it.name)
def test_nobody_goes_on_trying_the_wrong_address(stack: Any, fault: Fault) -> None:
    undo = fault.prepare(stack)
    fault.inject(stack, undo)
    stack.ended.clear()
    fault.revert(stack, undo)
    wrong = ["dst", str(undo["wrong"])]
    assert stack.ended == [("zone-a", wrong), ("zone-b", wrong)]


def test_names_that_still_lead_somewhere_are_waited_for_and_said(stack: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    fault = NameServerDown(how="hung")
    undo = fault.prepare(stack)
    monkeypatch.setattr(Played, "pkill", lambda *_: (0, ""))
    with pytest.raises(DeadlineError):
        fault.inject(stack, undo)


@pytest.mark.parametrize("command", ["sh", "pkill", "ss"])
def test_a_command_that_fails_is_said(stack: Any, command: str) -> None:
    fault = WrongRecord(DB)
    undo = fault.prepare(stack)
    stack.broken = {command}
    with pytest.raises(LabError, match=f"{command} .*: it did not work"):
        fault.inject(stack, undo)


def test_what_is_broken_as_it_is_can_not_be_broken(stack: Any) -> None:
    with pytest.raises(LabError, match="knows no address of nobody"):
        WrongRecord("nobody.platform.internal").prepare(stack)
    with pytest.raises(LabError, match="leads to db as it is"):
        WrongRecord(DB, leads_to="db").prepare(stack)
    stack.servers["cache-a"].state = "hung"
    with pytest.raises(LabError, match="cache-a does not answer as it is"):
        NameServerDown("cache-a").prepare(stack)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: NameServerDown("postgres"), "no such service: 'postgres'"),
        (lambda: NameServerDown(how="slow"), "no such how: 'slow'"),  # type: ignore[arg-type]
        (lambda: WrongRecord(DB, server="cache-a"), "no such server: 'cache-a'"),
        (lambda: StaleCache(DB, connections="some"), "no such connections: 'some'"),  # type: ignore[arg-type]
    ],
)
def test_fields_that_mean_nothing_are_refused(make: Any, words: str) -> None:
    with pytest.raises(LabError, match=words):
        make()
