"""What pytest shows and does with scenarios, and every mistake that ends a session before anything was started."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from runlab.stack import processes, runtimes

pytest_plugins = ["pytester"]

TINY = Path(__file__).parent / "data" / "tiny"
BOOK, SCENARIO, STEPS = "runbooks/RB-900-stone.md", "scenarios/test_rb900_stone.py", "scenarios/steps_rb900.py"
IDS = [
    f"{SCENARIO}::TestFrost::test_quiet_without_fault[plain]",
    f"{SCENARIO}::TestFrost::test_detected_and_recovered[Crack-plain]",
    f"{SCENARIO}::TestFrost::test_stays_broken_without_recovery[Crack-plain]",
]


_WITHOUT = [word for name in ("cacheprovider", "hypothesispytest", "locust", "anyio") for word in ("-p", f"no:{name}")]


class StartedError(Exception):
    """The stack would have been started."""


class Project:
    """The smallest laboratory, to be changed and given to pytest; its stack can't start."""

    def __init__(self, pytester: pytest.Pytester) -> None:
        self._pytester = pytester
        self.folder = pytester.path
        shutil.copytree(TINY, self.folder, dirs_exist_ok=True)

    def write(self, file: str, text: str) -> None:
        (self.folder / file).write_text(text, encoding="utf-8")

    def change(self, file: str, old: str, new: str) -> None:
        text = (self.folder / file).read_text(encoding="utf-8")
        assert old in text
        self.write(file, text.replace(old, new))

    def append(self, file: str, more: str) -> None:
        self.write(file, (self.folder / file).read_text(encoding="utf-8") + more)

    def remove(self, file: str) -> None:
        (self.folder / file).unlink()

    def pytest(self, *arguments: str) -> pytest.RunResult:
        return self._pytester.runpytest_inprocess(*_WITHOUT, *(arguments or ("scenarios",)))

    def refusal(self, *arguments: str) -> str:
        """The one line in which pytest says why nothing was done."""
        result = self.pytest("scenarios", *arguments)
        output = result.outlines + result.errlines
        assert result.ret == 2
        assert not [line for line in output if "Traceback" in line or "INTERNALERROR" in line]
        assert not (self.folder / "reports").is_dir()
        (line,) = (line for line in output if "runlab: " in line)
        return line.strip("! ").partition("runlab: ")[2]


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Project:
    def start(*_arguments: object, **_options: object) -> None:
        raise StartedError

    monkeypatch.setattr(processes, "start", start)
    monkeypatch.setenv("COLUMNS", "400")
    return Project(pytester)


# ------------------------------------------------------------------------------------------------- what is refused

Change = Callable[[Project], None]


def changed(file: str, old: str, new: str) -> Change:
    return lambda project: project.change(file, old, new)


def appended(file: str, more: str) -> Change:
    return lambda project: project.append(file, more)


def removed(file: str) -> Change:
    return lambda project: project.remove(file)


