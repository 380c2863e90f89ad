"""Set-up's steps side by side: whose lines and errors are whose, and what an interrupt leaves."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from runlab.model import LabError
from runlab.setup import __main__ as command
from runlab.setup import environment, no_daemons, packages, steps, toxiproxy, uv
from runlab.setup.crew import CREW, Command, Crew, Stopped, say, side_by_side
from runlab.setup.run import run
from runlab.waiting import wait_until

CHECKOUT = Path(__file__).resolve().parents[1]


def fail(message: str) -> None:
    raise LabError(message)


# --------------------------------------------------------------------------------------------------- lines and errors


def test_each_step_names_itself_and_lines_stay_whole() -> None:
    # the pipe is drained while they write, as a terminal's is
    code = (
        "from runlab.setup.crew import say, side_by_side\n"
        "def talk(): [say('x' * 200) for _ in range(300)]\n"
        "side_by_side({'one': talk, 'two': talk}); say('ready')"
    )
    said = subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    lines = said.stdout.splitlines()
    assert lines.pop() == "setup: ready"
    assert {*lines} == {f"setup: {name}: {'x' * 200}" for name in ("one", "two")}
    assert len(lines) == 600


def test_an_error_is_raised_when_the_others_have_ended() -> None:
    failed, ended = threading.Event(), list[str]()

    def fails() -> None:
        failed.set()
        fail("no")

    def goes_on() -> None:
        failed.wait()
        run(("true",), doing="going on", mend="")
        ended.append("yes")

    with pytest.raises(LabError, match=r"^no$"):
        side_by_side({"first": fails, "second": goes_on})
    assert ended == ["yes"]


def test_each_error_is_a_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(command, "set_up", lambda _: side_by_side({"a": lambda: fail("one"), "b": lambda: fail("two")}))
    assert command.main(["setup"]) == 2
    assert sorted(capsys.readouterr().err.splitlines()) == ["setup: one", "setup: two"]


# ----------------------------------------------------------------------------------------------- what waits for what


@pytest.fixture
def order(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is done, in its order, on a machine that lacks everything."""
    done: list[str] = []
    monkeypatch.setattr(steps, "mend_after_kill", lambda: None)
    monkeypatch.setattr(packages, "missing", lambda: ("haproxy",))
    monkeypatch.setattr(packages, "can_install", lambda: True)
    monkeypatch.setattr(environment, "ready", lambda _: False)
    monkeypatch.setattr(uv, "obtainable", lambda _: False)
    monkeypatch.setattr(toxiproxy, "wanted", lambda _: False)
    monkeypatch.setattr(packages, "provide", lambda wanted, _: done.append(" ".join(wanted)))
    monkeypatch.setattr(environment, "make", lambda _: done.append("environment"))
    return done


def test_the_environment_waits_only_for_what_it_needs(order: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    made = threading.Event()

    def provide(wanted: tuple[str, ...], _: Path) -> None:
        if wanted == ("haproxy",):
            assert made.wait(5), "the servers come beside the environment"
        order.append(" ".join(wanted))

    monkeypatch.setattr(packages, "provide", provide)
    monkeypatch.setattr(environment, "make", lambda _: (order.append("environment"), made.set()))
    steps.set_up(CHECKOUT)
    assert order == [uv.PACKAGE_FOR_VENV, "environment", "haproxy"]


def test_without_root_all_is_named_at_once(order: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "can_install", lambda: False)
    steps.set_up(CHECKOUT)
    assert sorted(order) == ["environment", f"{uv.PACKAGE_FOR_VENV} haproxy"]


def test_the_environment_is_tried_although_apt_failed(order: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "provide", lambda *_: fail("apt failed"))
    with pytest.raises(LabError, match="apt failed"):
        steps.set_up(CHECKOUT)
    assert order == ["environment"]


# ---------------------------------------------------------------------------------------------------------- interrupts

INTERRUPTED = """
import os, signal, sys
from runlab.setup.__main__ import main
from runlab.setup import __main__ as command
from runlab.setup import crew
from runlab.setup.crew import side_by_side
from runlab.setup.run import run

crew.PATIENCE_S = 0.3

def step(name):
    try:
        # a process of a process, as a compiler's driver has; and one that does not hear the interrupt
        deaf = "trap : INT;" if name == "two" else ""
        run(("sh", "-c", f"{deaf} sleep 60 & echo $! > {name}; wait; wait"), doing="x", mend="")
    finally:
        run(("touch", f"{name}.put-back"), doing="putting back", mend="", undoes=True)
        run(("touch", f"{name}.went-on"), doing="going on", mend="")

os.chdir(sys.argv[1])
command.set_up = lambda _: side_by_side({n: lambda n=n: step(n) for n in ("one", "two")})
sys.exit(main(["setup"]))
"""


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_ends_all_that_was_started_and_puts_back(
    tmp_path: Path, number: signal.Signals, status: int
) -> None:
    process = subprocess.Popen([sys.executable, "-c", INTERRUPTED, str(tmp_path)], cwd=CHECKOUT, text=True)
    files = [tmp_path / name for name in ("one", "two")]
    wait_until("both steps", lambda: all(file.exists() and file.read_text().strip() for file in files), deadline_s=10)
    grandchildren = [int(file.read_text()) for file in files]
    process.send_signal(number)
    assert process.wait(timeout=10) == status
    assert not any(is_running(pid) for pid in grandchildren)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "one.put-back", "two", "two.put-back"]


@pytest.mark.parametrize(("alone", "child"), [(True, "None"), (False, "-2")])
def test_a_package_manager_is_interrupted_alone(alone: bool, child: str) -> None:
    code = (
        "import signal, subprocess\nchild = subprocess.Popen(['sleep', '60'])\n"
        "try:\n"
        "    print('started', flush=True)\n"
        "    signal.pause()\n"  # an interrupted child.wait() may have reaped the child and lost its status
        "except KeyboardInterrupt:\n"
        "    try: print(child.wait(0.3))\n"
        "    except subprocess.TimeoutExpired: print(None)\n"
        "    child.kill()"
    )
    whole = Command([sys.executable, "-c", code], os.environ, None, alone=alone, undoes=False)
    whole.start()
    assert whole.process.stdout is not None
    assert whole.process.stdout.readline() == "started\n"
    whole.interrupt()
    assert whole.process.communicate(timeout=10)[0].strip() == child


def is_running(pid: int) -> bool:
    try:
        return not re.search(r"^State:\s+[ZX]", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    except FileNotFoundError:
        return False


def test_boot_links_are_disabled_after_an_interrupt_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("usr/sbin", "etc/rc2.d", "var/lib/dpkg", "bin"):
        (tmp_path / folder).mkdir(parents=True)
    places = no_daemons.Places(tmp_path)
    tool = tmp_path / "bin" / "update-rc.d"
    tool.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/asked\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    crew = Crew()
    token = CREW.set(crew)
    try:
        with pytest.raises(Stopped), no_daemons.no_daemons(places):  # noqa: PT012 -- as apt does within
            (tmp_path / "etc/rc2.d/S01haproxy").symlink_to("/nowhere")
            crew.stop()
            run(("true",), doing="installing", mend="")
    finally:
        CREW.reset(token)
    assert (tmp_path / "asked").read_text() == "haproxy disable\n"
    assert not places.boot_links()


def test_say_outside_a_step_names_none(capsys: pytest.CaptureFixture[str]) -> None:
    say("ready")
    assert capsys.readouterr().out == "setup: ready\n"
