"""The lab's own figures: where a run's time went, from a journal made by hand, and what a stack costs, from a fake."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from runlab import cli, settings
from runlab.bench import overhead, stack
from runlab.model import JsonObject, LabError


def event(kind: str, t: float, arm: str | None = None, worker: str = "main", **data: Any) -> JsonObject:
    common = {"run": "r", "worker": worker, "seq": 1, "t": t, "time": "", "kind": kind, "arm": arm}
    return {**common, **data}


def arm(scenario: str, name: str, case: str, wall_s: float, floor_s: float) -> list[JsonObject]:
    key = f"{scenario}/{name}/{case}"
    return [
        event("arm-start", 0, key, scenario=scenario, name=name, case=case),
        event("arm-end", 1, key, wall_s=wall_s, floor_s=floor_s),
    ]


EVENTS = [
    event("run-start", 100.0),
    *arm("TestA", "quiet", "plain", 3.0, 2.0),
    *arm("TestA", "fault", "plain", 6.0, 4.0),
    *arm("TestA", "fault", "other", 9.0, 4.0),
    *arm("TestB", "withheld", "plain", 20.0, 19.5),
    *arm("TestB", "off", "plain", 1.0, 0.0),
    event("run-end", 145.5),
]


def rows(found: overhead.Overhead) -> list[tuple[str, str, int, float]]:
    return [(it.scenario, it.arm, it.arms, it.left_s) for it in found.spent]


def test_what_is_left_is_wall_less_floor_the_most_first() -> None:
    found = overhead.measure(EVENTS)
    assert rows(found) == [
        ("TestA", "fault", 2, 7.0),
        ("TestA", "quiet", 1, 1.0),
        ("TestB", "off", 1, 1.0),
        ("TestB", "withheld", 1, 0.5),
    ]
    assert (found.total.arms, found.total.wall_s, found.total.floor_s) == (5, 39.0, 29.5)
    assert found.outside_s == 6.5
    assert found.unfinished == 0


def test_the_ratio_is_wall_over_floor_where_there_is_a_floor() -> None:
    ratios = {(it.scenario, it.arm): it.ratio for it in overhead.measure(EVENTS).spent}
    assert ratios["TestA", "fault"] == 15 / 8
    assert ratios["TestB", "off"] is None


def test_a_run_that_was_cut_off() -> None:
    cut = [*EVENTS[:-1], event("arm-start", 50, "TestB/on/plain", scenario="TestB", name="on", case="plain")]
    found = overhead.measure(cut)
    assert found.outside_s is None
    assert found.unfinished == 1
    assert rows(found) == rows(overhead.measure(EVENTS))


def test_arms_of_two_workers_at_once_are_told_apart() -> None:
    def of(worker: str, wall_s: float) -> list[JsonObject]:
        return [{**line, "worker": worker} for line in arm("TestA", "fault", "plain", wall_s, 1.0)]

    (start, end), (other_start, other_end) = of("gw0", 2.0), of("gw1", 3.0)
    found = overhead.measure([start, other_start, other_end, end])
    assert rows(found) == [("TestA", "fault", 2, 3.0)]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run's folder with that journal, the current folder beside it."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "reports" / "a-run"
    (folder / "journal").mkdir(parents=True)
    (folder / "journal" / "main.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in EVENTS))
    return folder


def runlab(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int | str | None:
    monkeypatch.setattr(sys, "argv", ["runlab", *arguments])
    monkeypatch.setattr(sys, "path", list(sys.path))
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return ended.value.code


def test_the_command_shows_a_table_of_the_latest_run(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (run.parent / "latest").symlink_to(run.name)
    assert runlab(monkeypatch, "bench", "overhead") == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["TestA", "fault", "2", "15.0", "8.0", "7.0", "1.88"] in lines
    assert ["TestB", "off", "1", "1.0", "0.0", "1.0", "–"] in lines
    assert ["all", "5", "39.0", "29.5", "9.5", "1.32"] in lines
    assert lines[-1][-1] == "6.5"


def test_the_command_prints_json(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert runlab(monkeypatch, "bench", "overhead", str(run), "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["total"] == {
        "scenario": "all", "arm": "", "arms": 5, "wall_s": 39.0, "floor_s": 29.5, "left_s": 9.5, "ratio": 1.32
    }  # fmt: skip
    assert [row["left_s"] for row in found["rows"]] == [7.0, 1.0, 1.0, 0.5]
    assert (found["outside_s"], found["unfinished"]) == (6.5, 0)


def test_a_run_without_a_journal_is_one_line(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert runlab(monkeypatch, "bench", "overhead", "nowhere") == 2
    assert capsys.readouterr().err.count("\n") == 1


# ------------------------------------------------------------------------------------------------------- the stack


class FakeStack:
    """Its figures are those of its number."""

    def __init__(self, number: int, fails: bool = False) -> None:
        self.ready_s, self.start_s = float(number), number + 5.0
        self.number, self.fails, self.stopped = number, fails, False

    def resident(self) -> dict[str, int]:
        return {"a": self.number * stack.MIB, "b": 10 * stack.MIB}

    def reset(self) -> None:
        if self.fails:
            raise LabError("no reset")

    def stop(self) -> None:
        self.stopped = True


def started(stacks: Sequence[FakeStack], folders: list[Path]) -> Any:
    given: Iterator[FakeStack] = iter(stacks)

    def start(logs: Path) -> FakeStack:
        folders.append(logs)
        return next(given)

    return start


def test_minimum_median_and_maximum_of_all_runs() -> None:
    stacks, folders = [FakeStack(number) for number in (4, 1, 2)], []
    data = stack.measure({"sandbox": started(stacks, folders)}, 3, lambda _: None)["sandbox"].as_data()
    assert all(it.stopped for it in stacks)
    assert len(set(folders)) == 3
    assert data["runs"] == 3
    assert data["ready_s"] == {"min": 1.0, "median": 2.0, "max": 4.0}
    assert data["start_s"] == {"min": 6.0, "median": 7.0, "max": 9.0}
    assert data["resident_bytes"]["a"] == {"min": stack.MIB, "median": 2 * stack.MIB, "max": 4 * stack.MIB}
    assert data["resident_bytes"]["all"] == {"min": 11 * stack.MIB, "median": 12 * stack.MIB, "max": 14 * stack.MIB}
    assert set(data["reset_s"]) == set(data["stop_s"]) == {"min", "median", "max"}


def test_a_stack_that_fails_is_ended_too() -> None:
    failing = FakeStack(1, fails=True)
    with pytest.raises(LabError, match="no reset"):
        stack.measure({"sandbox": started([failing], [])}, 1, lambda _: None)
    assert failing.stopped


def test_the_runtimes_take_turns() -> None:
    said: list[str] = []
    stacks = {runtime: started([FakeStack(1), FakeStack(2)], []) for runtime in ("sandbox", "processes")}
    stack.measure(stacks, 2, said.append)
    assert said == [f"{runtime}, run {n} of 2" for n in (1, 2) for runtime in ("sandbox", "processes")]


def test_the_largest_stands_first_and_all_of_them_last(capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(capsys, sandbox=[FakeStack(4)])
    assert lines[-3:] == [["b", "10.0", "(10.0–10.0)"], ["a", "4.0", "(4.0–4.0)"], ["all", "14.0", "(14.0–14.0)"]]
    assert ["start,", "until", "all", "are", "healthy", "4.000", "(4.000–4.000)"] in lines


def test_the_runtimes_stand_side_by_side(capsys: pytest.CaptureFixture[str]) -> None:
    other = FakeStack(3)
    other.resident = lambda: {"c": stack.MIB}  # type: ignore[method-assign]
    lines = printed(capsys, sandbox=[FakeStack(20)], processes=[other])
    assert ["1", "runs,", "seconds", "sandbox", "processes"] in lines
    healthy = ["20.000", "(20.000–20.000)", "3.000", "(3.000–3.000)"]
    assert ["start,", "until", "all", "are", "healthy", *healthy] in lines
    assert lines[-4:-1] == [
        ["a", "20.0", "(20.0–20.0)", "–"],
        ["b", "10.0", "(10.0–10.0)", "–"],
        ["c", "–", "1.0", "(1.0–1.0)"],
    ]


def printed(capsys: pytest.CaptureFixture[str], **stacks: Sequence[FakeStack]) -> list[list[str]]:
    """The words of each line of both tables, after one run of each."""
    figures = stack.measure({name: started(its, []) for name, its in stacks.items()}, 1, lambda _: None)
    for table in stack.tables(figures):
        Console(width=90, highlight=False).print(table)
    return [line.split() for line in capsys.readouterr().out.splitlines()]


@pytest.fixture
def benched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The runtimes in which a stack was started, none of them real."""
    asked: list[str] = []

    def start_stack(lab: settings.Settings, **_: Any) -> FakeStack:
        asked.append(lab.stack.runtime)
        return FakeStack(1)

    monkeypatch.chdir(Path(__file__).resolve().parents[1])
    monkeypatch.setattr(cli, "start_stack", start_stack)
    return asked


@pytest.mark.parametrize(
    ("options", "obstacle", "runtimes"),
    [
        ([], None, ["sandbox", "processes"]),
        ([], "unshare is forbidden", ["processes"]),
        (["--runtime", "sandbox"], "unshare is forbidden", ["sandbox"]),
    ],
)
def test_the_command_measures_all_that_can_be_had_or_the_one_that_is_named(
    benched: list[str],
    options: list[str],
    obstacle: str | None,
    runtimes: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(cli, "sandbox_obstacle", lambda: obstacle)
    assert runlab(monkeypatch, "bench", "stack", "--runs", "1", *options) == 0
    assert benched == runtimes
    said = "no sandbox here: unshare is forbidden" in capsys.readouterr().out
    assert said == (bool(obstacle) and not options)


def test_a_runtime_that_there_is_not_is_one_line(
    benched: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert runlab(monkeypatch, "bench", "stack", "--runtime", "docker") == 2
    assert benched == []
    assert capsys.readouterr().err.splitlines() == [
        "runlab: --runtime docker: there is none such; there are embedded, sandbox, processes"
    ]
