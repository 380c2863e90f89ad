"""How people reach a stack's servers, and which stack `runlab inject` takes; without any server."""

from __future__ import annotations

import stat
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from runlab import settings
from runlab.journal import Journal
from runlab.model import LabError, Observation
from runlab.playground import access, stand
from runlab.playground.inject import in_words
from runlab.settings import Family
from runlab.stack import compose, programs, runtimes

FAMILIES = {
    "psql": Family(service="postgres", database="platform", role="oncall", password="ONCALL_PASSWORD"),
    "mariadb": Family(service="mariadb", database="platform", role="oncall", password="ONCALL_PASSWORD"),
    "mariadb-owner": Family(service="mariadb", database="platform", role="app", password="APP_PASSWORD"),
    "curl": Family(services=("pipeline",)),
}
COMPOSE = """
services:
  postgres: {command: [postgres], expose: [5432]}
  mariadb: {command: [mariadbd], expose: [3306]}
  cache: {command: [redis-server], expose: [6379]}
  lb: {command: [haproxy], expose: [8000, 8405]}
  toxiproxy: {command: [toxiproxy-server], expose: [8474], x-lab: {fronts: {db: postgres}}}
"""
SECRETS = {
    "POSTGRES_PASSWORD": "one:two\\three",
    "ONCALL_PASSWORD": 'fo"ur',
    "APP_PASSWORD": "five",
    "MARIADB_ROOT_PASSWORD": "six",
}


class FakeStack:
    """What access asks of a stack; its hosts are called as their services."""

    def __init__(self, folder: Path, secrets: Mapping[str, str] = SECRETS) -> None:
        self.control, self._secrets = folder / "control", secrets
        self.missing = {"toxics": "no program", "canary": "no hosts", "ping": "no program"}
        self.ports = {"postgres": (5432,), "mariadb": (3306,), "cache": (6379,), "lb": (8000, 8405), "db": (5432,)}
        self.ports["toxiproxy"] = (8474,)

    def host(self, service: str) -> str:
        return f"{service}.test"

    def secret(self, name: str) -> str:
        if name not in self._secrets:
            raise LabError(f"the stack has no secret {name}")
        return self._secrets[name]


@pytest.fixture
def stack(tmp_path: Path) -> Any:
    return FakeStack(tmp_path)


@pytest.fixture
def described(tmp_path: Path) -> compose.Compose:
    (tmp_path / "compose.yaml").write_text(COMPOSE)
    return compose.read(tmp_path / "compose.yaml")


def lines(stack: Any, described: compose.Compose) -> dict[str, str]:
    return {it.what: it.command for it in access.lines(stack, access.addresses(stack, described), FAMILIES)}


def test_each_role_that_may_enter_a_database_has_a_line(stack: Any, described: compose.Compose, tmp_path: Path) -> None:
    files = tmp_path / "access"
    assert lines(stack, described) == {
        "postgres as oncall": f"PGPASSFILE={files}/postgres-oncall psql -h postgres.test -U oncall platform",
        "postgres as postgres": f"PGPASSFILE={files}/postgres-postgres psql -h postgres.test -U postgres platform",
        "mariadb as oncall": f"mariadb --defaults-file={files}/mariadb-oncall platform",
        "mariadb as app": f"mariadb --defaults-file={files}/mariadb-app platform",
        "mariadb as root": f"mariadb --defaults-file={files}/mariadb-root platform",
        "cache": "redis-cli -h cache.test",
        "db as oncall": f"PGPASSFILE={files}/db-oncall psql -h db.test -U oncall platform",
        "db as postgres": f"PGPASSFILE={files}/db-postgres psql -h db.test -U postgres platform",
    }


def test_passwords_stand_only_in_files_of_our_own(stack: Any, described: compose.Compose, tmp_path: Path) -> None:
    commands = lines(stack, described)
    assert lines(stack, described) == commands  # and it can be asked again
    assert not [command for command in commands.values() for secret in SECRETS.values() if secret in command]
    files = {file.name: file for file in (tmp_path / "access").iterdir()}
    assert {stat.S_IMODE(file.stat().st_mode) for file in files.values()} == {0o600}
    assert stat.S_IMODE((tmp_path / "access").stat().st_mode) == 0o700
    assert files["postgres-postgres"].read_text() == "postgres.test:5432:*:postgres:one\\:two\\\\three\n"
    assert files["mariadb-oncall"].read_text().splitlines() == [
        "[client]", "host=mariadb.test", "port=3306", "user=oncall", 'password="fo\\"ur"'
    ]  # fmt: skip


