"""Neither the system under test nor a fault can say a runbook's words to please the lab."""

from __future__ import annotations

from pathlib import Path

import pytest

from runlab import runbook

ROOT = Path(__file__).parents[1]
COLLECTION = ROOT.parent / "shared" / "runbooks-as-received.md"
EDITIONS = [path for path in (ROOT / "runbooks", COLLECTION) if path.exists()]


def words_of(path: Path) -> set[str]:
    """Every alert and every log signature of every runbook there."""
    claims = [claim for each in runbook.load(path) for claim in each.of_kind("detect")]
    return {part.text for claim in claims for part in claim.parts if part.kind in {"alert", "signature"}}


@pytest.mark.parametrize("edition", EDITIONS, ids=lambda path: path.stem)
def test_no_word_of_a_runbook_stands_in_the_source(edition: Path) -> None:
    words = words_of(edition)
    assert "Lock wait timeout exceeded" in words
    sources = [file for folder in ("sut", "faults") for file in sorted((ROOT / folder).rglob("*.py"))]
    assert sources
    for file in sources:
        source = file.read_text(encoding="utf-8").lower()
        assert not {word for word in words if word.lower() in source}, file