MISTAKES: dict[str, tuple[Change, str]] = {
    "malformed runbook": (changed(BOOK, "# [RB-900]", "# RB 900"), f"{BOOK}:1: malformed runbook heading"),
    "section missing": (
        changed(BOOK, "## 4. Prevention", "## 4. Other"),
        f"{BOOK}:1: RB-900 has no section Prevention",
    ),
    "bullet without words": (appended(BOOK, "-\n"), f"{BOOK}:17: a bullet without words"),
    "unknown cause": (changed(SCENARIO, '"Frost"', '"Forst"'), f"{SCENARIO}:32: TestFrost: RB-900 has no cause Forst"),
    "unknown procedure": (
        changed(SCENARIO, '"Mending"', '"Mend"'),
        f"{SCENARIO}:32: TestFrost: RB-900 has no procedure",
    ),
    "unknown runbook": (changed(SCENARIO, '"RB-900"', '"RB-901"'), f"{SCENARIO}:32: there is no RB-901 in runbooks"),
    "no RUNBOOK": (changed(SCENARIO, 'RUNBOOK = "RB-900"', ""), f"{SCENARIO}:32: the module names no RUNBOOK"),
    "misspelt attribute": (
        changed(SCENARIO, "recovers_within_s", "recover_within_s"),
        f"{SCENARIO}:32: TestFrost has no use for `recover_within_s`; did you mean `recovers_within_s`?",
    ),
    "no goal": (changed(SCENARIO, "def goal", "def _goal"), f"{SCENARIO}:32: TestFrost has no `goal`; give it one"),
    "no trigger": (changed(SCENARIO, "def trigger", "def _trigger"), f"{SCENARIO}:32: TestFrost has no `trigger`"),
    "no faults": (changed(SCENARIO, "faults = Crack()", "faults = ()"), f"{SCENARIO}:32: TestFrost has no `faults`"),
    "a fault that is none": (
        changed(SCENARIO, "faults = Crack()", 'faults = (Crack(), "crack")'),
        f"{SCENARIO}:32: TestFrost has something among its `faults` that is no fault",
    ),
    "no cases": (
        changed(SCENARIO, "faults = Crack()", "faults = Crack()\n    cases = {}"),
        f"{SCENARIO}:32: TestFrost has no `cases`",
    ),
    "not collected": (
        changed(SCENARIO, "class TestFrost", "class Frost"),
        f"{SCENARIO}:32: Frost would not be collected",
    ),
    "unknown fixture": (
        changed(SCENARIO, "def trigger(self)", "def trigger(self, platfrom)"),
        f"{SCENARIO}:41: TestFrost.trigger asks for the fixture platfrom, which nobody defines; mend its name",
    ),
    "ambiguous step": (
        appended(STEPS, '\n\n@acts("Mend the {x}: {c:code}", promises={"fault": False})\ndef f(operator, x, c): ...\n'),
        f"{BOOK}:13: 2 steps match RB-900/recover/mending/2: {STEPS}:12",
    ),
    "catch-all pattern": (
        appended(STEPS, '\n\n@acts("{x}: {c:code}", promises={"fault": False})\ndef f(operator, x, c): ...\n'),
        f'{STEPS}:17: "{{x}}: {{c:code}}" could match many a sentence',
    ),
    "steps: syntax": (appended(STEPS, "\ndef f(:\n"), f"{STEPS}:16: cannot be imported (SyntaxError: "),
    "steps: import": (
        appended(STEPS, "\nimport nothing_such\n"),
        f"{STEPS}:16: cannot be imported (ModuleNotFoundError",
    ),
    "lab.toml: syntax": (appended("lab.toml", "\nx = = 3\n"), "lab.toml:19: not TOML: invalid value"),
    "lab.toml: unknown": (changed("lab.toml", "time_scale", "time_scael"), "lab.toml:4: unknown setting time_scael"),
    "lab.toml: type": (changed("lab.toml", "600", '"fast"'), "lab.toml:4: time_scale: input should be a valid number"),
    "lab.toml: range": (
        changed("lab.toml", "600", "0"),
        "lab.toml:4: time_scale: input should be greater than or equal",
    ),
    "lab.toml: service": (
        changed("lab.toml", "[console.families.rm]", '[console.families.rm]\nservices = ["stnoe"]'),
        "lab.toml:17: there is no stnoe in compose.yaml; there are stone",
    ),
    "lab.toml missing": (removed("lab.toml"), "lab.toml: no such file; run from the folder that holds lab.toml"),
    "compose.yaml missing": (removed("compose.yaml"), "compose.yaml: cannot be read: No such file or directory"),
    "compose.yaml: syntax": (appended("compose.yaml", "  x: [\n"), "compose.yaml:10: no YAML"),
    "nobody watches": (removed("conftest.py"), "conftest.py: nobody watches; write pytest_plugins = "),
}


@pytest.mark.parametrize(("change", "said"), MISTAKES.values(), ids=list(MISTAKES))
def test_a_mistake_is_one_line_and_nothing_is_started(project: Project, change: Change, said: str) -> None:
    change(project)
    assert project.refusal().startswith(said)


OPTIONS = {
    ("--time-scale", "0"): "--time-scale 0: input should be greater than or equal to 1",
    ("--time-scale", "-1"): "--time-scale -1: input should be greater than or equal to 1",
    ("--time-scale", "nan"): "--time-scale nan: input should be a finite number",
    ("--time-scale", "fast"): "--time-scale fast: input should be a valid number",
    ("--time-scale", ""): "--time-scale : input should be a valid number",
    ("--runtime", "cloud"): "--runtime cloud: there is none such; there are embedded, sandbox, processes",
    ("--runbooks", "nowhere"): "nowhere: cannot be read (No such file or directory)",
    ("--runbooks", "scenarios"): "scenarios: no runbook in this folder",
    ("--runbooks", "lab.toml"): "lab.toml:1: no runbook in this file",
    ("--lab", "other.toml"): "other.toml: no such file",
    ("--lab", "scenarios"): "scenarios: cannot be read: Is a directory",
}


@pytest.mark.parametrize(("options", "said"), OPTIONS.items(), ids=[" ".join(options) for options in OPTIONS])
def test_a_bad_option_is_one_line_and_nothing_is_started(project: Project, options: tuple[str], said: str) -> None:
    assert project.refusal(*options).startswith(said)