def test_a_role_whose_password_was_not_made_is_left_out(described: compose.Compose, tmp_path: Path) -> None:
    found = lines(FakeStack(tmp_path, {"APP_PASSWORD": "five"}), described)
    assert set(found) == {"mariadb as app", "cache"}


def test_addresses_and_pages(stack: Any, described: compose.Compose, tmp_path: Path) -> None:
    with (tmp_path / "said").open("w") as file:
        access.write(Console(file=file, width=60, highlight=False), stack, described, FAMILIES)
    said = (tmp_path / "said").read_text().splitlines()
    words = [line.split() for line in said]
    assert ["lb", "http://lb.test:8000/"] in words
    assert ["lb", "http://lb.test:8405/stats"] in words
    assert ["toxiproxy", "http://toxiproxy.test:8474/proxies"] in words
    assert ["db", "(to", "postgres)", "db.test:5432"] in words
    assert ["postgres", "postgres.test:5432"] in words
    assert lines(stack, described)["postgres as postgres"] in said, "a line to paste is on one line of its own"
    assert said[-3::2] == ["left out: toxics, ping (no program)", "left out: canary (no hosts)"]


def begun(reports: Path, name: str, command: str = stand.COMMAND) -> Path:
    book = Journal(reports / name / "journal", name)
    book.write("run-start", schema=1, command=command, seed=name)
    book.write("stack", control=str(reports / "nobody" / "control"), services={})
    book.close()
    return reports / name


@pytest.mark.parametrize(
    ("runtime", "need", "said"),
    [
        ("sandbox", "ping", ""),
        ("sandbox", "private-resolver", ""),
        ("processes", "ping", "ping is missing: the runtime is processes"),
        ("processes", "private-resolver", "private-resolver is missing: .* needs sandbox: the runtime is processes"),
        ("sandbox", "pings", "no service of .* has the capability pings; did you mean ping?"),
    ],
)
def test_what_is_needed_can_be_of_the_runtime(
    runtime: str, need: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtimes, "sandbox_obstacle", lambda: None)
    monkeypatch.setattr(programs, "sandbox_lacks", dict)
    monkeypatch.setattr(programs, "find", lambda program, **_: program)
    lab = settings.load(Path(__file__).resolve().parents[1] / "lab.toml").on_runtime(runtime)
    with pytest.raises(LabError, match=said) if said else nullcontext():
        stand.check_needs(lab, [need])


@pytest.mark.parametrize("command", ["", stand.COMMAND, "pytest scenarios"])
def test_where_no_stack_is_up(tmp_path: Path, command: str) -> None:
    if command:
        (tmp_path / "latest").symlink_to(begun(tmp_path, "a-run", command).name)
    with pytest.raises(LabError, match="no stack is up; start one in another terminal: runlab up"):
        stand.find(tmp_path)


def test_a_run_of_tests_is_no_place_for_a_further_fault(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="a-run: no stack of `runlab up`; faults are injected only there"):
        stand.find(tmp_path, begun(tmp_path, "a-run", "pytest scenarios"))


def test_a_stack_that_has_ended_is_named(tmp_path: Path) -> None:
    with pytest.raises(LabError, match=r"no stack is up in .*a-run; start one"):
        stand.find(tmp_path, begun(tmp_path, "a-run"))


def test_a_foreign_or_broken_folder_is_passed_over(tmp_path: Path) -> None:
    for name, text in {"empty": "", "no json": "{\n", "no object": "[]\n", "no command": "{}\n"}.items():
        (tmp_path / name / "journal").mkdir(parents=True)
        (tmp_path / name / "journal" / "main.jsonl").write_text(text)
    with pytest.raises(LabError, match="no stack is up"):
        stand.find(tmp_path)


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        (Observation(True, "pg_locks", "pid 7 holds", {"pid": [7]}, {"pid": [8]}),
         "in effect: pid 7 holds; steps must find pid 7 (says pg_locks)"),
        (Observation(False, "pg_locks", "no session", {"pid": []}), "not in effect: no session (says pg_locks)"),
    ],
)  # fmt: skip
def test_what_a_witness_says(seen: Observation, words: str) -> None:
    assert in_words(seen) == words
