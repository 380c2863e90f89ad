"""A fault as it is written on a command line: every mistake is one line that says what was perhaps meant."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from faults import database
from runlab.model import Fault, LabError, Observation, Stack, Undo
from runlab.playground.spec import fault

HERE = __name__


class _Nothing(Fault):
    def prepare(self, stack: Stack) -> Undo:
        return {}

    def inject(self, stack: Stack, undo: Undo) -> None: ...
    def revert(self, stack: Stack, undo: Undo) -> None: ...
    def witness(self, stack: Stack, undo: Undo) -> Observation:
        return Observation(holds=False, by="nobody")


@dataclass(frozen=True)
class Slow(_Nothing):
    """One field of each type that a fault may have."""

    service: str
    delay_s: float = 1.0
    times: int = 1
    hard: bool = False
    way: Literal["in", "out"] = "in"
    tables: tuple[str, ...] = ()
    limit: int | None = 3

    def __post_init__(self) -> None:
        if self.times < 0:
            raise ValueError("times is negative")


@dataclass(frozen=True)
class Plain(_Nothing):
    """It takes no field."""


@dataclass
class NoFault:
    """Something else."""


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, HERE, sys.modules[HERE])


def test_each_value_is_read_as_its_field_s_type_has_it() -> None:
    words = ["service=7", "delay_s=0.5", "times=2", "hard=true", "way=out", 'tables=["a", "b"]', "limit=null"]
    assert fault(f"{HERE}:Slow", words) == Slow("7", 0.5, 2, True, "out", ("a", "b"), None)


def test_defaults_stay_and_a_value_may_hold_anything() -> None:
    assert fault(f"{HERE}:Slow", ["service=a=b c"]) == Slow("a=b c")
    assert fault(f"{HERE}:Plain", []) == Plain()


def test_a_fault_of_this_repository() -> None:
    found = fault("faults.database:IdleInTransaction", ["table=projects"])
    assert found == database.IdleInTransaction("projects")


MISTAKES = {
    "no colon": ("faults.database.LongQuery", [], "no fault: faults.database.LongQuery; write module:Class"),
    "no class": ("faults.database:", [], "no fault: faults.database:; write module:Class"),
    "module": ("faults.databse:LongQuery", [], "there is no module faults.databse; did you mean faults.database?"),
    "package": ("fault.database:LongQuery", [], "there is no module fault.database; did you mean faults.database?"),
    "class": (
        "faults.database:IdleInTransactoin",
        [],
        "faults.database has no fault IdleInTransactoin; did you mean IdleInTransaction?",
    ),
    "not a fault": (f"{HERE}:NoFault", [], f"{HERE}:NoFault is no fault; there are Slow, Plain"),
    "what faults have in common": (
        "faults.database:LockHolder",
        ["table=projects"],
        "faults.database:LockHolder only says what several faults have in common; name a kind of it: ",
    ),
    "field": (f"{HERE}:Slow", ["sevrice=a"], f"{HERE}:Slow has no field sevrice; did you mean service?"),
    "field of none": (f"{HERE}:Plain", ["x=1"], f"{HERE}:Plain has no field x; it takes none"),
    "needs, which is no field": (f"{HERE}:Slow", ["needs=a"], f"{HERE}:Slow has no field needs; there are service,"),
    "missing": (f"{HERE}:Slow", [], f"{HERE}:Slow lacks service; give service=…"),
    "twice": (f"{HERE}:Slow", ["service=a", "service=b"], "service is given twice"),
    "no value": (f"{HERE}:Slow", ["service"], "no field=value: service; give service=…"),
    "float": (f"{HERE}:Slow", ["service=a", "delay_s=long"], f"{HERE}:Slow: delay_s=long: input should be a valid"),
    "int": (f"{HERE}:Slow", ["service=a", "times=1.5"], f"{HERE}:Slow: times=1.5: input should be a valid integer"),
    "bool": (f"{HERE}:Slow", ["service=a", "hard=perhaps"], f"{HERE}:Slow: hard=perhaps: input should be a valid bool"),
    "literal": (f"{HERE}:Slow", ["service=a", "way=up"], f"{HERE}:Slow: way=up: input should be 'in' or 'out'"),
    "its own rule": (f"{HERE}:Slow", ["service=a", "times=-1"], f"{HERE}:Slow: times is negative"),
}


@pytest.mark.parametrize(("name", "words", "said"), MISTAKES.values(), ids=list(MISTAKES))
def test_a_mistake_is_one_line(name: str, words: list[str], said: str) -> None:
    with pytest.raises(LabError) as refused:
        fault(name, words)
    assert str(refused.value).startswith(said)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def f(:", "SyntaxError"),
        ("1 / 0", "ZeroDivisionError"),
        ("import nothing_such", "No module named 'nothing_such'"),
    ],
)
def test_a_module_that_fails_on_import(text: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_faults.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(LabError, match=f"broken_faults cannot be imported: .*{said}"):
        fault("broken_faults:Any", [])
