"""Everything that a scenario names is looked up before anything is started."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from runlab.model import LabError
from runlab.plan import ARMS, Plan, specs
from runlab.scenario import Experiment

TINY = Path(__file__).parent / "data" / "tiny"
BOOK, SCENARIO, STEPS = "runbooks/RB-900-stone.md", "scenarios/test_rb900_stone.py", "scenarios/steps_rb900.py"

SHELTER = '''

class TestShelter(Prevention):
    """A roof over the stone."""

    measure = "Shelter"
    fault = Crack()
    off, on = {}, {"roof": True}
    impact, margin = Impact("width", "mm", "a ruler", lambda users: 0.0), Less(by=1.0, unit="mm")

    def trigger(self):
        pass

    def goal(self):
        return True
'''


class Project:
    """A copy of the smallest laboratory, to be changed and planned."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copytree(TINY, folder)

    def change(self, file: str, old: str, new: str) -> None:
        text = (self.folder / file).read_text(encoding="utf-8")
        assert old in text
        (self.folder / file).write_text(text.replace(old, new), encoding="utf-8")

    def append(self, file: str, more: str) -> None:
        with (self.folder / file).open("a", encoding="utf-8") as opened:
            opened.write(more)

    def experiments(self, *files: str) -> list[type[Experiment]]:
        found: list[type[Experiment]] = []
        for file in files or (SCENARIO,):
            name = f"planned_{Path(file).stem}"
            spec = importlib.util.spec_from_file_location(name, self.folder / file)
            assert spec is not None
            assert spec.loader is not None
            module = sys.modules[name] = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            found += [value for key, value in vars(module).items() if key.startswith("Test")]
        return found

    def plan(self, *files: str) -> Plan:
        experiments = self.experiments(*files)
        selected = [spec for each in experiments for name in ARMS if hasattr(each, name) for spec in specs(each, name)]
        return Plan.make(self.folder / "runbooks", experiments, selected)

    def refusal(self, *files: str) -> str:
        with pytest.raises(LabError) as caught:
            self.plan(*files)
        assert "\n" not in str(caught.value)
        return str(caught.value)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    made = Project(tmp_path / "project")
    monkeypatch.chdir(made.folder)
    yield made
    for name in [name for name in sys.modules if name.startswith("planned_")]:
        del sys.modules[name]


def test_a_good_project_is_planned(project: Project) -> None:
    plan = project.plan()
    assert [signal.name for signal in plan.signals()] == ["StoneCracked"]
    assert plan.bindings["RB-900/recover/mending/1"]["role"] == "finds"
    assert plan.bindings["RB-900/recover/mending/2"]["promises"] == {"fault": False}
    (scenario,) = plan.plan_event(["one"], frozenset({"stone"}))["scenarios"]
    assert scenario["cause_claim"] == "RB-900/cause/frost"
    assert scenario["incidents"] == ["TestFrost/Crack/plain"]
    assert scenario["lacking"] == {}


def test_what_the_runtime_lacks_is_planned_as_such(project: Project) -> None:
    plan = project.plan()
    (scenario,) = plan.plan_event([], frozenset())["scenarios"]
    assert scenario["lacking"] == {"TestFrost/Crack/plain": ["stone"]}
    assert plan.needs == {"stone"}


def test_a_case_s_setting_may_be_a_field_of_the_fault(project: Project) -> None:
    project.change(SCENARIO, "    needs = frozenset", '    kind: str = "stone"\n\n    needs = frozenset')
    project.change(SCENARIO, '= frozenset({"stone"})', "= property(lambda fault: frozenset({fault.kind}))")
    project.change(
        SCENARIO, "    faults = Crack()", '    faults = Crack()\n    cases = {"dry": {}, "hard": {"kind": "gem"}}'
    )
    plan = project.plan()
    assert plan.needs == {"stone", "gem"}
    (scenario,) = plan.plan_event([], frozenset({"stone"}))["scenarios"]
    assert scenario["incidents"] == ["TestFrost/Crack/dry", "TestFrost/Crack-gem/hard"]
    assert scenario["lacking"] == {"TestFrost/Crack-gem/hard": ["gem"]}
    quiet = specs(plan.experiments[0], "test_quiet_without_fault")
    assert [(spec.case, sorted(spec.needs)) for spec in quiet] == [("dry", ["stone"]), ("hard", ["gem"])]


def test_arms_have_readable_ids_of_their_own(project: Project) -> None:
    project.change(
        SCENARIO, "faults = Crack()", 'faults = Crack(), Crack("rift")\n    cases = {"dry": {}, "wet": {"x": 1}}'
    )
    (experiment,) = project.experiments()
    arms = ["test_quiet_without_fault", "test_detected_and_recovered", "test_stays_broken_without_recovery"]
    ids = [spec.id for arm in arms for spec in specs(experiment, arm)]
    assert len(set(ids)) == len(ids) == 2 + 4 + 4
    assert ids[:4] == [
        *("TestFrost/quiet/dry", "TestFrost/quiet/wet"),
        *("TestFrost/fault/Crack/dry", "TestFrost/fault/Crack/wet"),
    ]


