"""verifiers.logs: each line once, literally, from the arm's beginning on."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runlab import journal
from runlab.journal import Journal
from runlab.model import JsonObject, Signal
from runlab.waiting import wait_until
from verifiers.logs import LogWatcher, Tail

LOCKED = Signal("RB-001", "RB-001/detect/3", "Lock wait timeout exceeded", "signature")
PICKLE = Signal("RB-007", "RB-007/detect/3", "PickleError", "signature")
ALERT = Signal("RB-001", "RB-001/detect/1", "DeployFailed", "alert")


@dataclass
class Logs:
    """As much of a stack as the watcher asks for."""

    files: Mapping[str, Path]

    def log_files(self) -> Mapping[str, Path]:
        return self.files


@dataclass
class Lab:
    folder: Path
    files: dict[str, Path]
    journal: Journal
    watcher: LogWatcher

    def append(self, service: str, text: str) -> None:
        with self.files[service].open("a") as file:
            file.write(text)

    def signals(self) -> list[JsonObject]:
        return [event for event in journal.read(self.journal.path.parent) if event["kind"] == "signal"]

    def awaits_a_signal(self) -> JsonObject:
        return wait_until("a signal", self.signals, deadline_s=3)[-1]


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    files = {name: tmp_path / f"{name}.log" for name in ("api", "migrate")}
    for file in files.values():
        file.write_text("before: Lock wait timeout exceeded\n")
    written = Journal(tmp_path / "journal", "r1")
    written.write("run-start")
    watcher = LogWatcher(Logs(files), written, [LOCKED, PICKLE, ALERT])  # type: ignore[arg-type]
    yield Lab(tmp_path, files, written, watcher)
    watcher.close()
    written.close()


def test_a_signature_is_journalled_once_with_its_line_and_service(lab: Lab) -> None:
    lab.watcher.begin("a1")
    lab.append("migrate", "ERROR Lock wait timeout exceeded; try again\n" * 3)
    seen = lab.awaits_a_signal()
    lab.watcher.end()
    assert len(lab.signals()) == 1
    assert (seen["arm"], seen["claim"], seen["name"]) == ("a1", LOCKED.claim, LOCKED.name)
    assert (seen["by"], seen["signal_kind"]) == ("migrate", "signature")
    assert seen["detail"] == "ERROR Lock wait timeout exceeded; try again"


def test_what_stood_there_before_the_arm_and_other_case_do_not_count(lab: Lab) -> None:
    lab.watcher.begin("a1")
    lab.append("api", "lock wait timeout exceeded\nPickle Error\n")
    assert all(source.answers and source.exists and source.fresh for source in lab.watcher.end())
    assert lab.signals() == []


def test_each_arm_sees_a_signature_anew_and_nothing_counts_between(lab: Lab) -> None:
    for arm in ("a1", "a2"):
        lab.watcher.begin(arm)
        lab.append("api", "PickleError\n")
        lab.watcher.end()
        lab.append("api", "Lock wait timeout exceeded\n")
    assert [(event["arm"], event["name"]) for event in lab.signals()] == [("a1", "PickleError"), ("a2", "PickleError")]


def test_a_line_cut_by_the_end_of_the_arm_counts(lab: Lab) -> None:
    lab.watcher.begin("a1")
    lab.append("api", "Pickle")
    lab.append("api", "Error: no newline")
    lab.watcher.end()
    assert [event["detail"] for event in lab.signals()] == ["PickleError: no newline"]


def test_a_long_line_is_bounded_in_the_journal(lab: Lab) -> None:
    lab.watcher.begin("a1")
    lab.append("api", "PickleError" + "x" * 5000 + "\n")
    lab.watcher.end()
    assert len(lab.signals()[0]["detail"]) == 2000


def test_a_log_that_is_replaced_or_appears_later_is_read_from_its_start(lab: Lab) -> None:
    lab.files["late"] = lab.folder / "late.log"
    lab.watcher.begin("a1")
    lab.files["late"].write_text("PickleError\n")
    lab.files["api"].write_text("cut\nLock wait timeout exceeded\n")
    assert all(source.exists for source in lab.watcher.end())
    assert {event["by"] for event in lab.signals()} == {"late", "api"}


def test_a_log_that_was_rotated_is_read_from_its_start(lab: Lab) -> None:
    lab.watcher.begin("a1")
    lab.files["api"].rename(lab.folder / "api.log.1")
    lab.files["api"].write_text("PickleError\n" + "x" * 500 + "\n")
    assert all(source.exists for source in lab.watcher.end())
    assert [event["name"] for event in lab.signals()] == ["PickleError"]


def test_silence_does_not_count_when_a_log_is_missing(lab: Lab) -> None:
    lab.watcher.begin("a1")
    lab.files["api"].unlink()
    sources = lab.watcher.end()
    assert [source.signal for source in sources] == [LOCKED.name, PICKLE.name]
    for source in sources:
        assert (source.answers, source.exists, source.fresh) == (True, False, False)
        assert source.detail == "the log of api does not exist"


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
def test_silence_does_not_count_when_a_log_can_not_be_read(lab: Lab) -> None:
    lab.watcher.begin("a1")
    lab.files["api"].chmod(0)
    assert not any(source.answers or source.fresh for source in lab.watcher.end())


def test_silence_does_not_count_when_a_log_is_no_file(lab: Lab) -> None:
    lab.watcher.begin("a1")
    lab.files["api"].unlink()
    lab.files["api"].mkdir()
    source = lab.watcher.end()[0]
    assert (source.answers, source.fresh) == (False, False)
    assert "the log of api can't be read" in source.detail


def test_silence_does_not_count_when_the_watcher_crashed(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.watcher.begin("a1")
    monkeypatch.setattr(lab.watcher, "_search", lambda *_: 1 / 0)
    lab.append("api", "any line\n")
    source = wait_until("a crash", lambda: lab.watcher._loop.crash and lab.watcher.end()[0], deadline_s=3)
    assert not source.answers
    assert "the watcher crashed: ZeroDivisionError" in source.detail
    monkeypatch.undo()
    lab.watcher.begin("a2")
    assert lab.watcher.end()[0].answers


@given(lines=st.lists(st.text(st.characters(exclude_characters="\n", codec="utf-8"))), cuts=st.data())
def test_however_a_file_grows_each_line_is_read_once_and_whole(lines: list[str], cuts: st.DataObject) -> None:
    data = "".join(f"{line}\n" for line in lines).encode()
    with TemporaryDirectory() as folder:
        path = Path(folder) / "log"
        path.touch()
        tail, found, written = Tail(path), list[str](), 0
        while written < len(data):
            size = cuts.draw(st.integers(1, len(data) - written))
            with path.open("ab") as file:
                file.write(data[written : written + size])
            written += size
            found += tail.lines()
        assert found == lines
