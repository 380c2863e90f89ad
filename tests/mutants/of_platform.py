"""The platform is wrong: its mended script, its lock, its linter, its rehearsal, its reset."""

from __future__ import annotations

from tests.mutants.mutant import MARIADB, NULLS, PROCEDURE, TWO_AT_ONCE, Edit, Loses, Mutant, three_arms
from tests.mutants.of_signals import ALERT

LINT = "sut/migrate/lint.py"
STAGING, AGAIN = "Try it in staging", "Deploy once more"
LINTER = three_arms("TestLinterStopsWhatWouldBlock")
STOPS_ALL = "but with it on, what does no harm does not pass either"

MUTANTS = (
    Mutant(
        "fix-without-default",
        "the developers' mended script gives the new column no default either",
        (Edit("sut/migrate/environment/fixed/require_milestone_due.py", ', server_default="2026-12-31"', ""),),
        red="not recovered within 6 s of the last step: the goal is not reached",
        loses=(
            Loses(STAGING, "refuted", "rehearsal is 'failed', not 'passed'"),
            Loses(AGAIN, "untested", "depends on .*scenario-a/2, which was refuted"),
            Loses(PROCEDURE, "refuted", "did not recover: the goal is not reached"),
        ),
        selection=NULLS,
    ),
    Mutant(
        "advisory-lock-taken-away",
        "the pipeline's upgrades no longer take turns",
        (
            Edit(
                "sut/migrate/environment/env.py",
                'os.environ.get("MIGRATION_ADVISORY_LOCK") != "off"',
                'os.environ.get("MIGRATION_ADVISORY_LOCK") == "on"',
            ),
        ),
        red="the goal, without the fault",
        loses=(Loses(ALERT, "refuted", "also appears without a fault"),),
        selection=TWO_AT_ONCE,
    ),
    Mutant(
        "linter-missing",
        "the linter is not installed, so that its step fails whatever the migration",
        (Edit(LINT, 'shutil.which("squawk"', 'shutil.which("no-such-squawk"'),),
        red="the goal, without the fault",
        loses=(Loses("CI Checks", "refuted", STOPS_ALL),),
        selection=LINTER,
    ),
    Mutant(
        "linter-misconfigured",
        "the linter is given an option that it does not know",
        (Edit(LINT, '"--pg-version=15.0"', '"--pg-release=15.0"'),),
        red="the goal, without the fault",
        loses=(Loses("CI Checks", "refuted", STOPS_ALL),),
        selection=LINTER,
    ),
    Mutant(
        "rehearsal-without-bad-rows",
        "what the pipeline calls a full copy has lost the rows that do not fit",
        (Edit("sut/migrate/rehearse.py", 'if copy == "sanitized":', 'if copy in ("full", "sanitized"):'),),
        red=None,
        loses=(Loses("Testing: Staging", "refuted", "less by 0 attempts, where 1 is called for"),),
        selection=three_arms("TestRehearsalOnACopy"),
    ),
    Mutant(
        "reset-leaves-mariadb",
        "a reset leaves MariaDB's schema as the arm before has left it",
        (Edit("compose/archive.yaml", "--execute=CALL platform_template.reset_platform()", "--execute=DO 1"),),
        red="the goal is reached before the first step",
        loses=(Loses(PROCEDURE, "inconclusive", "the goal was reached before the first step"),),
        selection=MARIADB,
    ),
)
