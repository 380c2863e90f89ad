"""Every mutant of tests/mutants dies: the claim named loses its verdict for the stated reason, and a test turns red.

Only what shows in no arm by itself is told by the verdict alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mutants.catalogue import MUTANTS
from tests.mutants.mutant import FAULT, Edit, Loses, Mutant
from tests.mutants.of_signals import ALERT
from tests.mutants.trial import Laboratory, Outcome, survived

WELL = Outcome(0, "", {"scenarios": [], "claims": [], "procedures": []})


@pytest.fixture(scope="module")
def laboratory(request: pytest.FixtureRequest) -> Iterator[Laboratory]:
    """Has begun with the mutants that were chosen, and with no others."""
    tests = [item.name for item in request.session.items if item.path == request.path]
    with Laboratory() as laboratory:
        laboratory.order(mutant for mutant in MUTANTS if any(f"[{mutant.name}]" in test for test in tests))
        yield laboratory


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_it_is_killed_for_the_reason_that_it_states(laboratory: Laboratory, mutant: Mutant) -> None:
    assert survived(mutant, *laboratory.try_out(mutant)) == []


def test_a_mutant_that_changes_nothing_survives(laboratory: Laboratory) -> None:
    nothing = Mutant("nothing", "nothing", (), red="", loses=(Loses(ALERT, "inconclusive", ""),))
    well = laboratory.before(FAULT)
    exit_status, red, kept = survived(nothing, well, well)
    assert exit_status.startswith("exit status 0, not 1")
    assert red.startswith("no test is red")
    assert kept.startswith("'Prometheus raises' is observed")


def test_a_red_test_is_not_the_verdict_alone() -> None:
    arm = {"id": "T/fault", "outcome": "failed", "message": "something else broke"}
    broken = Outcome(0, "", {"scenarios": [arm], "claims": [], "procedures": []})
    (why,) = survived(Mutant("quiet", "tells by its verdict", (), red=None, exit_status=0), WELL, broken)
    assert why == "a test is red where the verdict alone should tell: {'T/fault': 'something else broke'}"


@pytest.mark.parametrize("text", ["once", "twice twice"])
def test_an_edit_that_does_not_fit_once_is_an_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "file").write_text(text)
    with pytest.raises(AssertionError, match="not once"):
        Edit("file", "twice", "never").apply(tmp_path)
