"""The virtual environment: left alone while it is up to date, noticed when it is not, mended with the least work."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from runlab.setup import __main__ as command
from runlab.setup import environment, interpreter, packages, place, toxiproxy, uv
from runlab.setup.steps import set_up


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with a virtual environment that has one package and is up to date."""
    for module in (interpreter, place):  # pytest's folders are 0700: no other account can enter them
        monkeypatch.setattr(module, "can_switch_accounts", lambda: False)
    (tmp_path / "requirements.lock").write_text("one==1.0\n")
    (tmp_path / "pyproject.toml").write_text("")
    venv = tmp_path / ".venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    site = next(venv.glob("lib/python3*/site-packages"))
    (site / "one-1.0.dist-info").mkdir()
    (site / "one.py").write_text("")
    (site / "one-1.0.dist-info" / "RECORD").write_text("one.py,sha256=x,0\n__pycache__/one.cpython-311.pyc,,\n")
    (venv / environment.STAMP).write_text(json.dumps(environment._stamp(tmp_path, venv)))
    return tmp_path


def remove_file(checkout: Path) -> None:
    next(checkout.glob(".venv/lib/*/site-packages/one.py")).unlink()


def change_lock(checkout: Path) -> None:
    (checkout / "requirements.lock").write_text("one==2.0\n")


def change_project(checkout: Path) -> None:
    (checkout / "pyproject.toml").write_text("# changed")


def dangle(checkout: Path) -> None:
    python = checkout / ".venv" / "bin" / "python"
    python.unlink()
    python.symlink_to("/no/such/python")


def forget_base(checkout: Path) -> None:
    (checkout / ".venv" / "pyvenv.cfg").unlink()


def spoil_stamp(checkout: Path) -> None:
    (checkout / ".venv" / environment.STAMP).write_text("[")


def remove_venv(checkout: Path) -> None:
    shutil.rmtree(checkout / ".venv")


def test_an_environment_that_is_up_to_date_is_left_alone(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert environment.ready(checkout)
    monkeypatch.setattr(uv, "obtain", lambda _: pytest.fail("nothing was to be done"))
    environment.make(checkout)


@pytest.mark.parametrize(
    "harm", [remove_file, change_lock, change_project, dangle, forget_base, spoil_stamp, remove_venv]
)
def test_an_environment_that_is_not_is_noticed(checkout: Path, harm: Callable[[Path], None]) -> None:
    harm(checkout)
    assert not environment.ready(checkout)


def test_an_environment_copied_with_its_checkout_is_made_anew(checkout: Path) -> None:
    copy = checkout / "copy"
    shutil.copytree(checkout, copy, symlinks=True)
    assert not environment.ready(copy)
    assert environment._made_here(checkout / ".venv")
    assert not environment._made_here(copy / ".venv")


def test_only_the_checkout_is_installed_again_when_the_lock_is_the_same(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[str | Path, ...]] = []
    monkeypatch.setattr(uv, "obtain", lambda _: Path("uv"))
    monkeypatch.setattr(environment, "run", lambda words, **_: calls.append(words))
    change_project(checkout)
    environment.make(checkout)
    assert [words[2] for words in calls] == ["install"]
    assert environment.ready(checkout)
    change_lock(checkout)
    environment.make(checkout)
    assert [words[2] for words in calls] == ["install", "sync", "install"]


def test_an_unwritable_checkout_is_one_line(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    change_lock(checkout)
    monkeypatch.setattr(os, "access", lambda *_: False)
    monkeypatch.setattr(command, "CHECKOUT", checkout)
    monkeypatch.setattr(packages, "missing", lambda: ())
    monkeypatch.setattr(toxiproxy, "wanted", lambda _: False)
    assert command.main(["setup"]) == 2
    assert capsys.readouterr().err.startswith(f"setup: {checkout}: not writable; ")


def test_the_second_time_nothing_is_run_but_the_environment_s_own_python(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(packages, "missing", lambda: ())
    monkeypatch.setattr(toxiproxy, "wanted", lambda _: False)
    monkeypatch.setattr(subprocess, "Popen", spy := Spy(subprocess.Popen))
    set_up(checkout)
    assert {Path(words[0]).name for words in spy.commands} <= {"python", "true"}
    assert re.fullmatch(r"setup: ready \(\d\.\d s\)\n", capsys.readouterr().out)


class Spy:
    """Passes calls on and remembers the commands."""

    def __init__(self, real: type[subprocess.Popen[str]]) -> None:
        self.real, self.commands = real, list[list[str]]()

    def __call__(self, words: list[str], *rest: object, **named: object) -> object:
        self.commands.append(words)
        return self.real(words, *rest, **named)  # type: ignore[call-overload]
