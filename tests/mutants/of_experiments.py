"""The experiment itself is hollow: a fault that does nothing, a witness that does not look, a goal that is no goal."""

from __future__ import annotations

from tests.mutants.mutant import PROCEDURE, SCENARIO, Edit, Loses, Mutant, arms
from tests.mutants.of_signals import ALERT, CAUSE
from tests.mutants.of_texts import END, LIST

FAULT = "faults/database.py"
INJECT = "    def inject(self, stack: Stack, undo: Undo) -> None:\n"
REVERT = "    def revert(self, stack: Stack, undo: Undo) -> None:\n"
WITNESS = "    def witness(self, stack: Stack, undo: Undo) -> Observation:\n"

MUTANTS = (
    Mutant(
        "inject-emptied",
        "the fault's inject does nothing",
        (Edit(FAULT, INJECT, INJECT + "        return\n"),),
        red="inconclusive: after injection the fault is not in effect",
        loses=(
            Loses(CAUSE, "inconclusive", "the fault was not witnessed"),
            Loses(ALERT, "inconclusive", "the fault was not witnessed"),
            Loses(PROCEDURE, "inconclusive", "the fault was not in effect when the steps began"),
        ),
    ),
    Mutant(
        "witness-sees-nothing",
        "the fault's witness does not look, and says no",
        (Edit(FAULT, WITNESS, WITNESS + "        return Observation(False, 'nobody')\n"),),
        red="inconclusive: after injection the fault is not in effect, says nobody",
        loses=(
            Loses(CAUSE, "inconclusive", "the fault was not witnessed"),
            Loses(ALERT, "inconclusive", "the fault was not witnessed"),
            Loses(PROCEDURE, "inconclusive", "the fault was not in effect when the steps began"),
        ),
    ),
    Mutant(
        "witness-always-says-yes",
        "the fault's witness does not look, says yes, and knows nothing",
        (Edit(FAULT, WITNESS, WITNESS + "        return Observation(True, 'nobody')\n"),),
        red="no witness knows the truth about what it found",
        loses=(
            Loses(LIST, "inconclusive", r"no witness knows the truth about what it found \(pid\)"),
            Loses(END, "refuted", "fault is True, not False"),
        ),
    ),
    Mutant(
        "revert-emptied",
        "the fault's revert does nothing",
        (Edit(FAULT, REVERT, REVERT + "        return\n"),),
        red="still in effect after its revert",
        selection=arms("TestLockTimeoutBoundsTheWait", "test_without_the_measure"),
        exit_status=2,  # a measure that was only off says nothing yet of any claim
    ),
    Mutant(
        "goal-always-true",
        "the scenario's goal is reached whatever happens",
        (
            Edit(
                SCENARIO,
                '    cause = "Locking Issues"\n',
                '    cause = "Locking Issues"\n\n    def goal(self, platform):\n        return True\n\n',
            ),
        ),
        red="inconclusive: the goal is reached before the first step",
        loses=(Loses(PROCEDURE, "inconclusive", "the goal was reached before the first step"),),
    ),
)
