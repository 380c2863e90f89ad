"""The servers and tools that the lab uses, and where each is found: one list for set-up, doctor and the stack."""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

POSTGRES_HOMES = Path("/usr/lib/postgresql")
SYSTEM = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")


@dataclass(frozen=True)
class Program:
    """A program by the name that upstream gives it. `binaries` are its names on disk, any one of which will do."""

    name: str
    kind: Literal["server", "tool"]
    package: str  # of Debian
    binaries: tuple[str, ...]
    purpose: str

    def find(self) -> Path | None:
        """Where it is on `system_path`, or None."""
        found = (shutil.which(binary, path=system_path()) for binary in self.binaries)
        return next((Path(path) for path in found if path), None)


def system_path() -> str:
    """The PATH on which a run looks for programs, whatever the user's own: PostgreSQL's newest, then the system's.

    Debian keeps PostgreSQL's servers in a folder per major version, outside PATH; a newer one can hold clients only.
    """
    return os.pathsep.join((*(str(home / "bin") for home in _newest_first(POSTGRES_HOMES)), *SYSTEM))


def _newest_first(homes: Path) -> list[Path]:
    versions = [home for home in homes.glob("*") if re.fullmatch(r"\d+(\.\d+)?", home.name)]
    return sorted(versions, key=lambda home: [int(part) for part in home.name.split(".")], reverse=True)


PROGRAMS: tuple[Program, ...] = (
    Program("postgres", "server", "postgresql", ("postgres",), "the platform's database"),
    Program("prometheus", "server", "prometheus", ("prometheus",), "scrapes, and evaluates the alert rules"),
    Program(
        "alertmanager",
        "server",
        "prometheus-alertmanager",
        ("prometheus-alertmanager", "alertmanager"),
        "delivers alerts",
    ),
    Program(
        "pushgateway",
        "server",
        "prometheus-pushgateway",
        ("prometheus-pushgateway", "pushgateway"),
        "keeps the deploy pipeline's metrics",
    ),
    Program("initdb", "tool", "postgresql", ("initdb",), "makes a run's own cluster"),
    Program("promtool", "tool", "prometheus", ("promtool",), "checks the alert rules"),
    Program("psql", "tool", "postgresql-client", ("psql",), "the operator's SQL"),
    Program("curl", "tool", "curl", ("curl",), "the operator's HTTP"),
)


def find(name: str) -> Path | None:
    """Where the program of that name in PROGRAMS is, or None when it is missing. Raises KeyError for another name."""
    return {program.name: program for program in PROGRAMS}[name].find()
