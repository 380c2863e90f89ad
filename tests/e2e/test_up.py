"""`runlab up`, `runlab inject` on it, and pytest's --keep, each under a terminal: what is shown, reverted and ended."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from runlab import journal
from runlab.stack import ending, folder
from runlab.waiting import wait_until
from tests.terminal import CTRL_C, CTRL_D, Terminal

ROOT = Path(__file__).parent.parent.parent
TINY = ROOT / "tests" / "data" / "tiny"
RUNLAB = Path(sys.executable).with_name("runlab")
LEFT_AFTER_S = 2.0
CRACK = "scenarios.test_rb900_stone:Crack"


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    """The smallest laboratory, its stack one process."""
    return Path(shutil.copytree(TINY, tmp_path / "lab"))


@pytest.fixture
def up(lab: Path) -> Iterator[Terminal]:
    with Terminal([RUNLAB, "up"], lab) as terminal:
        terminal.expect("Ctrl-C ends it")
        yield terminal


def run_folder(lab: Path) -> Path:
    """The folder in reports/ of the only run."""
    (found,) = (path for path in (lab / "reports").iterdir() if path.name[0] == "2")
    return found


def of_kind(lab: Path, kind: str) -> list[dict[str, object]]:
    return [event for event in journal.read(run_folder(lab) / "journal") if event["kind"] == kind]


def nothing_left(lab: Path) -> None:
    run = run_folder(lab)
    (stack,) = (
        event for event in journal.read(run / "journal") if event["kind"] == "stack" and event["worker"] == "main"
    )
    home = Path(stack["control"]).parent
    seen: list[object] = []

    def gone() -> bool:
        seen[:] = [*ending.carriers(*folder.mark(home)), *Path(tempfile.gettempdir()).glob(f"runlab-{run.name}-*")]
        return not seen

    try:
        wait_until("the end of everything", gone, deadline_s=LEFT_AFTER_S)
    except TimeoutError:
        pytest.fail(f"left after {LEFT_AFTER_S} s: {seen}")


def standing(lab: Path) -> None:
    """The check above can fail."""
    with pytest.raises(pytest.fail.Exception, match="left after"):
        nothing_left(lab)


# --------------------------------------------------------------------------------------------------------------- up


def test_up_shows_the_stack_and_ctrl_c_ends_it(lab: Path, up: Terminal) -> None:
    assert re.search(r"stone +http://127\.\d+\.\d+\.\d+:5999/", up.said)
    standing(lab)
    up.type(CTRL_C)
    assert up.ends() == 0
    assert "nothing of it is left" in up.said
    nothing_left(lab)
    assert not (lab / "reports" / "latest").exists()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 0), (signal.SIGKILL, -9), (signal.SIGHUP, -1)])
def test_however_up_is_ended_nothing_is_left(lab: Path, up: Terminal, number: int, status: int) -> None:
    os.kill(up.pid, number)
    assert up.ends() == status
    nothing_left(lab)


def test_up_says_when_a_service_has_died_and_goes_on(lab: Path, up: Terminal) -> None:
    (stack,) = of_kind(lab, "stack")
    marked = ending.carriers(*folder.mark(Path(str(stack["control"])).parent))
    (stone,) = (it for it in marked if Path(f"/proc/{it.pid}/cmdline").read_bytes().endswith(b"sleep\x00300\x00"))
    os.kill(stone.pid, signal.SIGKILL)
    up.expect("service stone has died")
    up.type(CTRL_C)
    assert up.ends() == 0


def test_up_ends_with_one_line_when_its_stack_is_gone(lab: Path, up: Terminal) -> None:
    (stack,) = of_kind(lab, "stack")
    processes = ending.carriers(*folder.mark(Path(str(stack["control"])).parent))
    for it in processes | ending.descendants(up.pid):
        if b"runlab.stack.keeper" in Path(f"/proc/{it.pid}/cmdline").read_bytes():
            os.kill(it.pid, signal.SIGKILL)
    assert up.ends() == 2
    assert "runlab: " in up.said
    assert "the stack has ended" in up.said
    nothing_left(lab)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--needs", "stnoe"], "no service of compose.yaml has the capability stnoe; did you mean stone?"),
        (["--time-scale", "0"], "--time-scale 0: input should be greater than or equal to 1"),
    ],
)
def test_up_refuses_in_one_line_and_starts_nothing(lab: Path, options: list[str], said: str) -> None:
    with Terminal([RUNLAB, "up", *options], lab) as terminal:
        assert terminal.ends() == 2
    assert terminal.said.strip().startswith(f"runlab: {said}")
    assert not (lab / "reports").exists()


# ----------------------------------------------------------------------------------------------------------- inject


def injected(lab: Path) -> Terminal:
    return Terminal([RUNLAB, "inject", CRACK, "name_of_file=rift"], lab)


def test_a_fault_is_witnessed_and_reverted_on_ctrl_c(lab: Path, up: Terminal) -> None:
    with injected(lab) as terminal:
        terminal.expect(r"in effect: \./rift; steps must find file rift \(says find\)")
        (undo,) = of_kind(lab, "undo")
        assert undo["undo"] == {"file": "rift"}
        assert not of_kind(lab, "reverted")
        terminal.type(CTRL_C)
        assert terminal.ends() == 0
    assert "Crack-rift is reverted: not in effect" in terminal.said
    assert [event["holds"] for event in of_kind(lab, "reverted")] == [False]
    up.type(CTRL_C)
    assert up.ends() == 0


def test_the_witness_is_shown_as_it_changes(lab: Path, up: Terminal) -> None:
    with injected(lab) as terminal:
        terminal.expect(r"s  in effect")
        (home,) = (path.parent for path in Path(tempfile.gettempdir()).glob(f"runlab-{run_folder(lab).name}-*/control"))
        (home / "services" / ".home" / "rift").unlink()
        terminal.expect(r"s  not in effect")
        assert len(of_kind(lab, "witness")) == 2


def test_a_killed_injection_is_healed(lab: Path, up: Terminal) -> None:
    with injected(lab) as terminal:
        terminal.expect("in effect")
        os.kill(terminal.pid, signal.SIGKILL)
        terminal.ends()
    healed = subprocess.run([RUNLAB, "heal", run_folder(lab)], cwd=lab, capture_output=True, text=True, check=False)
    assert healed.stdout == "Crack-rift: reverted (, says find)\n"
    assert healed.returncode == 0


def test_the_injection_ends_with_its_stack(lab: Path, up: Terminal) -> None:
    with injected(lab) as terminal:
        terminal.expect("in effect")
        up.type(CTRL_C)
        assert up.ends() == 0
        assert terminal.ends() == 2
        assert "runlab: " in terminal.said
        assert "the stack has ended" in terminal.said


def test_without_a_stack_it_is_one_line(lab: Path) -> None:
    done = subprocess.run([RUNLAB, "inject", CRACK], cwd=lab, capture_output=True, text=True, check=False)
    assert done.stderr == "runlab: no stack is up; start one in another terminal: runlab up\n"
    assert done.returncode == 2


def test_of_two_stacks_it_is_the_newest_that_stands(lab: Path) -> None:
    with Terminal([RUNLAB, "up"], lab) as first, Terminal([RUNLAB, "up"], lab) as second:
        first.expect("Ctrl-C ends it")
        second.expect("Ctrl-C ends it")
        older, newer = sorted((lab / "reports").iterdir())
        for run in (newer, older):
            with injected(lab) as terminal:
                terminal.expect("in effect")
            assert list((run / "journal").glob("inject-*"))
            owner = first if f"/{run.name}/" in first.said else second
            owner.type(CTRL_C)
            assert owner.ends() == 0


# ---------------------------------------------------------------------------------------------------- real servers


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Terminal]]:
    """This repository's own stack, up, and the folder that it was started from."""
    lab = tmp_path_factory.mktemp("real")
    settings = (ROOT / "lab.toml").read_text().replace('"compose/compose.yaml"', f'"{ROOT}/compose/compose.yaml"')
    (lab / "lab.toml").write_text(settings)
    with Terminal([RUNLAB, "up"], lab) as terminal:
        terminal.expect("Ctrl-C ends it", within_s=120)
        yield lab, terminal
        terminal.type(CTRL_C)
        assert terminal.ends() == 0
    nothing_left(lab)


