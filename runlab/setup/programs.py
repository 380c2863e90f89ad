"""The servers and tools that the lab uses, and where each is found: one list for set-up, doctor and the stack."""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

CHECKOUT = Path(__file__).resolve().parents[2]
POSTGRES_HOMES = Path("/usr/lib/postgresql")
TOXIPROXY_VERSION = "2.12.0"
SYSTEM = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")


@dataclass(frozen=True)
class Program:
    """A program by the name that upstream gives it. `binaries` are its names on disk, any one of which will do."""

    name: str
    kind: Literal["server", "tool"]
    package: str | None  # of Debian; None: it has none
    binaries: tuple[str, ...]
    purpose: str
    optional: bool = False  # only services that may be left out need it
    tells_version: bool = True  # whether `--version` only tells its version

    def find(self) -> Path | None:
        """Where it is on `system_path`, or None."""
        found = (shutil.which(binary, path=system_path()) for binary in self.binaries)
        return next((Path(path) for path in found if path), None)


def system_path() -> str:
    """The PATH on which a run looks for programs, whatever the user's own: PostgreSQL's newest, then the system's.

    Debian keeps PostgreSQL's servers in a folder per major version, outside PATH; a newer one can hold clients only.
    Last comes what set-up itself made, by the path on which the services' account can reach it.
    """
    postgres = (str(home / "bin") for home in _newest_first(POSTGRES_HOMES))
    return os.pathsep.join((*postgres, *SYSTEM, os.path.realpath(toxiproxy_home())))


def toxiproxy_home(checkout: Path | None = None) -> Path:
    """Where set-up puts Toxiproxy's server; can be a link."""
    return (checkout or CHECKOUT) / ".tools" / f"toxiproxy-{TOXIPROXY_VERSION}"


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
    Program("haproxy", "server", "haproxy", ("haproxy",), "balances the API's replicas"),
    # not mariadb-server: only that one makes a database, an account and a service that starts at boot
    Program("mariadbd", "server", "mariadb-server-core", ("mariadbd",), "the archive's database", optional=True),
    Program(
        "toxiproxy-server",
        "server",
        None,
        ("toxiproxy-server",),
        "delays and cuts the connections to the databases",
        optional=True,
    ),
    Program("initdb", "tool", "postgresql", ("initdb",), "makes a run's own cluster"),
    Program("promtool", "tool", "prometheus", ("promtool",), "checks the alert rules"),
    Program("psql", "tool", "postgresql-client", ("psql",), "the operator's SQL"),
    Program("pg_dump", "tool", "postgresql-client", ("pg_dump",), "copies production for a rehearsal"),
    Program(
        "mariadb-install-db",
        "tool",
        "mariadb-server-core",
        ("mariadb-install-db",),
        "makes a run's own MariaDB",
        optional=True,
        tells_version=False,  # it would go to work on the system's own data folder
    ),
    Program("mariadb", "tool", "mariadb-client", ("mariadb",), "the operator's SQL on MariaDB", optional=True),
    Program(
        "mariadb-dump",
        "tool",
        "mariadb-client",
        ("mariadb-dump",),
        "copies MariaDB's production for a rehearsal",
        optional=True,
    ),
    Program("curl", "tool", "curl", ("curl",), "the operator's HTTP"),
    Program(
        "blackbox_exporter",
        "server",
        "prometheus-blackbox-exporter",
        ("prometheus-blackbox-exporter", "blackbox_exporter"),
        "looks at the platform from outside",
        optional=True,
    ),
    Program("dnsmasq", "server", "dnsmasq-base", ("dnsmasq",), "the name servers of a sandbox", optional=True),
    Program("redis-server", "server", "redis-server", ("redis-server",), "keeps the sessions", optional=True),
    Program("redis-cli", "tool", "redis-tools", ("redis-cli",), "asks whether Redis is well", optional=True),
    Program("iptables", "tool", "iptables", ("iptables",), "the packet filter of a sandbox's hosts", optional=True),
    Program("tc", "tool", "iproute2", ("tc",), "bounds the bandwidth between a sandbox's hosts", optional=True),
    Program("ping", "tool", "iputils-ping", ("ping",), "asks whether a host answers", optional=True),
    Program("traceroute", "tool", "traceroute", ("traceroute",), "shows where packets get lost", optional=True),
    Program("mtr", "tool", "mtr-tiny", ("mtr",), "shows where packets get lost", optional=True),
    Program("dig", "tool", "bind9-dnsutils", ("dig",), "the operator's look-ups", optional=True),
    Program("pkill", "tool", "procps", ("pkill",), "has a name server's cache emptied", optional=True),
)


def find(name: str) -> Path | None:
    """Where the program of that name in PROGRAMS is, or None when it is missing. Raises KeyError for another name."""
    return {program.name: program for program in PROGRAMS}[name].find()
