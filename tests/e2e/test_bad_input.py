"""What can be wrong before and around a run, seen from outside: one line, an exit status, and nothing left.

The laboratory is tests/data/tiny, whose stack is one process. What is wrong with its files is in tests/test_plugin.py.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from runlab.model import JsonObject
from runlab.waiting import wait_until

TINY = Path(__file__).parent.parent / "data" / "tiny"
BOOK, SCENARIO, STEPS = "runbooks/RB-900-stone.md", "scenarios/test_rb900_stone.py", "scenarios/steps_rb900.py"
KILLS_THE_KEEPER = """\
    def trigger(self, laboratory):
        import os, signal
        os.kill(laboratory.stack.keeper_pid, signal.SIGKILL)
"""
AS_ROOT = pytest.mark.skipif(
    os.geteuid() != 0, reason="accounts can only be told apart, and file systems mounted, by root"
)


@dataclass(frozen=True)
class Ended:
    """A session of pytest that has ended."""

    status: int
    output: list[str]

    @property
    def line(self) -> str:
        """The one line that says why nothing was done."""
        (line,) = (line for line in self.output if "runlab: " in line)
        return line.strip("! ").partition("runlab: ")[2]

    def has(self, *words: str) -> bool:
        return any(all(word in line for word in words) for line in self.output)


class Project:
    """A copy of the smallest laboratory, and a temporary directory that only its runs use."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.temporary = folder / "project", folder / "tmp"
        shutil.copytree(TINY, self.folder)
        self.temporary.mkdir()

    def change(self, file: str, old: str, new: str) -> None:
        text = (self.folder / file).read_text(encoding="utf-8")
        assert old in text
        (self.folder / file).write_text(text.replace(old, new), encoding="utf-8")

    def append(self, file: str, more: str) -> None:
        with (self.folder / file).open("a", encoding="utf-8") as opened:
            opened.write(more)

    def begin(self, *arguments: str, before: Sequence[str] = ()) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*before, sys.executable, "-m", "pytest", *(arguments or ("scenarios",))],
            cwd=self.folder,
            env={**os.environ, "TMPDIR": str(self.temporary), "COLUMNS": "250", "PYTHONDONTWRITEBYTECODE": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def pytest(self, *arguments: str, before: Sequence[str] = ()) -> Ended:
        return self.end(self.begin(*arguments, before=before))

    def end(self, session: subprocess.Popen[str]) -> Ended:
        """Wait for its end. No session may show a traceback or leave anything."""
        output, _ = session.communicate(timeout=90)
        assert "Traceback" not in output
        assert "INTERNALERROR" not in output
        assert self.left() == []
        return Ended(session.returncode, output.splitlines())

    def left(self) -> list[str]:
        """What is still there of the project's runs: folders, and processes that carry their mark."""
        found = [str(path) for path in self.temporary.glob("runlab-*")]
        mark = str(self.temporary).encode()
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if mark in process.joinpath("environ").read_bytes():
                    found.append(process.joinpath("cmdline").read_text().replace("\0", " "))
            except OSError:
                continue
        return found

    def results(self) -> JsonObject:
        results: JsonObject = json.loads(
            (self.folder / "reports" / "latest" / "results.json").read_text(encoding="utf-8")
        )
        return results

    def events(self, kind: str) -> list[JsonObject]:
        (file,) = (self.folder / "reports" / "latest").glob("journal/*.jsonl")
        events = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        return [event for event in events if event["kind"] == kind]


@pytest.fixture
def project() -> Iterator[Project]:
    # not pytest's own: sockets need short paths, and the stack's accounts a way in
    folder = Path(tempfile.mkdtemp(prefix="bad-", dir="/tmp"))
    folder.chmod(0o755)
    yield Project(folder)
    shutil.rmtree(folder)


# --------------------------------------------------------------------------------------------- it does not start


def test_a_service_that_ends_right_away_ends_the_run(project: Project) -> None:
    project.change("compose.yaml", '[sleep, "300"]', '[ls, "/nowhere"]')
    # without a health check it would count as up at once, and might die only in the first arm
    project.change("compose.yaml", "    expose", '    healthcheck: {test: [CMD, sleep, "0.5"]}\n    expose')
    ended = project.pytest()
    assert ended.status == 2
    assert ended.line.startswith("service stone ended")
    assert not ended.has("test_rb900")


def test_a_service_that_never_gets_healthy_ends_the_run(project: Project) -> None:
    health = "    healthcheck: {test: [CMD, ls, /nowhere], interval: 100ms, retries: 3}\n"
    project.change("compose.yaml", "    expose", health + "    expose")
    ended = project.pytest()
    assert ended.status == 2
    assert ended.line.startswith("service stone is not healthy after 0.3 s: ")


def test_a_server_that_is_not_installed_is_named_with_the_mend(project: Project) -> None:
    project.change("compose.yaml", '[sleep, "300"]', "[postgres, -D, data]")
    hide = "\n\nimport runlab.stack.programs\nrunlab.stack.programs.service_path = lambda: '/nowhere'\n"
    project.append("conftest.py", hide)
    ended = project.pytest()
    assert (ended.status, ended.line) == (2, "service stone: postgres is not installed; run `make setup`")


def test_without_a_free_block_the_occupied_port_is_named(project: Project) -> None:
    with socket.socket() as everywhere:
        everywhere.bind(("0.0.0.0", 0))
        everywhere.listen()
        port = everywhere.getsockname()[1]
        project.change("compose.yaml", "5999", str(port))
        ended = project.pytest()
    assert ended.status == 2
    assert ended.line.startswith(
        f"no free loopback block in 40 tries: port {port}, needed by stone, is occupied on 127."
    )
    assert ended.line.endswith("stop what listens there; a server on 0.0.0.0 occupies its port in every block")


def test_a_watcher_that_can_not_begin_ends_the_run(project: Project) -> None:
    project.change(
        "conftest.py", "    return [Passer", "    raise ConnectionRefusedError('no Prometheus')\n    return [Passer"
    )
    ended = project.pytest()
    assert (ended.status, ended.line) == (2, "the watchers could not begin: ConnectionRefusedError: no Prometheus")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_during_the_start_leaves_nothing(project: Project, number: int) -> None:
    health = "    healthcheck: {test: [CMD, ls, /nowhere], interval: 100ms, retries: 600}\n"
    project.change("compose.yaml", "    expose", health + "    expose")
    session = project.begin()
    wait_until("the stack", lambda: list(project.temporary.glob("runlab-*/control")), deadline_s=20)
    session.send_signal(number)
    ended = project.end(session)
    assert ended.status == 2
    assert ended.has("KeyboardInterrupt")


# -------------------------------------------------------------------------------------- reports can't be written


@AS_ROOT
def test_reports_without_the_right_to_write_are_one_line(project: Project) -> None:
    reports = project.folder / "reports"
    reports.mkdir(mode=0o755)
    ended = project.pytest(
        "-p", "no:cacheprovider", "scenarios", before=["setpriv", "--reuid=65534", "--clear-groups", "--"]
    )
    assert ended.status == 2
    assert ended.line.endswith(": cannot be written: Permission denied; mend its rights, or free space")
    assert list(reports.iterdir()) == []


@AS_ROOT
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("ro", ": cannot be written: Read-only file system; mend its rights, or free space"),
        ("nr_inodes=2", ": cannot be written: No space left on device; mend its rights, or free space"),
        ("size=4k", "/journal/main.jsonl: cannot be written: No space left on device; free space"),
        ("size=40k", ": can't be written: No space left on device; make it writable or name another"),
    ],
    ids=["read-only", "full", "full after the start", "full at the end"],
)
def test_a_file_system_that_takes_no_more_is_one_line(project: Project, options: str, said: str) -> None:
    reports = project.folder / "reports"
    reports.mkdir()
    mount = f'mount -t tmpfs -o {options} none "$1" && shift && exec "$@"'
    before = ["unshare", "--mount", "sh", "-c", mount, "sh", str(reports)]
    if subprocess.run([*before, "true"], check=False, capture_output=True).returncode:
        pytest.skip("nothing can be mounted here")
    ended = project.pytest(before=before)
    assert ended.status == 2
    assert ended.line.startswith("reports/")
    assert ended.line.endswith(said)