def test_each_line_works_in_another_terminal_and_shows_no_password(real: tuple[Path, Terminal]) -> None:
    _, terminal = real
    lines = re.findall(r"^(?:PGPASSFILE=|mariadb --).*$", terminal.said, re.MULTILINE)
    assert any(" psql " in line for line in lines)
    bare = {"PATH": os.environ["PATH"], "HOME": "/nonexistent"}
    for line in lines:
        done = subprocess.run(
            ["sh", "-c", line],
            env=bare,
            input="select 6 * 7;",
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert "42" in done.stdout, f"{line}: {done.stderr}"
        named = re.search(r"/tmp/\S+", line)
        assert named
        secret = Path(named[0])
        assert secret.stat().st_mode & 0o077 == 0
        password = re.split(r"[:\"]", secret.read_text().strip().rstrip('"'))[-1]
        assert len(password) > 20
        assert password not in terminal.said


def test_each_url_answers(real: tuple[Path, Terminal]) -> None:
    _, terminal = real
    urls = re.findall(r"http://127\.\S+", terminal.said)
    assert len(urls) > 5
    silent = [
        url
        for url in urls
        if subprocess.run(["curl", "-sS", "-m", "5", "-o", "/dev/null", url], check=False).returncode
    ]
    assert not silent


def test_a_lock_holder_is_injected_killed_and_healed(real: tuple[Path, Terminal]) -> None:
    lab, _ = real
    with Terminal([RUNLAB, "inject", "faults.database:IdleInTransaction", "table=projects"], lab) as terminal:
        holder = terminal.expect(r"in effect: pid (\d+) holds AccessShareLock on projects")[1]
        assert f"steps must find pid {holder} (says pg_locks" in terminal.said
        os.kill(terminal.pid, signal.SIGKILL)
        terminal.ends()
    healed = subprocess.run([RUNLAB, "heal", run_folder(lab)], cwd=lab, capture_output=True, text=True, check=False)
    assert healed.stdout.startswith("IdleInTransaction-projects: reverted (no such session holds a lock on projects")
    assert healed.returncode == 0


def test_a_fault_that_cannot_be_is_refused_in_one_line(real: tuple[Path, Terminal]) -> None:
    lab, _ = real
    with Terminal([RUNLAB, "inject", "faults.database:LongQuery", "table=projcts"], lab) as terminal:
        assert terminal.ends() == 2
    assert "has no table" in terminal.said.splitlines()[-1]
    assert "Traceback" not in terminal.said


# ------------------------------------------------------------------------------------------------------------- keep

PYTEST = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:locust", "--keep"]


@pytest.fixture
def failing(lab: Path) -> Path:
    """Its mending does not mend, and the test of its withheld arm fails too."""
    book = lab / "runbooks" / "RB-900-stone.md"
    book.write_text(book.read_text().replace("`rm crack`", "`rm other`"))
    return lab


def test_a_failed_test_is_kept_until_ctrl_d(failing: Path) -> None:
    with Terminal([*PYTEST, "scenarios"], failing) as terminal:
        terminal.expect("Ctrl-D: revert the fault and go on")
        assert re.search(r"kept: TestFrost/fault/Crack\S*/plain", terminal.said)
        assert "is in effect: ./crack" in terminal.said
        assert re.search(r"stone +http://127\.", terminal.said)
        assert not of_kind(failing, "reverted")
        terminal.type(b"\n")
        terminal.type(CTRL_D)
        assert terminal.ends(60) == 1
    assert terminal.said.count("kept: ") == 1
    ends = of_kind(failing, "arm-end")
    assert len(ends) == 3, "it went on with the tests that were left"
    assert [sorted(end["floor"]).count("held by --keep") for end in ends] == [0, 1, 0]  # type: ignore[call-overload]
    assert [event["holds"] for event in of_kind(failing, "reverted")] == [False, False]
    assert (failing / "reports" / "latest" / "results.json").exists()
    nothing_left(failing)


@pytest.mark.parametrize(("options", "keys", "status"), [(["-x"], CTRL_D, 1), ([], CTRL_C, 2)], ids=["x", "ctrl-c"])
def test_it_ends_with_its_report(failing: Path, options: list[str], keys: bytes, status: int) -> None:
    with Terminal([*PYTEST, *options, "scenarios"], failing) as terminal:
        terminal.expect("Ctrl-D: revert the fault and go on")
        terminal.type(keys)
        assert terminal.ends(60) == status
    assert len(of_kind(failing, "arm-end")) == 2
    assert [event["holds"] for event in of_kind(failing, "reverted")] == [False]
    assert (failing / "reports" / "latest" / "results.json").exists()
    nothing_left(failing)


def test_what_people_do_meanwhile_is_no_evidence(lab: Path) -> None:
    """An arm that broke off in the middle has its window still open; it is closed before anybody acts."""
    scenario = lab / "scenarios" / "test_rb900_stone.py"
    scenario.write_text(scenario.read_text().replace("holds=bool(found)", "holds=False"))
    with Terminal([*PYTEST, "scenarios", "-k", "recovered"], lab) as terminal:
        terminal.expect("Ctrl-D: revert the fault and go on")
        assert "Crack is not in effect: ./crack" in terminal.said
        assert of_kind(lab, "source")
        terminal.type(CTRL_D)
        assert terminal.ends(60) == 1


def test_a_kept_stack_goes_with_its_terminal(failing: Path) -> None:
    with Terminal([*PYTEST, "scenarios"], failing) as terminal:
        terminal.expect("Ctrl-D: revert the fault and go on")
    nothing_left(failing)


def test_without_a_terminal_it_says_why_not(failing: Path) -> None:
    command = [*PYTEST, "scenarios", "-k", "recovered"]
    done = subprocess.run(command, cwd=failing, capture_output=True, text=True, check=False, start_new_session=True)
    assert done.returncode == 1
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("--keep"))
    assert line == "--keep: there is no terminal to hold, so nothing will be kept"
    assert "kept: " not in done.stdout
