"""The journal: what is written is on disk at once, what is read is whole, and its table says what is really written."""

from __future__ import annotations

import ast
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runlab import journal
from runlab.journal import COMMON, Journal
from runlab.model import Fault, LabError, Observation, Stack, Undo

ROOT = Path(__file__).parent.parent


def lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


# -------------------------------------------------------------------------------------------------------- writing


def test_a_line_is_on_disk_when_write_returns(tmp_path: Path) -> None:
    written = Journal(tmp_path / "deep" / "down", "r1", "gw0")
    where = written.write("trigger", what="a “migration”")
    (line,) = lines(tmp_path / "deep" / "down" / "gw0.jsonl")
    event = json.loads(line)
    assert where == "gw0:1" == journal.evidence(event)
    assert tuple(event) == (*COMMON, "what")
    assert (event["run"], event["worker"], event["kind"], event["arm"]) == ("r1", "gw0", "trigger", None)
    assert "“" in line  # for people: no escapes


def test_durable_lines_are_forced_to_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forced: list[int] = []
    monkeypatch.setattr("os.fsync", forced.append)
    written = Journal(tmp_path, "r1")
    written.write("trigger", what="x")
    assert forced == []
    written.write("undo", durable=True, fault={}, undo={})
    assert len(forced) == 1


def test_an_event_belongs_to_the_arm_that_runs_unless_its_writer_says_otherwise(tmp_path: Path) -> None:
    written = Journal(tmp_path, "r1")
    written.write("stack")
    written.begin_arm("A/fault")
    written.write("inject")
    written.write("hop", arm="A/quiet")
    assert [event["kind"] for event in written.of_arm()] == ["inject"]
    written.begin_arm("A/withheld")
    assert written.of_arm() == []
    written.end_arm()
    written.write("run-end")
    assert [event["arm"] for event in journal.read(tmp_path)] == [None, "A/fault", "A/quiet", None]


def test_what_of_arm_gives_can_be_changed(tmp_path: Path) -> None:
    written = Journal(tmp_path, "r1")
    written.begin_arm("A/fault")
    written.write("inject")
    written.of_arm().clear()
    assert len(written.of_arm()) == 1


def test_many_threads_write_whole_lines_in_order(tmp_path: Path) -> None:
    written = Journal(tmp_path, "r1")
    written.begin_arm("A/fault")

    def write(thread: int) -> None:
        for number in range(50):
            written.write("signal", name=f"{thread}-{number}", detail="x" * 9000)  # longer than a buffer

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    events = [json.loads(line) for line in lines(written.path)]
    assert [event["seq"] for event in events] == list(range(1, 401))
    assert [event["t"] for event in events] == sorted(event["t"] for event in events)
    assert {event["name"] for event in events} == {f"{t}-{n}" for t in range(8) for n in range(50)}
    assert len(written.of_arm()) == 400


def test_what_is_no_json_is_written_as_text(tmp_path: Path) -> None:
    Journal(tmp_path, "r1").write("trigger", what=Path("/a"))
    assert journal.read(tmp_path)[0]["what"] == "/a"


@given(st.text())
def test_any_text_comes_back_as_it_was(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    folder = tmp_path_factory.mktemp("any")
    Journal(folder, "r1").write("command", stdout=text)
    assert journal.read(folder)[0]["stdout"] == text


def test_a_journal_that_cannot_be_written_ends_the_run_in_one_line(tmp_path: Path) -> None:
    written = Journal(tmp_path, "r1")
    written._file.close()
    written._file = Path("/dev/full").open("w", encoding="utf-8")  # noqa: SIM115 -- the journal closes it
    with pytest.raises(LabError, match=r"main\.jsonl: cannot be written"):
        written.write("inject")
    written.close()


# -------------------------------------------------------------------------------------------------------- reading


def put(path: Path, **fields: object) -> str:
    event = {"run": "r", "worker": path.stem, "seq": 1, "t": 1.0, "time": "now", "kind": "k", "arm": None, **fields}
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(event, ensure_ascii=False) + "\n")
    return json.dumps(event, ensure_ascii=False)


def test_the_journals_of_several_workers_are_one_in_time(tmp_path: Path) -> None:
    for worker, moments in (("gw0", (1.0, 3.0)), ("gw1", (2.0, 3.0))):
        for seq, t in enumerate(moments, 1):
            put(tmp_path / f"{worker}.jsonl", worker=worker, seq=seq, t=t)
    assert [journal.evidence(event) for event in journal.read(tmp_path)] == ["gw0:1", "gw1:1", "gw0:2", "gw1:2"]


def test_of_one_moment_a_workers_own_numbers_give_the_order(tmp_path: Path) -> None:
    for seq in (3, 1, 2):
        put(tmp_path / "main.jsonl", seq=seq)
    assert [event["seq"] for event in journal.read(tmp_path)] == [1, 2, 3]


@pytest.mark.parametrize("text", ["a", "ä€𝄞"])
def test_a_last_line_cut_at_any_byte_is_left_out(tmp_path: Path, text: str) -> None:
    path = tmp_path / "main.jsonl"
    put(path, what="first")
    whole = path.read_bytes()
    cut = put(tmp_path / "other", what=text).encode()
    for length in range(1, len(cut)):
        path.write_bytes(whole + cut[:length])
        assert [event["what"] for event in journal.read(tmp_path)] == ["first"]
    path.write_bytes(whole + cut)  # whole, but for its end of line
    assert len(journal.read(tmp_path)) == 2


