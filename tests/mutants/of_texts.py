"""The runbook itself is wrong: its names, its queries, the order of its steps."""

from __future__ import annotations

from tests.mutants.mutant import PROCEDURE, Edit, Loses, Mutant, Selection
from tests.mutants.of_signals import ALERT

TEXT = "runbooks/RB-001-database-migration.md"
LIST, END, AGAIN = "List who holds", "End each of these sessions", "Start the migration again"
KILL = "    2.  End each of these sessions, if its work may be lost: `SELECT pg_terminate_backend(pid);`\n"
RETRY = "    3.  Start the migration again, when there is little traffic if that can be chosen.\n"
HOLDERS_ONLY = (
    "FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE l.relation = 'projects'::regclass AND l.granted AND"
    " a.wait_event_type IS DISTINCT FROM 'Lock' AND a.xact_start < now() - interval '1 second' ORDER BY a.xact_start"
)

MUTANTS = (
    Mutant(
        "alert-misspelt",
        "the runbook names an alert that does not exist",
        (Edit(TEXT, "`DatabaseMigrationFailed`", "`DatabaseMigrationFailure`"),),
        red="DatabaseMigrationFailure was silent, but blind: no rule of this name",
        loses=(Loses(ALERT, "inconclusive", "no rule of this name"),),
        selection=Selection.QUIET_AND_FAULT,
    ),
    Mutant(
        "step-dropped",
        "the runbook no longer says to end the sessions",
        (Edit(TEXT, KILL, ""),),
        red="not recovered within 5 s of the last step: the goal is not reached",
        loses=(
            Loses(AGAIN, "refuted", "goal is False, not True"),
            Loses(PROCEDURE, "refuted", "did not recover: the goal is not reached"),
        ),
    ),
    Mutant(
        "steps-swapped",
        "the runbook starts the migration again before it ends the sessions",
        (Edit(TEXT, KILL + RETRY, RETRY + KILL),),
        red="not recovered within 5 s of the last step: the goal is not reached",
        loses=(
            Loses(AGAIN, "refuted", "goal is False, not True"),
            Loses(PROCEDURE, "refuted", "did not recover: the goal is not reached"),
        ),
    ),
    Mutant(
        "query-lists-everybody",
        "the runbook's query gives every session of the database",
        (Edit(TEXT, HOLDERS_ONLY, "FROM pg_stat_activity a WHERE a.datname = 'platform' ORDER BY a.backend_start"),),
        red="it also names innocent pid",
        loses=(Loses(LIST, "refuted", "it also names innocent pid"),),
    ),
    Mutant(
        "query-lists-the-server-itself",
        "the runbook's query gives the holder, and the server's own processes",
        (
            Edit(
                TEXT,
                HOLDERS_ONLY,
                "FROM pg_stat_activity a WHERE a.state = 'idle in transaction' OR a.datid IS NULL"
                " ORDER BY a.backend_start",
            ),
        ),
        red="it also names innocent pid",
        loses=(Loses(LIST, "refuted", "it also names innocent pid"),),
    ),
    Mutant(
        "no-pids",
        "the runbook's query finds nobody",
        (Edit(TEXT, "interval '1 second'", "interval '1 day'"),),
        red="is missing; it names nothing",
        loses=(
            Loses(LIST, "refuted", "pid .* is missing; it names nothing"),
            Loses(END, "untested", "depends on .*scenario-c/1, which was refuted"),
            Loses(PROCEDURE, "refuted", "did not recover"),
        ),
    ),
)
