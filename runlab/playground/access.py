"""How people reach the servers of a running stack: addresses, URLs, and lines to paste into any terminal.

A password is never part of a line, since every account can read the arguments of every process: it stands in a file
(0600) in the run's own folder, which goes when the stack does. The roles are those of lab.toml's console, so that one
looks at a server as its runbook's reader does, and the server's own superuser.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from runlab.model import LabError
from runlab.settings import Family
from runlab.stack.compose import Compose
from runlab.stack.processes import ProcessStack

POSTGRES, MARIADB, REDIS = 5432, 3306, 6379
_SUPERUSERS = {POSTGRES: ("postgres", "POSTGRES_PASSWORD"), MARIADB: ("root", "MARIADB_ROOT_PASSWORD")}
_PAGES = {8405: "/stats", 8474: "/proxies"}
"""By port, where not "/" is worth opening: HAProxy's statistics, Toxiproxy's API."""


@dataclass(frozen=True)
class Address:
    """A port on which `service` listens; `behind` is the service that a proxy's address stands for, else ""."""

    service: str
    host: str
    port: int
    behind: str = ""

    @property
    def shown(self) -> str:
        """A URL that a browser can open, but for a database."""
        place = f"{self.host}:{self.port}"
        return place if self.port in (POSTGRES, MARIADB, REDIS) else f"http://{place}{_PAGES.get(self.port, '/')}"


@dataclass(frozen=True)
class Line:
    """A command to paste; `what` says whose server it opens, and as which role."""

    what: str
    command: str


@dataclass(frozen=True)
class Login:
    """A role that may enter `service`; `password` is the password itself."""

    service: str
    role: str
    password: str
    database: str


def addresses(stack: ProcessStack, described: Compose) -> list[Address]:
    """Every port of every service that runs, in the order of compose.yaml, and of the proxies in front of them."""
    behind = {host: service for host, _, service in described.fronts()}
    return [
        Address(name, stack.host(name), port, behind=behind.get(name, ""))
        for name, ports in stack.ports.items()
        for port in ports
    ]


def lines(stack: ProcessStack, reached: Sequence[Address], families: Mapping[str, Family]) -> list[Line]:
    """A command for each database and each role that may enter it; writes the files that these commands read."""
    folder = stack.control.parent / "access"
    folder.mkdir(mode=0o700, exist_ok=True)
    return [line for address in reached for line in _lines(stack, address, families, folder)]


def write(console: Console, stack: ProcessStack, described: Compose, families: Mapping[str, Family]) -> None:
    """Write to `console` how each server is reached; a line to paste is never broken or padded."""
    reached = addresses(stack, described)
    console.print(_table(reached))
    for line in lines(stack, reached, families):
        console.print(Text(f"\n{line.what}\n{line.command}"), soft_wrap=True)
    without: dict[str, list[str]] = {}
    for capability, why in stack.missing.items():
        without.setdefault(why, []).append(capability)
    for why, capabilities in without.items():
        console.print(Text(f"\nleft out: {', '.join(capabilities)} ({why})"), soft_wrap=True)


def _table(reached: Sequence[Address]) -> Table:
    made = Table(box=None, pad_edge=False)
    for title in ("service", "address"):
        made.add_column(title, no_wrap=True, overflow="ignore")
    for it in reached:
        made.add_row(Text(f"{it.service} (to {it.behind})" if it.behind else it.service), it.shown)
    return made


def _lines(stack: ProcessStack, it: Address, families: Mapping[str, Family], folder: Path) -> Iterator[Line]:
    if it.port == REDIS:
        yield Line(it.service, f"redis-cli -h {it.host}")
    if it.port not in _SUPERUSERS:
        return
    for login in _logins(stack, it, families):
        what = f"{it.service} as {login.role}"
        file = folder / f"{it.service}-{login.role}"
        if it.port == POSTGRES:
            fields = (it.host, str(it.port), "*", login.role, login.password)
            _write(file, ":".join(field.replace("\\", "\\\\").replace(":", "\\:") for field in fields))
            yield Line(what, f"PGPASSFILE={_quoted(file)} psql -h {it.host} -U {login.role} {login.database}")
        else:
            password = login.password.replace("\\", "\\\\").replace('"', '\\"')
            _write(file, f'[client]\nhost={it.host}\nport={it.port}\nuser={login.role}\npassword="{password}"')
            yield Line(what, f"mariadb --defaults-file={_quoted(file)} {login.database}")


def _logins(stack: ProcessStack, it: Address, families: Mapping[str, Family]) -> Iterator[Login]:
    """The roles of lab.toml's console, each once, and then the superuser."""
    service = it.behind or it.service
    role, password = _SUPERUSERS[it.port]
    ours = [family for family in families.values() if family.service == service and family.role]
    wanted = {family.role: (family.password, family.database) for family in ours}
    wanted.setdefault(role, (password, next((family.database for family in ours), "")))
    for role, (secret, database) in wanted.items():
        try:
            yield Login(service, role, stack.secret(secret), database)
        except LabError:  # this stack has no such role
            continue


def _write(file: Path, text: str) -> None:
    """Make the file readable by nobody else before there is a password in it."""
    file.unlink(missing_ok=True)
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
        opened.write(text + "\n")


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))
