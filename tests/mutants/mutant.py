"""A mutant: one thing about the project that is wrong on purpose, and what must come of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

SCENARIO, STEPS = "scenarios/test_rb001_database_migration.py", "scenarios/steps_rb001.py"
NETWORK, NAMES = "scenarios/test_rb002_network.py", "scenarios/test_rb002_dns.py"
PROCEDURE = "the procedure as a whole"


@dataclass(frozen=True)
class Edit:
    """Replaces `old` by `new` in `file`, which must hold it exactly once; so no mutant can silently change nothing."""

    file: str
    old: str
    new: str

    def apply(self, copy: Path) -> None:
        """Change the copy. Raises AssertionError when `old` does not stand there once."""
        path = copy / self.file
        text = path.read_text(encoding="utf-8")
        found = text.count(self.old)
        if found != 1:
            raise AssertionError(f"{self.file} holds this {found} times, not once; mend the mutant:\n{self.old}")
        path.write_text(text.replace(self.old, self.new), encoding="utf-8")


@dataclass(frozen=True)
class Selection:
    """The fewest arms that decide a mutant, as "class::test" of `file`. Only the servers that they need are started."""

    tests: tuple[str, ...]
    file: str = SCENARIO

    def node_ids(self) -> tuple[str, ...]:
        """As pytest takes them."""
        return tuple(f"{self.file}::{test}" for test in self.tests)


def arms(scenario: str, *tests: str, file: str = SCENARIO) -> Selection:
    """These tests of one class."""
    return Selection(tuple(f"{scenario}::{test}" for test in tests), file)


def three_arms(prevention: str) -> Selection:
    """Measure off, measure on, and without harm."""
    return arms(prevention, "test_without_the_measure", "test_with_the_measure", "test_harmless_with_the_measure")


_QUIET, _FAULT = "test_quiet_without_fault", "test_detected_and_recovered"
FAULT = arms("TestLockTimeout", f"{_FAULT}[IdleInTransaction-projects-timed_out]")
QUIET_AND_FAULT = arms("TestLockTimeout", f"{_QUIET}[timed_out]", f"{_FAULT}[IdleInTransaction-projects-timed_out]")
NULLS = arms("TestNewColumnMayNotBeNull", _QUIET, _FAULT)
TWO_AT_ONCE = arms("TestTwoAtOnce", _QUIET, _FAULT)
IN_PART = arms("TestAppliedInPart", _FAULT)
MARIADB = arms("TestLockTimeoutOnMariaDB", _QUIET, f"{_FAULT}[IdleInTransaction-projects-mariadb-MariaDB]")
ALL_CAUSES = Selection(
    tuple(
        f"{scenario}::{_FAULT}"
        for scenario in (
            "TestNewColumnMayNotBeNull",
            "TestRelationIsThere",
            "TestLockTimeoutInHeavyTraffic",
            "TestTwoAtOnce",
        )
    )
)
"""Every incident of one scenario a cause: only then can a signal be refuted that never appears."""


@dataclass(frozen=True)
class Loses:
    """A claim, by words that no other sentence of the runbook holds (or PROCEDURE), and what becomes of it.

    `reason` is a regular expression that the reason of its new verdict must hold.
    """

    claim: str
    verdict: str
    reason: str


@dataclass(frozen=True)
class Mutant:
    """`red` is a regular expression for what a failing test must say; for one that is `refused`, for the run's line.

    A mutant is refused when a mistake in a file ends the run before anything is started. Where `red` is None, what is
    wrong shows in no arm by itself: every test passes, and the verdict alone tells.
    """

    name: str
    what: str
    edits: tuple[Edit, ...]
    red: str | None
    loses: tuple[Loses, ...] = ()
    selection: Selection = FAULT
    exit_status: int = 1
    refused: bool = False
