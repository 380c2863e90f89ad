"""A mutant: one thing about the project that is wrong on purpose, and what must come of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path

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


class Selection(Enum):
    """The fewest arms that decide a mutant, as an expression for `-k`."""

    QUIET_AND_FAULT = "test_quiet_without_fault or test_detected_and_recovered"
    FAULT = "test_detected_and_recovered"
    OFF = "test_without_the_measure"


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

    A mutant is refused when a mistake in a file ends the run before anything is started.
    """

    name: str
    what: str
    edits: tuple[Edit, ...]
    red: str
    loses: tuple[Loses, ...] = ()
    selection: Selection = Selection.FAULT
    exit_status: int = 1
    refused: bool = False
