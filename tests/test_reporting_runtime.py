"""Every report names the runtime of its run, and why it was no sandbox where one was wanted."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console, RenderableType

from runlab import journal
from runlab.reporting import digest, terminal
from runlab.reporting.page import page
from runlab.reporting.schema import whole
from runlab.reporting.summary import summary, text

DATA = Path(__file__).parent / "data"
EVENTS = journal.read(DATA / "journal-example")


@pytest.fixture
def results() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((DATA / "results-example.json").read_text(encoding="utf-8"))
    return found


@pytest.mark.parametrize(
    ("runtime", "missing", "said"),
    [
        ("sandbox", {}, "runtime: sandbox"),
        ("sandbox", {"ping": "ping is not installed"}, "runtime: sandbox"),
        ("processes", {"sandbox": "the runtime is processes"}, "runtime: processes"),
        ("processes", {"sandbox": "no namespaces: EPERM"}, "runtime: processes (no namespaces: EPERM)"),
    ],
)
def test_each_report_has_it_on_a_line_of_its_own(
    results: dict[str, Any], runtime: str, missing: Mapping[str, str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    by_kind = {event["kind"]: event for event in EVENTS}
    results["environment"] |= {"runtime": runtime, "missing": missing}
    before = lines(capsys, terminal.before_tests(by_kind["plan"], by_kind["claims"], runtime, missing))
    assert before[1] == said
    assert said in lines(capsys, *terminal.closing_tables(results))
    assert f"> {text(said)}" in summary(whole(results)).splitlines()
    assert f">{said}<" in page(whole(results), EVENTS)


def test_a_run_that_was_cut_off_before_it_had_one_names_none(results: dict[str, Any]) -> None:
    results["environment"] = {}
    assert digest.ran_on(whole(results)) == []


def lines(capsys: pytest.CaptureFixture[str], *blocks: RenderableType) -> list[str]:
    console = Console(width=100, highlight=False)
    for block in blocks:
        console.print(block)
    return [line.strip() for line in capsys.readouterr().out.splitlines()]
