"""The table of what each runtime can do: made of what a run would ask, with the reason of what it can't."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from rich.console import Console

from runlab import capabilities, cli
from runlab.model import LabError
from runlab.stack import compose, programs, runtimes
from runlab.stack.control import StackError
from runlab.stack.namespaces import SANDBOX_CAPABILITIES

CHECKOUT = Path(__file__).resolve().parents[1]
DRAFT = compose.read(CHECKOUT / "compose" / "compose.yaml")


def here(
    monkeypatch: pytest.MonkeyPatch, *, obstacle: str | None = None, absent: str = ""
) -> dict[tuple[str, str], str]:
    """By capability and runtime why it can't be had on a machine that has all programs but `absent`."""

    def find(program: str, *, service: str) -> str:
        if program == absent:
            raise StackError(f"service {service}: {program} is not installed")
        return f"/bin/{program}"

    monkeypatch.setattr(programs, "find", find)
    monkeypatch.setattr(
        programs, "sandbox_lacks", lambda: {absent: f"{absent} is not there"} if absent == "ping" else {}
    )
    monkeypatch.setattr(runtimes, "sandbox_obstacle", lambda: obstacle)
    return {(it.capability, it.runtime): it.why for it in capabilities.examine(DRAFT)}


def test_the_sandbox_has_what_processes_lack(monkeypatch: pytest.MonkeyPatch) -> None:
    why = here(monkeypatch)
    assert {why[one, "sandbox"] for one in SANDBOX_CAPABILITIES} == {""}
    assert {why[one, "processes"] for one in SANDBOX_CAPABILITIES} == {"the runtime is processes"}
    assert why["mariadb", "sandbox"] == why["mariadb", "processes"] == ""


def test_without_namespaces_the_sandbox_has_nothing_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    why = here(monkeypatch, obstacle="unshare is forbidden")
    assert {reason for (_, runtime), reason in why.items() if runtime == "sandbox"} == {
        "no sandbox here: unshare is forbidden"
    }
    assert why["mariadb", "processes"] == ""


def test_a_program_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    why = here(monkeypatch, absent="mariadbd")
    assert "mariadbd is not installed" in why["mariadb", "sandbox"]
    assert why["mariadb", "processes"] == why["mariadb", "sandbox"]
    assert here(monkeypatch, absent="ping")["ping", "sandbox"] == "ping is not there"


def test_where_nothing_can_be_started_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(LabError, match="haproxy is not installed"):
        here(monkeypatch, absent="haproxy")


def test_each_reason_stands_once_below_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        capabilities.Ability("a", "sandbox", ""),
        capabilities.Ability("a", "processes", "for [b]a[/b] reason"),
        capabilities.Ability("b", "sandbox", "another"),
        capabilities.Ability("b", "processes", "for [b]a[/b] reason"),
    ]
    for part in capabilities.table(rows):
        Console(width=80, highlight=False).print(part)
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[1:] == [
        ["a", "yes", "no", "[1]"],
        ["b", "no", "[2]", "no", "[1]"],
        ["[1]", "for", "[b]a[/b]", "reason"],
        ["[2]", "another"],
    ]


def test_the_command_prints_json(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(CHECKOUT)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "argv", ["runlab", "capabilities", "--json"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 0
    rows = json.loads(capsys.readouterr().out)
    assert {"capability": "ping", "runtime": "processes", "there": False, "why": "the runtime is processes"} in rows
