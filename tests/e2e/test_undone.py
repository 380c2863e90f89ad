"""A run of real scenarios that is killed or interrupted while its fault is in effect: all is undone within 2 s."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from runlab import journal
from runlab.model import JsonObject, LabError
from runlab.setup import programs
from runlab.stack import control, ending, folder
from runlab.waiting import wait_until
from tests.e2e.killing import LEFT_AFTER_S, ROOT, listening, nothing_left, shared_memory

BEGINS_WITHIN_S = 60.0
ENDS_WITHIN_S = 10.0
FAULTS = {
    "IdleInTransaction": "IdleInTransaction and waiting",
    "LongQuery": "LongQuery and waiting",
    "OrphanRows": "ForeignKeyOverOrphans and MariaDB",
    "ColumnAddedByHand": "ColumnIsThere and PostgreSQL",
    "UpgradeByHand": "UpgradeByHand",
    "AbandonedMigration": "AbandonedMigration and cut_off",
}
"""By the class of the fault: what chooses the one arm in which it is injected and then left in effect."""
NEEDS = {"OrphanRows": "mariadbd", "AbandonedMigration": "toxiproxy-server"}
"""The server that may be missing on a machine, and without which such an arm is not executed."""
TWO = ("IdleInTransaction", "LongQuery")
FIVE = (("IdleInTransaction", "UpgradeByHand"), ("ColumnAddedByHand",), ("OrphanRows", "AbandonedMigration"))
"""In groups, since more runs side by side take longer than one after the other."""
KILL, TERM, INTERRUPT = signal.SIGKILL, signal.SIGTERM, signal.SIGINT


@dataclass(frozen=True)
class Run:
    """`pytest scenarios` in another process, its fault in effect."""

    runner: subprocess.Popen[bytes]
    said: Path
    reports: Path
    stack: JsonObject
    keeper: int
    processes: frozenset[ending.Process]

    @property
    def folder(self) -> Path:
        return Path(self.stack["control"]).parent

    def kill(self, who: str, number: int) -> None:
        os.kill({"runner": self.runner.pid, "keeper": self.keeper}[who], number)

    def left(self) -> list[str]:
        """What is still there of the run's stack: processes by their start or mark, sockets, shared memory, files."""
        marked = ending.carriers(*folder.mark(self.folder))
        found = [f"process {it.pid}" for it in self.processes | marked if ending.identify(it.pid) == it]
        found += listening(self._is_ours)
        found += shared_memory({it.pid for it in self.processes})
        return found + [f"file {path}" for path in Path(tempfile.gettempdir()).glob(f"runlab-{self.reports.name}-*")]

    def _is_ours(self, address: str) -> bool:
        """Whether an address of /proc/net/tcp, bytes reversed, lies in the run's block."""
        block = self.stack["services"]["postgres"]["host"].split(".")[:3]
        return address[2:8] == "".join(f"{int(part):02X}" for part in reversed(block))

    def events(self, kind: str) -> list[JsonObject]:
        return [event for event in journal.read(self.reports / "journal") if event["kind"] == kind]


