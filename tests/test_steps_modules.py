"""Modules of step definitions: imported from any folder, and refused with file and line."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from runlab.model import Claim, LabError
from runlab.steps import Registry, load_modules


def write(folder: Path, source: str, name: str = "steps_one.py") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text("from runlab.steps import *\n" + textwrap.dedent(source))
    return folder


STEP = """
@finds("Look at the {word}: {{query:code}}")
def look(operator, query):
    return "{word}"
"""


def test_modules_of_two_folders_do_not_collide(tmp_path: Path) -> None:
    first = write(tmp_path / "a", STEP.format(word="queue"))
    write(first, STEP.format(word="disk"), "steps_two.py")
    write(first, "not python", "test_other.py")
    second = write(tmp_path / "b", STEP.format(word="clock"))
    modules = [*load_modules(first), *load_modules(second)]
    assert len({module.__name__ for module in modules}) == 3
    steps = Registry.collect(modules)
    for word in ("queue", "disk", "clock"):
        match = steps.bind(Claim("RB-950/recover/1", "RB-950", "recover", "", f"Look at the {word}: `x`", "book.md", 7))
        assert match is not None
        assert match.definition.function(None, **match.arguments) == word


def test_places_are_relative_to_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "scenarios", STEP.format(word="queue"))
    monkeypatch.chdir(tmp_path)
    assert [d.place for d in Registry.collect(load_modules(Path("scenarios"))).definitions] == [
        "scenarios/steps_one.py:3"
    ]


@pytest.mark.parametrize(
    ("source", "line", "problem"),
    [
        ("x = 1\ny = (2", 3, "SyntaxError"),
        ("\nimport no_such_module\n", 3, "ModuleNotFoundError: No module named 'no_such_module'"),
        ("\n@acts('one two', promise={})\ndef f(): ...\n", 3, "unexpected keyword argument 'promise'"),
        ("\n@finds\ndef f(): ...\n", 3, "give the sentence: @finds"),
        ("\n@signal('a b')\ndef f(): ...\n@signal('c d')\ndef f(): ...\n", 6, "f is defined twice, first in line 4"),
        ("def f():\n    raise ValueError('one\\ntwo')\n\nf()\n", 3, "ValueError: one)"),
    ],
)
def test_a_module_that_cannot_be_used_is_named_with_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, line: int, problem: str
) -> None:
    write(tmp_path / "scenarios", source)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(LabError) as refusal:
        load_modules(Path("scenarios"))
    assert str(refusal.value).startswith(f"scenarios/steps_one.py:{line}: ")
    assert problem in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_missing_folder_is_refused_and_an_empty_one_has_no_steps(tmp_path: Path) -> None:
    assert load_modules(tmp_path) == []
    with pytest.raises(LabError, match="no such folder"):
        load_modules(tmp_path / "none")
