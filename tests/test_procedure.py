"""What the operator is told of the incident: the labels of the alert that was delivered, from the journal alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from runlab.journal import Journal
from runlab.model import Claim, Runbook
from runlab.procedure import Procedure
from runlab.settings import ConsoleSettings
from runlab.steps import Definition, Registry

CLAIM = Claim("RB-1/recover/mending/1", "RB-1", "recover", "", "Look at the alert.", "x.md", 3, ("Mending",))
BOOK = Runbook("RB-1", "Broken things", "x.md", 1, "0", (CLAIM,))
ALERT = {"claim": "RB-1/detect/1", "name": "Broken", "signal_kind": "alert", "by": "test", "detail": ""}


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    written = Journal(tmp_path, "run")
    yield written
    written.close()


def told(journal: Journal) -> Mapping[str, str]:
    """The operator's `alert` when it takes the sentence."""
    seen: list[Mapping[str, str]] = []

    def look(operator: Any) -> None:
        seen.append(operator.alert)

    state = SimpleNamespace()
    laboratory = SimpleNamespace(
        stack=SimpleNamespace(ensure_kept=lambda: None),
        journal=journal,
        console=ConsoleSettings(),
        steps={"RB-1": Registry([Definition("finds", CLAIM.text, look, "x.py:1")])},
    )
    situation = SimpleNamespace(ask_witness=print, write_state=lambda *_: None, state=lambda _=None: state)
    Procedure(laboratory, BOOK, situation, pytest.fail).follow("Mending")  # type: ignore[arg-type]
    (alert,) = seen
    return alert


def test_without_an_alert_the_operator_is_told_nothing(journal: Journal) -> None:
    journal.begin_arm("a1")
    journal.write("signal", **{**ALERT, "signal_kind": "signature", "name": "a line"})
    assert told(journal) == {}


def test_the_first_alert_of_this_runbook_in_this_arm_is_told(journal: Journal) -> None:
    journal.begin_arm("a0")
    journal.write("signal", **ALERT, labels={"database": "of the arm before"})
    journal.begin_arm("a1")
    journal.write("signal", **{**ALERT, "claim": "RB-10/detect/1"}, labels={"database": "of another runbook"})
    journal.write("signal", **ALERT, arm="a0", labels={"database": "late for the arm before"})
    assert told(journal) == {}
    journal.write("signal", **ALERT, labels={"alertname": "Broken", "database": "mariadb"})
    journal.write("signal", **ALERT, labels={"database": "the second"})
    assert told(journal) == {"alertname": "Broken", "database": "mariadb"}