@pytest.mark.parametrize("line", ["{", "[1, 2", "3", "null", "nonsense"])
def test_any_other_broken_line_is_an_error_that_names_it(tmp_path: Path, line: str) -> None:
    path = tmp_path / "main.jsonl"
    put(path)
    path.write_text(path.read_text() + line + "\n" + put(tmp_path / "other") + "\n", encoding="utf-8")
    with pytest.raises(LabError, match=r"main\.jsonl:2: not a journal line"):
        journal.read(tmp_path)


@pytest.mark.parametrize("name", COMMON)
def test_a_line_that_lacks_a_field_is_an_error_that_names_it(tmp_path: Path, name: str) -> None:
    path = tmp_path / "main.jsonl"
    event = json.loads(put(path))
    del event[name]
    path.write_text(json.dumps(event) + "\n", encoding="utf-8")
    with pytest.raises(LabError, match=rf"main\.jsonl:1: the line lacks {name}"):
        journal.read(tmp_path)


def test_a_folder_without_a_journal_is_an_error(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(LabError, match="no journal here"):
            journal.read(folder)


# --------------------------------------------------------------------------------------------------------- faults


@dataclass(frozen=True)
class Nothing(Fault):
    """Breaks nothing."""

    table: str = "t"

    def prepare(self, stack: Stack) -> Undo:
        return {}

    def inject(self, stack: Stack, undo: Undo) -> None: ...

    def revert(self, stack: Stack, undo: Undo) -> None: ...

    def witness(self, stack: Stack, undo: Undo) -> Observation:
        return Observation(holds=False, by="nobody")


@dataclass(frozen=True)
class Unfinished(Fault):
    """Lacks its methods."""


class Outer:
    """Holds a fault."""

    class Inner(Nothing):
        """Is nested."""


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> str:
    """This module, importable by name."""
    import sys  # noqa: PLC0415 -- only here

    monkeypatch.setitem(sys.modules, "faults_of_a_team", sys.modules[__name__])
    return "faults_of_a_team"


def test_a_fault_is_built_again_from_its_data(here: str) -> None:
    data = json.loads(json.dumps(Nothing("projects").as_data())) | {"class": f"{here}:Nothing"}
    assert journal.load_fault(data) == Nothing("projects")
    assert journal.load_fault({"class": f"{here}:Outer.Inner", "fields": {}}) == Outer.Inner()


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("no_such_module:Nothing", {}),
        ("faults_of_a_team:NoSuchClass", {}),
        ("faults_of_a_team:", {}),
        (":Nothing", {}),
        ("", {}),
        (None, {}),
        (".relative:Nothing", {}),
        ("faults_of_a_team:Nothing", {"no_such_field": 1}),
        ("faults_of_a_team:Nothing", None),
        ("faults_of_a_team:Unfinished", {}),
        ("faults_of_a_team:Outer", {}),
        ("faults_of_a_team:lines", {}),
        ("faults_of_a_team:ROOT", {}),
    ],
)
def test_what_is_no_fault_is_an_error(here: str, name: object, fields: object) -> None:
    with pytest.raises(LabError):
        journal.load_fault({"class": name, "fields": fields})
    with pytest.raises(LabError):
        journal.load_fault({})


def test_nothing_but_a_fault_is_ever_called(tmp_path: Path) -> None:
    """A journal is data: it must not be able to make its reader do something."""
    with pytest.raises(LabError, match="is no fault"):
        journal.load_fault({"class": "pathlib:Path.touch", "fields": {"self": str(tmp_path / "made")}})
    with pytest.raises(LabError, match="is no fault"):
        journal.load_fault({"class": "subprocess:Popen", "fields": {"args": ["touch", str(tmp_path / "made")]}})
    assert list(tmp_path.iterdir()) == []


# ------------------------------------------------------------------------------------------------------- the table


def table() -> dict[str, str]:
    """The row of each kind in the module's docstring."""
    rows = [line.strip("| ").split(" | ", 1) for line in (journal.__doc__ or "").splitlines() if line.startswith("| ")]
    return dict(rows[1:])


def written() -> Iterator[tuple[str, str, set[str]]]:
    """Every call in the project that writes an event whose kind stands in it: place, kind, the fields it names."""
    for file in sorted([*(ROOT / "runlab").rglob("*.py"), *(ROOT / "verifiers").glob("*.py")]):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and node.args and isinstance(node.args[-1], ast.Constant)):
                continue
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            through = isinstance(node.args[0], ast.Attribute) and node.args[0].attr == "write"  # a callback
            kind = node.args[-1].value
            if (called == "write" or through) and isinstance(kind, str) and (node.keywords or kind in table()):
                fields = {keyword.arg for keyword in node.keywords if keyword.arg} - {"arm", "durable", "encoding"}
                yield f"{file.name}:{node.lineno}", kind, fields


def test_the_table_has_every_kind_that_is_written_and_no_other() -> None:
    assert {kind for _, kind, _ in written()} == set(table())


def test_the_table_has_every_field_that_is_written() -> None:
    missing = [
        (place, kind, name)
        for place, kind, fields in written()
        for name in sorted(fields)
        if not re.search(rf"\b{name}\b", table()[kind])
    ]
    assert missing == []


def test_the_table_has_every_field_of_a_real_looking_run() -> None:
    """The builder of the judge's tests writes by hand what an arm writes; so neither may have a field of its own."""
    from tests.journals import whole_run  # noqa: PLC0415 -- only needed here

    for event in whole_run().events:
        for name in set(event) - set(COMMON):
            assert re.search(rf"\b{name}\b", table()[event["kind"]]), (event["kind"], name)