@pytest.fixture
def runs(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[list[Run]]:
    """A run for each fault that is named, side by side."""
    faults: tuple[str, ...] = request.param
    if missing := [NEEDS[fault] for fault in faults if fault in NEEDS and not programs.find(NEEDS[fault])]:
        pytest.skip(f"needs {', '.join(missing)}")
    started = [(_start(tmp_path / fault, FAULTS[fault]), tmp_path / fault) for fault in faults]
    try:
        made = [_observe(runner, place) for runner, place in started]
        for run, fault in zip(made, faults, strict=True):
            assert {what.split()[0] for what in run.left()} >= {"process", "socket", "file"}
            (injected,) = run.events("inject")
            assert injected["fault"]["class"].endswith(f":{fault}")
        yield made
    finally:
        for runner, _ in started:
            runner.kill()
            runner.wait()


def _start(place: Path, chosen: str) -> subprocess.Popen[bytes]:
    """The withheld arm that is chosen: its fault stays in effect for long."""
    place.mkdir()
    settings = (ROOT / "lab.toml").read_text()
    for name, value in (
        ("runbooks", ROOT / "runbooks"),
        ("compose", ROOT / "compose/compose.yaml"),
        ("reports", place),
        ("runtime", "processes"),  # the end of a sandbox is tried in test_sandbox_killed.py
    ):
        settings, count = re.subn(rf'^{name} = ".*?"', f'{name} = "{value}"', settings, flags=re.MULTILINE)
        assert count == 1
    (place / "lab.toml").write_text(settings)
    options = [
        "-q",
        "-p",
        "no:cacheprovider",
        "--lab",
        place / "lab.toml",
        "-k",
        f"stays_broken and {chosen}",
    ]
    with (place / "said").open("wb") as said:
        command = [sys.executable, "-m", "pytest", "scenarios", *options]
        return subprocess.Popen(command, cwd=ROOT, stdout=said, stderr=said, start_new_session=True)


def _observe(runner: subprocess.Popen[bytes], place: Path) -> Run:
    def injected() -> Path | None:
        if runner.poll() is not None:
            pytest.fail(f"it ended too early:\n{(place / 'said').read_text()}")
        for found in place.glob("*/journal"):
            try:
                if any(event["kind"] == "inject" for event in journal.read(found)):
                    return found.parent
            except LabError:
                continue
        return None

    reports = wait_until("the fault", injected, deadline_s=BEGINS_WITHIN_S)
    assert reports
    (stack,) = [event for event in journal.read(reports / "journal") if event["kind"] == "stack"]
    keeper = control.keeper_pid(Path(stack["control"]))
    return Run(runner, place / "said", reports, stack, keeper, frozenset(ending.descendants(runner.pid)))


def judged_again(run: Run) -> dict[str, Any]:
    """What `runlab judge` makes of the journal, in a process of its own."""
    command = [Path(sys.executable).with_name("runlab"), "judge", run.reports]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1, done.stderr
    assert done.stderr == ""
    found: dict[str, Any] = json.loads((run.reports / "results.json").read_text())
    return found


def nothing_earned(results: dict[str, Any]) -> None:
    """One arm that broke off: nothing is confirmed by it, and nothing refuted."""
    (arm,) = results["scenarios"]
    assert arm["outcome"] == "error"
    judged = results["claims"] + results["procedures"]
    assert len(judged) > 20
    assert not [it for it in judged if it["verdict"] in {"confirmed", "refuted"}]
    parts = [part for claim in results["claims"] for part in claim["parts"]]
    assert not [part for part in parts if part["verdict"] in {"confirmed", "refuted"}]


@pytest.mark.parametrize(
    ("runs", "killed"),
    [*((faults, ("runner",)) for faults in FIVE), (TWO, ("keeper",)), (TWO, ("keeper", "runner"))],
    ids="-".join,
    indirect=["runs"],
)
def test_killed(runs: list[Run], killed: tuple[str, ...]) -> None:
    for run in runs:
        for who in killed:
            run.kill(who, KILL)
        nothing_left(run, run.said)
    for run in runs:
        ended = run.runner.wait(ENDS_WITHIN_S)
        if "runner" in killed:
            assert ended == -KILL
            assert not (run.reports / "results.json").exists()
        assert run.events("inject")
        assert not run.events("reverted")
        results = judged_again(run)
        assert results["run"]["complete"] is ("runner" not in killed)
        nothing_earned(results)


@pytest.mark.parametrize("number", [TERM, INTERRUPT], ids=lambda number: number.name)
@pytest.mark.parametrize("runs", [[fault] for fault in TWO], ids=TWO, indirect=True)
def test_interrupted(runs: list[Run], number: signal.Signals) -> None:
    """The runner itself reverts, judges and reports, so it is given the machine for itself."""
    (run,) = runs
    run.kill("runner", number)
    nothing_left(run, run.said)
    assert run.runner.wait(ENDS_WITHIN_S) == pytest.ExitCode.INTERRUPTED
    assert [event["holds"] for event in run.events("reverted")] == [False]
    assert run.events("run-end")
    reports = {path.name for path in run.reports.iterdir()}
    assert {"results.json", "junit.xml", "summary.md", "index.html"} <= reports
    assert (run.reports.parent / "latest").resolve() == run.reports
    assert "Traceback" not in run.said.read_text()
    nothing_earned(json.loads((run.reports / "results.json").read_text()))


@pytest.mark.parametrize("runs", [TWO[:1]], ids=TWO[:1], indirect=True)
def test_interrupted_again_while_it_ends(runs: list[Run]) -> None:
    (run,) = runs
    run.kill("runner", INTERRUPT)
    wait_until("the end of the window", lambda: run.events("source"), deadline_s=LEFT_AFTER_S, every_s=0.005)
    run.kill("runner", INTERRUPT)
    nothing_left(run, run.said)
    assert run.runner.wait(ENDS_WITHIN_S) != 0
    judged_again(run)


ORPHANS = """
import os, sys
from pathlib import Path
from runlab.stack import ending, processes
ending.adopt_orphans()
for number in range(15):
    stack = processes.start(
        Path("compose/compose.yaml"), reports=Path(sys.argv[1]), run_id=f"reaped-{number}", time_scale=1.0,
        rules=lambda text, _: text, services={"pushgateway"})
    stack.stop()
    try:
        print(number, os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG))
    except ChildProcessError:
        pass
"""


def test_no_zombie_is_left_to_a_first_process_that_takes_nobodys_status(tmp_path: Path) -> None:
    """Among several, since what is left is left by a race."""
    command = [sys.executable, "-c", ORPHANS, tmp_path]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == ""
