"""The collection as received, read and counted. Taken from ../shared, as the repository holds no copy of it."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from runlab.model import Runbook
from runlab.runbook import labelled, load, procedure, signals

RECEIVED = Path(__file__).parent.parent.parent / "shared" / "runbooks-as-received.md"


@pytest.fixture(scope="module")
def received() -> tuple[Runbook, ...]:
    if not RECEIVED.exists():
        pytest.skip("the collection as received is not beside this repository (../shared/runbooks-as-received.md)")
    return load(RECEIVED)


def test_the_collection_has_140_claims(received: tuple[Runbook, ...]) -> None:
    assert [runbook.id for runbook in received] == [f"RB-00{number}" for number in range(1, 9)]
    assert [len(runbook.claims) for runbook in received] == [26, 21, 20, 15, 16, 15, 12, 15]


def test_the_collection_has_the_counted_parts_and_labels(received: tuple[Runbook, ...]) -> None:
    claims = [claim for runbook in received for claim in runbook.claims]
    detect = [claim for claim in claims if claim.kind == "detect"]
    kinds = Counter(part.kind for claim in detect for part in claim.parts if part.kind != "threshold")
    assert kinds == {"alert": 10, "signature": 19, "status": 2, "name": 5}
    assert {part.text for claim in detect for part in claim.parts if part.kind == "name"} == {
        "db:migrate",
        "alembic upgrade",
        "dmesg",
        "/var/log/syslog",
        "ulimit",
    }
    assert sum("`" not in claim.text for claim in claims) == 95
    assert len({claim.text for claim in claims}) == len({claim.id for claim in claims}) == 140
    unlabelled = Counter(claim.kind for claim in claims if not claim.label)
    assert unlabelled == {"detect": 34, "recover": 20}
    thresholds = [part.text for claim in claims for part in claim.parts if part.kind == "threshold"]
    assert thresholds == [">90%", "> 80%", "80%", "70%", "90%"]


def test_each_received_wording_is_that_of_its_line(received: tuple[Runbook, ...]) -> None:
    lines = RECEIVED.read_text(encoding="utf-8").splitlines()
    for claim in (claim for runbook in received for claim in runbook.claims):
        bullet = re.sub(r"^\s*(-|\d+\.)\s+", "", lines[claim.line - 1])
        spans = iter(re.findall(r"`[^`]+`", bullet))
        assert claim.text == re.sub("\0", lambda _, s=spans: next(s), re.sub(r"`[^`]+`", "\0", bullet).replace("*", ""))
        assert claim.text.startswith(f"{claim.label}: " if claim.label else "")


def test_received_claims_are_found_by_their_labels(received: tuple[Runbook, ...]) -> None:
    first, fourth = received[0], received[3]
    assert labelled(first, "cause", "Locking Issues").id == "RB-001/cause/locking-issues"
    assert labelled(first, "prevent", "Timeout Configuration").id == "RB-001/prevent/timeout-configuration"
    assert [claim.line for claim in procedure(first, "Scenario C")] == [58, 59, 60]
    assert procedure(first, "Scenario C")[0].under == ("Resolution Steps", "Scenario C: Locking Timeout")
    assert [claim.id.split("/", 2)[2] for claim in procedure(first, "Immediate Actions")] == [
        "immediate-actions/1",
        "verify-database-state/1",
        "verify-database-state/2",
    ]
    assert [claim.line for claim in procedure(fourth, "Resolution Steps")] == [181, 183, 184, 185]
    assert len(procedure(received[1], "Infrastructure")) == 1
    assert labelled(received[1], "cause", "Infrastructure").kind == "cause"


def test_received_signals_are_alerts_and_signatures(received: tuple[Runbook, ...]) -> None:
    found = [signal for runbook in received for signal in signals(runbook, {})]
    assert Counter(signal.kind for signal in found) == {"alert": 10, "signature": 19}
    assert len(signals(received[2], {"OOM Killer": "for this test"})) == len(signals(received[2], {})) - 1