def test_reports_that_can_not_be_written_are_one_line(project: Project) -> None:
    project.write("reports", "a file where a folder should be")
    said = project.refusal()
    assert said.startswith("reports/")
    assert said.endswith(": cannot be written: Not a directory; mend its rights, or free space")


def test_a_sandbox_that_can_not_be_had_is_one_line(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "start", lambda *_, runtime, **__: runtimes.pick(runtime))
    monkeypatch.setattr(runtimes, "sandbox_obstacle", lambda: "no network namespaces: EPERM")
    result = project.pytest("scenarios", "--runtime", "sandbox")
    assert result.ret == 2
    (line,) = (line for line in result.outlines + result.errlines if "runlab: " in line)
    assert "no sandbox here: no network namespaces: EPERM; take --runtime embedded, or processes" in line


def test_a_sound_project_does_get_to_the_start(project: Project) -> None:
    """Else none of the refusals above would mean anything."""
    result = project.pytest()
    assert result.ret == pytest.ExitCode.INTERNAL_ERROR
    result.stdout.fnmatch_lines(["*StartedError*"])


# -------------------------------------------------------------------------------------- what pytest's users expect


def collected(result: pytest.RunResult) -> list[str]:
    return [line for line in result.outlines if "::" in line]


def test_collecting_starts_nothing_and_ids_read_well(project: Project) -> None:
    result = project.pytest("scenarios", "--collect-only", "-q")
    assert result.ret == 0
    assert collected(result) == IDS
    assert not (project.folder / "reports").exists()


@pytest.mark.parametrize(
    ("options", "ids"),
    [
        (("-m", "rb900"), IDS),
        (("-m", "not rb900"), []),
        (("-k", "Frost and recovered"), IDS[1:2]),
        (("-k", "Crack-plain"), IDS[1:]),
        (("--drill",), IDS[:2]),
        (("--drill", "-k", "quiet"), IDS[:1]),
    ],
)
def test_scenarios_are_chosen_as_all_tests_are(project: Project, options: tuple[str], ids: list[str]) -> None:
    result = project.pytest("scenarios", "--collect-only", "-q", "--strict-markers", *options)
    assert collected(result) == ids
    assert result.ret == (0 if ids else pytest.ExitCode.NO_TESTS_COLLECTED)
    assert "Warning" not in str(result.stdout)


def test_the_first_fault_and_case_are_enough_for_a_drill(project: Project) -> None:
    two = 'faults = Crack(), Crack("rift")\n    cases = {"dry": {}, "wet and cold": {}}'
    project.change(SCENARIO, "faults = Crack()", two)
    everything = collected(project.pytest("scenarios", "--collect-only", "-q"))
    assert len(everything) == 2 + 4 + 4
    assert f"{SCENARIO}::TestFrost::test_detected_and_recovered[Crack-rift-wet_and_cold]" in everything
    drill = collected(project.pytest("scenarios", "--collect-only", "-q", "--drill"))
    assert [name.rpartition("::")[2] for name in drill] == [
        "test_quiet_without_fault[dry]",
        "test_detected_and_recovered[Crack-dry]",
    ]


def test_nothing_chosen_is_pytest_s_own_status_and_starts_nothing(project: Project) -> None:
    assert project.pytest("scenarios", "-k", "nothing_such").ret == pytest.ExitCode.NO_TESTS_COLLECTED
    assert not (project.folder / "reports").exists()


def test_a_session_without_scenarios_is_left_alone(project: Project) -> None:
    """No lab.toml is needed, and nothing is started."""
    project.remove("lab.toml")
    project.write("test_other.py", "def test_it():\n    pass\n")
    result = project.pytest("test_other.py")
    result.assert_outcomes(passed=1)
    assert "runlab:" not in str(result.stdout)


def test_this_repository_s_own_tests_hold_no_scenario() -> None:
    """The laboratories under tests/data must not be taken for tests of this repository, and be started."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "tests/data"]
    ended = subprocess.run(command, cwd=TINY.parent.parent.parent, capture_output=True, text=True, check=False)
    assert ended.returncode == pytest.ExitCode.NO_TESTS_COLLECTED, ended.stdout


def test_a_scenario_s_own_python_error_is_pytest_s_to_show(project: Project) -> None:
    project.append(SCENARIO, "\n1 / 0\n")
    result = project.pytest()
    assert result.ret == 2
    result.stdout.fnmatch_lines(["*test_rb900_stone.py - ZeroDivisionError*", "*1 error*"])
