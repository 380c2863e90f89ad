"""A fault's name, and what a case makes of it."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from runlab.model import Fault, Json, LabError, Observation, Stack, Undo


@dataclass(frozen=True)
class Flood(Fault):
    """Water of some depth, in one place or several."""

    place: str = "the cellar"
    depth_m: float = 0.5
    pumped: bool = False

    def prepare(self, stack: Stack) -> Undo:
        return {}

    def inject(self, stack: Stack, undo: Undo) -> None: ...
    def revert(self, stack: Stack, undo: Undo) -> None: ...

    def witness(self, stack: Stack, undo: Undo) -> Observation:
        return Observation(holds=True, by="a gauge")


@dataclass(frozen=True)
class FloodOfMany(Flood):
    """A field that has no default, and one whose default is made."""

    river: str = field(kw_only=True)
    banks: tuple[str, ...] = field(default_factory=tuple)


@pytest.mark.parametrize(
    ("fault", "name"),
    [
        (Flood(), "Flood"),
        (Flood("the cellar", 0.5, pumped=False), "Flood"),
        (Flood(depth_m=2.0), "Flood-2.0"),
        (Flood("the attic", pumped=True), "Flood-the_attic-True"),
        (Flood("var/lib"), "Flood-var_lib"),
        (Flood(""), "Flood-"),
        (FloodOfMany(river="Po"), "FloodOfMany-Po-()"),
    ],
)
def test_a_fault_is_named_by_what_is_not_as_usual(fault: Fault, name: str) -> None:
    assert fault.name == name


def test_faults_that_differ_have_names_that_differ() -> None:
    faults = [Flood(), Flood("the attic"), Flood(depth_m=1.0), Flood(pumped=True), Flood("the attic", 1.0)]
    assert len({fault.name for fault in faults}) == len(faults)


def test_a_case_gives_the_fields_that_it_names_and_leaves_the_rest() -> None:
    in_case = Flood("the attic", 2.0).in_case({"depth_m": 3.0, "pumped": True, "revision": "of another"})
    assert in_case == Flood("the attic", 3.0, pumped=True)


@pytest.mark.parametrize("settings", [{}, {"revision": "add_project_owner"}, {"name": "Other"}, {"needs": []}])
def test_a_case_that_names_no_field_leaves_the_fault_as_it_is(settings: dict[str, Json]) -> None:
    fault = Flood("the attic")
    assert fault.in_case(settings) is fault


def test_a_case_that_gives_the_usual_value_takes_it_out_of_the_name() -> None:
    assert Flood("the attic").in_case({"place": "the cellar"}).name == "Flood"


def test_a_fault_is_written_down_by_its_class_and_fields() -> None:
    data = Flood(depth_m=2.0).as_data()
    assert data["class"] == f"{__name__}:Flood"
    assert data["fields"] == {"place": "the cellar", "depth_m": 2.0, "pumped": False}


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (LabError("it is broken"), "it is broken"),
        (LabError("it is broken", where="lab.toml:3"), "lab.toml:3: it is broken"),
        (LabError("it is broken", where="lab.toml:3", mend="mend it"), "lab.toml:3: it is broken; mend it"),
    ],
)
def test_an_error_is_one_line_of_place_message_and_mend(error: LabError, line: str) -> None:
    assert str(error) == line
