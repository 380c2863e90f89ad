"""What `runlab doctor` says of a machine: each program and capability, what is missing and how to get it."""

from __future__ import annotations

from pathlib import Path

import pytest

from runlab.setup import doctor, programs
from tests.programs import executable

CHECKOUT = Path(__file__).resolve().parents[1]


def test_doctor_shows_each_program_and_capability_once() -> None:
    rows = doctor.examine(CHECKOUT)
    names = [row.name for row in rows]
    assert len(names) == len(set(names))
    assert {program.name for program in programs.PROGRAMS} < set(names)
    assert {"pid-namespace", "switch-accounts", "loopback-block", "temporary-folder", "toxiproxy"} < set(names)
    assert {"squawk", "unconfined-servers", "sandbox"} < set(names)
    assert all(row.detail for row in rows)
    assert all(row.mend for row in rows if not row.present)
    assert len(doctor.as_text(rows).splitlines()) == len(rows)


def test_doctor_says_how_to_get_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "SYSTEM", (str(tmp_path),))
    row = next(row for row in doctor.examine(CHECKOUT) if row.name == "prometheus")
    assert (row.present, row.mend) == (False, "apt-get install --no-install-recommends prometheus")


def test_doctor_needs_no_server_that_can_be_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "SYSTEM", (str(tmp_path),))
    monkeypatch.setattr(programs, "CHECKOUT", tmp_path)
    rows = {row.name: row for row in doctor.examine(CHECKOUT)}
    assert rows["haproxy"].needed
    assert not rows["haproxy"].present
    assert not any(rows[name].needed for name in ("mariadbd", "toxiproxy-server"))
    assert "or install Go 1.23 or newer" in rows["toxiproxy"].mend


def test_doctor_starts_nothing_but_to_be_told_a_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "SYSTEM", (str(tmp_path),))
    installer = executable(tmp_path / "mariadb-install-db")
    installer.write_text(f"#!/bin/sh\ntouch {tmp_path}/went-to-work\n")
    row = next(row for row in doctor.examine(CHECKOUT) if row.name == "mariadb-install-db")
    assert row.present
    assert not (tmp_path / "went-to-work").exists()


@pytest.mark.parametrize(
    ("profiles", "present"),
    [
        ("/usr/bin/man (enforce)\n{mariadbd} (complain)\n", True),
        ("{mariadbd} (enforce)\n", False),
        ("mariadbd (enforce)\n", False),
        (None, True),
    ],
)
def test_doctor_names_a_server_that_apparmor_confines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, profiles: str | None, present: bool
) -> None:
    monkeypatch.setattr(programs, "SYSTEM", (str(tmp_path),))
    server = executable(tmp_path / "mariadbd")
    monkeypatch.setattr(doctor, "APPARMOR_PROFILES", tmp_path / "profiles")
    if profiles is not None:
        (tmp_path / "profiles").write_text(profiles.format(mariadbd=server))
    row = next(row for row in doctor.examine(CHECKOUT) if row.name == "unconfined-servers")
    assert (row.present, row.mend) == (present, "" if present else f"aa-complain {server} (package apparmor-utils)")


@pytest.mark.parametrize(
    ("said", "version"),
    [
        ("mariadb  Ver 15.1 Distrib 10.11.19-MariaDB, for debian-linux-gnu (x86_64)", "10.11.19-MariaDB"),
        ("postgres (PostgreSQL) 15.20 (Debian 15.20-0+deb12u1)", "15.20"),
        ("HAProxy version 2.6.12-1+deb12u4 2025/10/01 - https://haproxy.org/", "2.6.12-1+deb12u4"),
        ("nothing of the kind", "version unknown"),
    ],
)
def test_doctor_reads_versions(tmp_path: Path, said: str, version: str) -> None:
    program = executable(tmp_path / "program")
    program.write_text(f"#!/bin/sh\necho '{said}'\n")
    assert doctor._version(program) == version


def test_doctor_says_why_there_is_no_sandbox(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "sandbox_obstacle", lambda: "no network namespaces: unshare failed")
    row = next(row for row in doctor.examine(CHECKOUT) if row.name == "sandbox")
    assert (row.present, row.needed, row.detail) == (False, False, "no network namespaces: unshare failed")
    assert "all services share one host" in row.mend or "sysctl" in row.mend


def test_doctor_knows_a_sandbox_that_can_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "sandbox_obstacle", lambda: None)
    assert next(row for row in doctor.examine(CHECKOUT) if row.name == "sandbox").present


@pytest.mark.parametrize("name", ["tc", "ping", "dig", "dnsmasq", "iptables"])
def test_doctor_tells_the_version_of_a_tool_where_it_is(name: str) -> None:
    row = next(row for row in doctor.examine(CHECKOUT) if row.name == name)
    assert not row.present or "version unknown" not in row.detail
