"""The command `runlab`: what it prints for mistakes, and that it judges and heals from a journal alone."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from runlab import cli
from tests.journals import BOOK, whole_run


def runlab(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int | str | None:
    """Run the command in this process; its exit status."""
    monkeypatch.setattr(sys, "argv", ["runlab", *arguments])
    monkeypatch.setattr(sys, "path", list(sys.path))
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return ended.value.code


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run's folder that holds its journal alone; the current folder is beside it."""
    journal = tmp_path / "reports" / "a-run" / "journal"
    journal.mkdir(parents=True)
    lines = [json.dumps(event) for event in whole_run().events]
    (journal / "main.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return journal.parent


def test_without_a_word_it_says_what_there_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runlab(monkeypatch)
    said = capsys.readouterr()
    assert {"setup", "doctor", "drill", "judge", "heal", "up", "inject", "bench"} <= set((said.out + said.err).split())


def test_a_journal_is_judged_again(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    status = runlab(monkeypatch, "judge", str(run))
    results = json.loads((run / "results.json").read_text(encoding="utf-8"))
    assert status == results["run"]["exit_status"]
    assert {"results.json", "junit.xml", "summary.md", "index.html"} <= {file.name for file in run.iterdir()}
    assert BOOK in capsys.readouterr().out


@pytest.mark.parametrize("command", ["judge", "heal"])
def test_a_folder_without_a_journal_is_one_line(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    assert runlab(monkeypatch, command, "nowhere") == 2
    said = capsys.readouterr()
    assert said.err == "runlab: nowhere/journal: no journal here; give a folder such as reports/latest\n"
    assert said.out == ""


@pytest.mark.parametrize("command", ["judge", "heal"])
def test_without_a_folder_it_is_the_latest(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    assert runlab(monkeypatch, command) == 2
    assert capsys.readouterr().err.startswith("runlab: reports/latest/journal: no journal here")
    (run.parent / "latest").symlink_to(run.name)
    assert runlab(monkeypatch, command) != 2


def test_a_broken_journal_line_is_named(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = run / "journal" / "main.jsonl"
    lines = file.read_text(encoding="utf-8").splitlines()
    file.write_text("\n".join([*lines[:3], '{"half', *lines[3:]]), encoding="utf-8")
    assert runlab(monkeypatch, "judge", str(run)) == 2
    assert capsys.readouterr().err == f"runlab: {file}:4: not a journal line\n"
    assert not (run / "results.json").exists()


def test_a_journal_of_another_edition_is_one_line(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = run / "journal" / "main.jsonl"
    file.write_text(file.read_text(encoding="utf-8").replace('"runbook":', '"book":'), encoding="utf-8")
    assert runlab(monkeypatch, "judge", str(run)) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"runlab: {run}: its journal is of another edition (")
    assert said.count("\n") == 1


def test_a_bad_lab_toml_is_one_line(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("lab.toml").write_text("min_executed = 'all'\n", encoding="utf-8")
    assert runlab(monkeypatch, "judge", str(run)) == 2
    assert capsys.readouterr().err.startswith("runlab: lab.toml:1: min_executed: input should be a valid integer")


def test_what_lab_toml_wants_executed_counts_here_too(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("lab.toml").write_text("min_executed = 1000\n", encoding="utf-8")
    assert runlab(monkeypatch, "judge", str(run)) == 1


def test_reports_that_can_not_be_written_are_one_line(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (run / "results.json").mkdir()
    assert runlab(monkeypatch, "judge", str(run)) == 2
    assert capsys.readouterr().err.startswith(f"runlab: {run}: can't be written: ")


def test_a_run_whose_stack_has_ended_needs_no_healing(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert runlab(monkeypatch, "heal", str(run)) == 0
    assert capsys.readouterr().out.count("\n") == 1


def test_a_drill_is_pytest_in_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []

    def execv(_path: str, command: list[str]) -> None:
        asked.append(command)
        raise SystemExit(0)

    monkeypatch.setattr(os, "execv", execv)
    assert runlab(monkeypatch, "drill", "-k", "Lock", "--time-scale", "1") == 0
    assert asked == [
        [sys.executable, "-m", "pytest", "scenarios", "--drill", "-q", "-k", "Lock", "--time-scale", "1"],
    ]


def test_the_doctor_shows_a_table(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert runlab(monkeypatch, "doctor") == 0
    assert "postgres" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("faults.database:LongQeury",), "faults.database has no fault LongQeury; did you mean LongQuery?"),
        (("faults.database:LongQuery",), "faults.database:LongQuery lacks table; give table=…"),
        (("faults.database:LongQuery", "table=projects"), "lab.toml: no such file; run from the folder that holds"),
    ],
)
def test_a_fault_that_can_not_be_injected_is_one_line(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: tuple[str], said: str
) -> None:
    assert runlab(monkeypatch, "inject", *words) == 2
    found = capsys.readouterr()
    assert found.err.startswith(f"runlab: {said}")
    assert found.err.count("\n") == 1
    assert found.out == ""


@pytest.mark.parametrize("command", [("up",), ("bench", "stack"), ("up", "--time-scale", "2")])
def test_outside_a_laboratory_nothing_is_started(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: tuple[str, ...]
) -> None:
    assert runlab(monkeypatch, *command) == 2
    assert capsys.readouterr().err == "runlab: lab.toml: no such file; run from the folder that holds lab.toml\n"
