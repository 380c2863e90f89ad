"""The servers and tools that the lab uses, and where each is found: one list for set-up, doctor and the stack."""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

POSTGRES_HOMES = Path("/usr/lib/postgresql")
ADMIN_PATHS = ("/usr/local/sbin", "/usr/sbin", "/sbin")


@dataclass(frozen=True)
class Program:
    """A program by the name that upstream gives it. `binaries` are its names on disk, any one of which will do."""

    name: str
    kind: Literal["server", "tool"]
    package: str  # of Debian
    binaries: tuple[str, ...]
    purpose: str

    def find(self) -> Path | None:
        """Where it is, or None. Debian's PostgreSQL servers lie outside PATH; the newest version counts."""
        folders = [*os.environ.get("PATH", os.defpath).split(os.pathsep), *ADMIN_PATHS]
        if self.package == "postgresql":
            folders += [str(home / "bin") for home in _newest_first(POSTGRES_HOMES)]
        for binary in self.binaries:
            found = shutil.which(binary, path=os.pathsep.join(folders))
            if found:
                return Path(found)
        return None


def _newest_first(homes: Path) -> list[Path]:
    versions = [home for home in homes.glob("*") if re.fullmatch(r"[0-9.]+", home.name)]
    return sorted(versions, key=lambda home: [int(part) for part in home.name.split(".") if part], reverse=True)


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
    Program("pg_ctl", "tool", "postgresql", ("pg_ctl",), "starts and stops it"),
    Program("promtool", "tool", "prometheus", ("promtool",), "checks the alert rules"),
    Program("psql", "tool", "postgresql-client", ("psql",), "the operator's SQL"),
    Program("curl", "tool", "curl", ("curl",), "the operator's HTTP"),
)


def find(name: str) -> Path | None:
    """Where the program of that name in PROGRAMS is, or None when it is missing. Raises KeyError for another name."""
    return {program.name: program for program in PROGRAMS}[name].find()
