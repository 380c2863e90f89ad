"""Step definitions that cheat: they know, or do, what the sentence does not say."""

from __future__ import annotations

from tests.mutants.mutant import STEPS, Edit, Loses, Mutant
from tests.mutants.of_texts import END, LIST

FOUND = '    return Facts(pid=operator.sql(query, family=client(operator)).column("pid"))\n'
ENDED = '    operator.sql(command, family=client(operator), each={"pid": pid})\n'
HOLDERS = (
    "SELECT pid FROM pg_locks JOIN pg_stat_activity USING (pid)"
    " WHERE relation = 'projects'::regclass AND granted AND usename = 'app' AND state = 'idle in transaction'"
)

MUTANTS = (
    Mutant(
        "definition-knows-the-pid",
        "a definition asks the server behind the operator's back and returns what it learnt",
        (
            Edit(
                STEPS,
                FOUND,
                "    import psycopg\n"
                "    operator.sql(query)\n"
                "    stack = operator._stack\n"
                "    with psycopg.connect(host=stack.host('postgres'), dbname='platform', user='postgres',\n"
                "                         password=stack.secret('POSTGRES_PASSWORD')) as own:\n"
                f'        return Facts(pid=own.execute("{HOLDERS}").fetchone()[0])\n',
            ),
        ),
        red="inconclusive: .*\n.*says.*\n.*expected.*\n.*fact pid was not read from a command's output but is a int",
        loses=(Loses(LIST, "inconclusive", "fact pid was not read from a command's output but is a int"),),
    ),
    Mutant(
        "definition-forges-a-fact",
        "a definition calls a pid of its own making the output of a command that does not hold it",
        (
            Edit(
                STEPS,
                FOUND,
                "    from runlab.console import Found\n"
                "    output = operator.sql(query)\n"
                "    return Facts(pid=Found((('1', output.evidence),), 'column pid'))\n",
            ),
        ),
        red="pid 1 does not stand in the output",
        loses=(Loses(LIST, "inconclusive", "pid 1 does not stand in the output"),),
    ),
    Mutant(
        "better-query-instead",
        "a definition runs a query of its own in place of the sentence's",
        (Edit(STEPS, FOUND, f'    return Facts(pid=operator.sql("{HOLDERS}").column("pid"))\n'),),
        red="the sentence's own command was not run",
        loses=(Loses(LIST, "inconclusive", "the sentence's own command was not run"),),
    ),
    Mutant(
        "better-query-as-well",
        "a definition runs the sentence's query, and takes its facts from one of its own",
        (
            Edit(
                STEPS,
                FOUND,
                f'    operator.sql(query)\n    return Facts(pid=operator.sql("{HOLDERS}").column("pid"))\n',
            ),
        ),
        red="pid .* was not read from the sentence's own command",
        loses=(Loses(LIST, "inconclusive", "pid .* was not read from the sentence's own command"),),
    ),
    Mutant(
        "acts-by-its-own-means",
        "a definition ends the sessions by a statement of its own in place of the sentence's",
        (Edit(STEPS, ENDED, f'    operator.sql("SELECT pg_terminate_backend(pid) FROM ({HOLDERS}) AS holders")\n'),),
        red="the sentence's own command was not run",
        loses=(Loses(END, "inconclusive", "the sentence's own command was not run"),),
    ),
    Mutant(
        "acts-by-more-than-its-command",
        "a definition runs the sentence's statement, and one of its own that would do without it",
        (
            Edit(
                STEPS,
                ENDED,
                f'    operator.sql("SELECT pg_terminate_backend(pid) FROM ({HOLDERS}) AS holders")\n{ENDED}',
            ),
        ),
        red="more was run than the sentence's own command: psql",
        loses=(Loses(END, "inconclusive", "more was run than the sentence's own command: psql"),),
    ),
    Mutant(
        "catch-all-pattern",
        "a definition fits whatever holds a code span",
        (Edit(STEPS, '@finds("Identify blocking queries: {query:code}")', '@finds("{:code} {query:code}")'),),
        red=r'^.*runlab: scenarios/steps_rb001\.py:\d+: "{:code} {query:code}" could match many a sentence',
        exit_status=2,
        refused=True,
    ),
    Mutant(
        "catch-all-pattern-with-words",
        "a definition with a few common words fits the sentences of others",
        (
            Edit(
                STEPS,
                '"Retry migration during a maintenance window or low-traffic period."',
                '"{} of these sessions, if {}: on PostgreSQL {:code}, on MariaDB {:code}"',
            ),
        ),
        red=r"^.*runlab: runbooks/RB-001-database-migration\.md:\d+: 2 steps match .* and .*; keep one",
        exit_status=2,
        refused=True,
    ),
)