# --------------------------------------------------------------------------------------------- it ends in mid-run


def test_a_stack_that_dies_ends_the_session_at_once(project: Project) -> None:
    project.change(SCENARIO, "    def trigger(self):\n        pass\n", KILLS_THE_KEEPER)
    ended = project.pytest()
    assert ended.status == 1
    assert ended.line.endswith("the stack has ended: its keeper does not answer")
    assert ended.output[-1].strip("= ").startswith("1 failed in ")


def test_a_service_that_dies_is_named(project: Project) -> None:
    dies = "    def trigger(self, laboratory):\n        laboratory.stack.signal('stone', 9)\n"
    project.change(SCENARIO, "    def trigger(self):\n        pass\n", dies)
    ended = project.pytest()
    assert ended.status == 1
    assert ended.line.startswith("service stone ")
    assert {claim["verdict"] for claim in project.results()["claims"]} <= {"untested", "inconclusive", "observed"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_reverts_the_fault_and_still_reports(project: Project, number: int) -> None:
    waits = "    def trigger(self, laboratory):\n        import time\n        time.sleep(60)\n"
    project.change(SCENARIO, "    def trigger(self):\n        pass\n", waits)
    session = project.begin("scenarios", "-k", "recovered")
    wait_until("the trigger", lambda: '"trigger"' in journal(project), deadline_s=20)
    session.send_signal(number)
    ended = project.end(session)
    assert ended.status == 2
    assert ended.has("KeyboardInterrupt")
    assert project.events("reverted")[0]["holds"] is False
    assert project.events("run-end")[0]["exit_status"] == 2
    assert project.results()["run"]["complete"] is True


def journal(project: Project) -> str:
    return "".join(file.read_text(encoding="utf-8") for file in project.folder.glob("reports/*/journal/*.jsonl"))


# --------------------------------------------------------------------------------------------- pytest's own habits


def test_a_good_run_ends_with_pytest_s_own_line(project: Project) -> None:
    ended = project.pytest()
    assert ended.status == 0
    assert ended.output[-1].strip("= ").startswith("3 passed in ")
    assert ended.has("4 confirmed, 1 untested; exit status 0")


def test_without_a_terminal_there_are_reports_all_the_same(project: Project) -> None:
    ended = project.pytest("-p", "no:terminal", "scenarios")
    assert ended.status == 0
    assert project.results()["run"]["exit_status"] == 0


def test_one_can_stop_at_the_first_failure_and_run_the_failed_ones_again(project: Project) -> None:
    fails = "    def trigger(self):\n        assert not __import__('pathlib').Path('fails').exists()\n"
    project.change(SCENARIO, "    def trigger(self):\n        pass\n", fails)
    (project.folder / "fails").touch()
    first = project.pytest("-x", "scenarios")
    assert first.output[-1].strip("= ").startswith("1 failed in ")
    assert len(project.events("arm-end")) == 1
    (project.folder / "fails").unlink()
    again = project.pytest("scenarios", "--lf")
    assert again.output[-1].strip("= ").startswith("1 passed, 2 deselected in ")


def test_the_fault_is_still_there_while_a_debugger_is_open(project: Project) -> None:
    """A debugger of our own looks, and writes down what it saw."""
    debugger = """
import pdb

class Debugger(pdb.Pdb):
    def interaction(self, frame, traceback, *more):
        while traceback.tb_next:
            traceback = traceback.tb_next
        arm = traceback.tb_frame.f_locals["self"]
        look = arm._lab.stack.execute(["test", "-e", "crack"], account="service")
        print("the debugger sees the crack:", look.status == 0)
"""
    (project.folder / "looking.py").write_text(debugger, encoding="utf-8")
    project.change(SCENARIO, "detects_within_s = 3", "detects_within_s = 1")
    project.change("conftest.py", "if self._arm and", "if False and")
    ended = project.pytest("-p", "looking", "--pdb", "--pdbcls=looking:Debugger", "scenarios", "-k", "recovered")
    assert ended.has("the debugger sees the crack: True")
    assert project.events("reverted")[0]["holds"] is False
    assert not project.events("step-start")