@pytest.mark.parametrize(
    ("label", "wrong", "said"),
    [
        ('"Frost"', '"Forst"', "RB-900 has no cause Forst; the nearest is Frost (runbooks/RB-900-stone.md:8)"),
        (
            '"Mending"',
            '"Mendin"',
            "RB-900 has no procedure Mendin; the nearest is Mending (runbooks/RB-900-stone.md:12)",
        ),
        ('"Mending"', '("Mending", "Nothing")', "RB-900 has no procedure Nothing"),
    ],
)
def test_a_label_that_the_text_does_not_have_is_refused(project: Project, label: str, wrong: str, said: str) -> None:
    project.change(SCENARIO, label, wrong)
    assert project.refusal().startswith(f"{SCENARIO}:32: TestFrost: {said}")


def test_a_measure_that_the_text_does_not_have_is_refused(project: Project) -> None:
    project.append(SCENARIO, SHELTER.replace('"Shelter"', '"Shelves"'))
    project.change(SCENARIO, "from runlab.model import Fault", "from runlab.model import Fault, Impact, Less")
    project.change(SCENARIO, "import Scenario", "import Prevention, Scenario")
    assert "TestShelter: RB-900 has no prevention Shelves; the nearest is Shelter" in project.refusal()


def test_a_runbook_that_is_not_there_is_refused(project: Project) -> None:
    project.change(SCENARIO, '"RB-900"', '"RB-901"')
    said = f"{SCENARIO}:32: there is no RB-901 in {project.folder / 'runbooks'}; known: RB-900"
    assert project.refusal() == said


def test_two_definitions_of_one_sentence_are_an_error_that_names_both(project: Project) -> None:
    second = """

@acts("Mend the {thing}: {command:code}", promises={"fault": False})
def again(operator, thing, command): ...
"""
    project.append(STEPS, second)
    said = project.refusal()
    assert said.startswith(f"{BOOK}:13: 2 steps match RB-900/recover/mending/2: {STEPS}:12 ")
    assert f"{STEPS}:17 " in said


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (
            '@acts("{x}: {y:code}", promises={"fault": False})\ndef f(operator, x, y): ...',
            "could match many a sentence",
        ),
        ("def f(:", "cannot be imported (SyntaxError"),
        ("import nothing_such", "cannot be imported (ModuleNotFoundError: No module named 'nothing_such')"),
        ("1 / 0", "cannot be imported (ZeroDivisionError"),
        ('@acts("Mend it all.", promises={})\ndef f(operator): ...', "an act that promises nothing can't be judged"),
    ],
)
def test_a_bad_steps_file_is_one_line_with_its_place(project: Project, more: str, said: str) -> None:
    project.append(STEPS, f"\n\n{more}\n")
    assert project.refusal().startswith(f"{STEPS}:17: ")
    assert said in project.refusal()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("# [RB-900] The", "# RB 900 The", ":1: malformed runbook heading: RB 900 The stone cracks"),
        ("## 4. Prevention Measures", "## 4. Whatever", ":1: RB-900 has no section Prevention Measures"),
        (
            "- **Shelter:** Keep the stone indoors.",
            "Nothing.",
            ":15: RB-900 claims nothing under 4. Prevention Measures",
        ),
        ("- **Shelter:**", "-\n- **Shelter:**", ":16: a bullet without words"),
    ],
)
def test_a_malformed_runbook_is_one_line_with_its_place(project: Project, old: str, new: str, said: str) -> None:
    project.change(BOOK, old, new)
    assert f"{BOOK}{said}" in project.refusal()


def test_two_scenarios_of_one_name_are_refused(project: Project) -> None:
    """The journal tells arms apart by the class's name."""
    other = "scenarios/test_rb900_again.py"
    shutil.copy(project.folder / SCENARIO, project.folder / other)
    assert project.refusal(SCENARIO, other) == (
        f"{other}:32: TestFrost stands twice, first in {SCENARIO}:32; give it another name"
    )


def test_spans_that_are_no_signals_are_gathered_from_all_modules(project: Project) -> None:
    other = "scenarios/test_rb900_again.py"
    shutil.copy(project.folder / SCENARIO, project.folder / other)
    project.change(other, "TestFrost", "TestIce")
    project.append(SCENARIO, '\nNOT_SIGNALS = {"StoneCracked": "said so", "not in this edition": "x"}\n')
    plan = project.plan(SCENARIO, other)
    assert plan.not_signals == {"RB-900": {"StoneCracked": "said so"}}
    assert plan.signals() == ()


def test_a_sentence_without_a_definition_is_planned_with_the_nearest_wording(project: Project) -> None:
    project.change(BOOK, "Mend the stone: `rm crack`", "Mend that stone: `rm crack`")
    binding = project.plan().bindings["RB-900/recover/mending/2"]
    assert binding["role"] is None
    assert 'the nearest known is "Mend the stone: {command:code}"' in binding["error"]


def test_a_procedure_that_an_edition_lacks_is_left_out_only_where_the_scenario_says_so(project: Project) -> None:
    project.change(SCENARIO, 'procedure = "Mending"', 'procedure = "Mending", "Polishing"')
    assert "RB-900 has no procedure Polishing" in project.refusal()
    said = 'procedure = "Mending", "Polishing"\n    not_in_every_edition = ("Polishing",)'
    project.change(SCENARIO, 'procedure = "Mending", "Polishing"', said)
    (scenario,) = project.plan().plan_event([], frozenset({"stone"}))["scenarios"]
    assert scenario["procedures"] == ["Mending"]
