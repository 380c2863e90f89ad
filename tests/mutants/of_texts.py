"""The runbook itself is wrong: its names, its queries, the order of its steps."""

from __future__ import annotations

from tests.mutants.mutant import ALL_CAUSES, IN_PART, NULLS, PROCEDURE, QUIET_AND_FAULT, Edit, Loses, Mutant
from tests.mutants.of_signals import ALERT

TEXT = "runbooks/RB-001-database-migration.md"
LIST, END, AGAIN = "List who has held", "End each of these sessions", "Start the migration again"
KILL = (
    "    2.  End each of these sessions, if its work may be lost: on PostgreSQL `SELECT pg_terminate_backend(pid);`,"
    " on MariaDB `KILL pid;`\n"
)
RETRY = "    3.  Start the migration again, when there is little traffic if that can be chosen.\n"
REVERSE = "Take back by hand what was applied, for example by `ALTER TABLE ... DROP COLUMN ...`."
CHECK = (
    "Make sure that `alembic_version` still names the migration before it, as it does unless someone stamped it;"
    " a tool that notes failures (Prisma) has to be told."
)
MEND = "Mend the script and start again."
ROWS = "Rows that break a new constraint"
HOLDERS_ONLY = (
    "FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE l.relation = 'projects'::regclass AND l.granted AND"
    " a.wait_event_type IS DISTINCT FROM 'Lock' AND a.xact_start < now() - interval '1 second' ORDER BY a.xact_start"
)


def numbered(*sentences: str) -> str:
    """A procedure's list; Markdown has one begin with 1."""
    return "".join(f"    {number}.  {sentence}\n" for number, sentence in enumerate(sentences, 1))


MUTANTS = (
    Mutant(
        "alert-misspelt",
        "the runbook names an alert that does not exist",
        (Edit(TEXT, "`DatabaseMigrationFailed`", "`DatabaseMigrationFailure`"),),
        red="DatabaseMigrationFailure was silent, but blind: no rule of this name",
        loses=(Loses(ALERT, "inconclusive", "no rule of this name"),),
        selection=QUIET_AND_FAULT,
    ),
    Mutant(
        "step-dropped",
        "the runbook no longer says to end the sessions",
        (Edit(TEXT, KILL, ""),),
        red="not recovered within 6 s of the last step: the goal is not reached",
        loses=(
            Loses(AGAIN, "refuted", "goal is False, not True"),
            Loses(PROCEDURE, "refuted", "did not recover: the goal is not reached"),
        ),
    ),
    Mutant(
        "steps-swapped",
        "the runbook starts the migration again before it ends the sessions",
        (Edit(TEXT, KILL + RETRY, RETRY + KILL),),
        red="not recovered within 6 s of the last step: the goal is not reached",
        loses=(
            Loses(AGAIN, "refuted", "goal is False, not True"),
            Loses(PROCEDURE, "refuted", "did not recover: the goal is not reached"),
        ),
    ),
    Mutant(
        "retry-before-reversal",
        "the runbook mends the script and starts again before it takes back what was applied in part",
        (Edit(TEXT, numbered(REVERSE, CHECK, MEND), numbered(MEND, REVERSE, CHECK)),),
        red="not recovered within 6 s of the last step: the goal is not reached",
        loses=(
            Loses(MEND, "refuted", "goal is False, not True"),
            Loses(PROCEDURE, "refuted", "did not recover: the goal is not reached"),
        ),
        selection=IN_PART,
    ),
    Mutant(
        "signature-swapped",
        "the runbook names, for a NOT NULL that rows break, words that nobody writes; only that incident is made",
        (Edit(TEXT, "`contains null values`", "`contains no values`"),),
        red=None,
        loses=(Loses(ROWS, "untested", "^causes not injected: Schema Mismatch, Locking Issues, Version Skew$"),),
        selection=NULLS,
        exit_status=0,  # with another cause they might show
    ),
    Mutant(
        "signature-swapped-all-causes",
        "the same, where an incident of every cause is made",
        (Edit(TEXT, "`contains null values`", "`contains no values`"),),
        red=None,
        loses=(Loses(ROWS, "refuted", "never appeared"),),
        selection=ALL_CAUSES,
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
