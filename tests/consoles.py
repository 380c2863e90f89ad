"""An operator's console that runs nothing: what it was asked to run, and what it wrote down."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runlab.console import Found, Operator, Output
from runlab.journal import Journal
from runlab.model import Claim, CommandResult, Part
from runlab.settings import ConsoleSettings, Family

QUERY = "SELECT pid FROM pg_stat_activity"

KILL = "SELECT pg_terminate_backend(pid)"

DROP = "ALTER TABLE ... DROP COLUMN ..."

HOSTS = {"postgres": "127.9.9.2", "pipeline": "127.9.9.3", "api": "127.9.9.4", "mariadb": "127.9.9.5"}

SETTINGS = ConsoleSettings(
    time_limit_s=7.0,
    families={
        "psql": Family(
            statements=("select",), service="postgres", database="platform", role="oncall", password="ONCALL_PASSWORD"
        ),
        "psql-owner": Family(
            tool="psql",
            statements=("alter table drop column",),
            service="postgres",
            database="platform",
            role="app",
            password="APP_PASSWORD",
        ),
        "mariadb": Family(
            statements=("select", "kill"),
            service="mariadb",
            database="platform",
            role="oncall",
            password="ONCALL_PASSWORD",
        ),
        "mariadb-owner": Family(
            tool="mariadb",
            statements=("alter table drop column",),
            service="mariadb",
            database="platform",
            role="app",
            password="APP_PASSWORD",
        ),
        "curl": Family(services=("pipeline", "api")),
        "lsof": Family(account="service"),
    },
)


@dataclass
class RecordingStack:
    """Runs nothing; writes down what it was asked to run, and answers with each of `stdout`, the last over again."""

    stdout: list[str] = field(default_factory=lambda: [""])
    status: int = 0
    started: set[str] = field(default_factory=lambda: set(HOSTS))
    asked: list[dict[str, Any]] = field(default_factory=list)

    runtime = "sandbox"

    def inside(self, service: str) -> str:
        return HOSTS[service]

    def log_files(self) -> Mapping[str, Path]:
        return {service: Path(service) for service in self.started}

    def secret(self, name: str) -> str:
        return f"secret of {name}"

    def execute(
        self,
        argv: Sequence[str],
        *,
        account: str,
        on: str,
        environment: Mapping[str, str] | None = None,
        time_limit_s: float,
    ) -> CommandResult:
        self.asked.append(
            {"argv": list(argv), "account": account, "on": on, "environment": environment, "limit": time_limit_s}
        )
        stdout = self.stdout.pop(0) if len(self.stdout) > 1 else self.stdout[0]
        return CommandResult(tuple(argv), self.status, stdout, "", 0.25)


@dataclass
class Console:
    """An operator, what it had run, and what it wrote down."""

    operator: Operator
    stack: RecordingStack
    journal: Journal

    @property
    def commands(self) -> list[dict[str, Any]]:
        events = [json.loads(line) for line in self.journal.path.read_text(encoding="utf-8").splitlines()]
        assert all(event["kind"] == "command" for event in events)
        return events

    def argv(self) -> list[str]:
        (only,) = self.stack.asked
        return list(only["argv"])


def new_console(folder: Path) -> Console:
    """A console whose journal is in `folder`; who made it closes the journal."""
    claim = Claim("RB-1/recover/1", "RB-1", "recover", "", f"Look: `{QUERY}`", "x.md", 3, (), (Part(QUERY, "command"),))
    stack, journal = RecordingStack(), Journal(folder, "run")
    return Console(Operator(stack, journal, SETTINGS, claim), stack, journal)  # type: ignore[arg-type]


def printed(stdout: str, *, program: str = "psql", evidence: str = "main:1", status: int = 0) -> Output:
    return Output(((CommandResult((program,), status, stdout, "", 0.0), evidence),))


def found(*values: str) -> Found:
    return printed("\n".join(values)).lines()
