"""`runlab heal` where there is nothing to heal: one line that says so."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from runlab import cli
from runlab.heal import heal
from runlab.journal import Journal
from runlab.model import LabError
from runlab.stack import processes

UNDO = {"fault": {"class": "faults.database:LongQuery", "fields": {"table": "projects"}}, "undo": {}}


def write(run: Path, *kinds: str, control: Path = Path("/nonexistent/control")) -> Path:
    journal = Journal(run / "journal", "healed")
    for kind in kinds:
        journal.write(kind, **{"stack": {"control": str(control)}, "undo": UNDO}.get(kind, {}))
    journal.close()
    return run


def test_a_run_without_faults(tmp_path: Path) -> None:
    assert list(heal(write(tmp_path, "run-start", "stack"))) == ["no fault was injected"]


@pytest.mark.parametrize("kinds", [("stack", "undo"), ("undo",)])
def test_a_run_whose_stack_has_ended(tmp_path: Path, kinds: tuple[str, ...]) -> None:
    assert list(heal(write(tmp_path, *kinds))) == ["the stack of this run has ended, and its faults with it"]


def test_a_stack_that_nobody_keeps_any_more(tmp_path: Path) -> None:
    control = tmp_path / "control"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(control))
    assert list(heal(write(tmp_path, "stack", "undo", control=control))) == [
        "the stack of this run has ended, and its faults with it"
    ]


def test_a_journal_and_a_stack_of_another_account(tmp_path: Path) -> None:
    control = tmp_path / "control"
    with socket.socket(socket.AF_UNIX) as closed:
        closed.bind(str(control))
        closed.listen()
        run = write(tmp_path / "run", "stack", "undo", control=control)
        run.chmod(0)
        control.chmod(0)
        with unprivileged():
            with pytest.raises(LabError, match="journal: cannot be read: Permission denied; read it as who wrote it"):
                list(heal(run))
            with pytest.raises(LabError, match="control: the stack is another account's; act as who started it"):
                processes.attach(control)
        run.chmod(0o700)


@contextmanager
def unprivileged() -> Iterator[None]:
    """As somebody whom permissions shut out, which root is not."""
    account = os.geteuid()
    if account == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(account)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "no journal here; give a folder such as reports/latest"),
        ("a folder", "cannot be read: Is a directory; read it as who wrote it"),
        (b"\xff\n", ":1: not a journal line"),
        (b"{}\n", ":1: the line lacks run, worker, seq, t, time, kind, arm"),
    ],
    ids=["nothing", "a folder for a journal", "not text", "not a journal"],
)
def test_what_is_no_run_is_one_line(
    tmp_path: Path,
    content: str | bytes | None,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "run" / "journal" / "main.jsonl"
    if content is not None:
        file.parent.mkdir(parents=True)
    if isinstance(content, bytes):
        file.write_bytes(content)
    elif content:
        file.mkdir()
    monkeypatch.setattr(sys, "argv", ["runlab", "heal", str(tmp_path / "run")])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"runlab: {tmp_path}")
    assert captured.err.endswith(f"{said}\n")
    assert captured.err.count("\n") == 1


def test_a_last_line_cut_within_a_character_is_left_out(tmp_path: Path) -> None:
    run = write(tmp_path, "run-start")
    with (run / "journal" / "main.jsonl").open("ab") as file:
        file.write('{"kind": "undo", "detail": "ü'.encode()[:-1])
    assert list(heal(run)) == ["no fault was injected"]
