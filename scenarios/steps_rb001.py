"""How the sentences of RB-001 are carried out, in each edition's own wording."""

from runlab.console import Facts
from runlab.model import PromQL, UsersSay
from runlab.steps import acts, finds, signal

PIPELINE = "http://pipeline:8080"

STRUCTURE = (
    "SELECT concat(table_name, '.', column_name) AS name FROM information_schema.columns"
    " WHERE table_schema IN ('public', 'platform')"
)


def client(operator):
    """The family of commands for the database that the alert names; PostgreSQL's where it names none."""
    return {"mariadb": "mariadb"}.get(operator.alert.get("database"), "psql")


def by_product(operator, on_postgresql, on_mariadb):
    """Of two commands the one for the database that the alert names."""
    return on_mariadb if client(operator) == "mariadb" else on_postgresql


# ---------------------------------------------------------------------------------------------- immediate actions


@acts(
    "Stop the Deployment: Prevent further automated attempts to apply the migration.",
    promises={"deployment": "stopped"},
)
@acts(
    "Stop the deployment: Cancel it in the pipeline, so that nothing applies the migration again by itself."
    " The server may still be busy with the attempt that was cancelled.",
    promises={"deployment": "stopped"},
)
def stop_the_deployment(operator):
    operator.run(f"curl -fsS -X POST {PIPELINE}/deployment/stop")


@finds("Check the {:code} or {table:code} table to see which migration applied last.")
@finds("See in {table:code} (with Prisma: {:code}) which migration went through last.")
def last_migration(operator, table):
    version = operator.sql(f"SELECT version_num FROM {table}", family=client(operator))
    return Facts(revision=version.column("version_num"))


@finds("Use database CLI ({:code}, {:code}) to inspect the actual table structure.", lists=True)
@finds(
    "Look with the server's own client, {:code} or {:code}, at what the tables are really made of,"
    " and beside it at what the script changes.",
    lists=True,
)
def table_structure(operator):
    """The structure as it is, and from the script's own SQL the columns that it adds."""
    structure = operator.sql(STRUCTURE, family=client(operator))
    script = operator.run(f"curl -fsS {PIPELINE}/deployment/sql")
    return Facts(
        structure=structure.column("name"),
        altered=script.group(r"ALTER TABLE (\w+) ADD COLUMN"),
        added=script.group(r"ALTER TABLE \w+ ADD COLUMN (\w+)"),
    )


# ------------------------------------------------------------------------------------------- A: was rolled back


@acts(
    "Fix the migration script (e.g., provide a default value for new non-null columns).",
    promises={"edition": "fixed"},
)
@acts(
    "Mend the script, for example with a default for the new column that may not be null.",
    promises={"edition": "fixed"},
)
def mend_the_script(operator):
    operator.run(f"curl -fsS -X POST {PIPELINE}/deployment/fix")


@acts("Re-run the migration in a staging environment first.", promises={"rehearsal": "passed"}, within_s=10.0)
@acts("Try it in staging, on a copy of production's data.", promises={"rehearsal": "passed"}, within_s=10.0)
def try_in_staging(operator):
    """How the rehearsal ended is for the pipeline's report to say: without -f, curl does not fail with it."""
    operator.run(f"curl -sS -X POST {PIPELINE}/rehearsal")


@acts("Retry deployment.", promises={"goal": True}, within_s=15.0)
@acts("Deploy once more.", promises={"goal": True}, within_s=15.0)
def deploy_again(operator):
    operator.run(f"curl -fsS -X POST {PIPELINE}/deployment/retry")


# ------------------------------------------------------------------------------------------ B: applied in part


@acts(
    "Manually reverse the partial changes (e.g., {command:code}).",
    fills=("altered", "added"),
    promises={"schema": "as before"},
)
@acts(
    "Take back by hand what was applied, for example by {command:code}.",
    fills=("altered", "added"),
    promises={"schema": "as before"},
)
def reverse_the_changes(operator, command, altered, added):
    operator.sql(command, family=by_product(operator, "psql-owner", "mariadb-owner"), blanks=(altered, added))


@acts("Mark the migration as failed in the tracking table if necessary.", promises={"revision": "0001_baseline"})
def mark_as_failed(operator):
    """With Alembic: say that the schema stands where it stood before the migration."""
    operator.run(f"curl -fsS -X POST {PIPELINE}/deployment/stamp/0001_baseline")


@finds(
    "Make sure that {table:code} still names the migration before it, as it does unless someone stamped it;"
    " a tool that notes failures (Prisma) has to be told."
)
def tracking_table(operator, table):
    return last_migration(operator, table)


@acts("Fix the script and retry.", promises={"goal": True}, within_s=15.0)
@acts("Mend the script and start again.", promises={"goal": True}, within_s=15.0)
def mend_and_start_again(operator):
    mend_the_script(operator)
    deploy_again(operator)


# --------------------------------------------------------------------------------------------- C: lock time-out


@finds("Identify blocking queries: {query:code}")
def waiting_sessions(operator, query):
    return Facts(pid=operator.sql(query, family=client(operator)).column("pid"))


@finds(
    "List who has held a lock on the migration's table (here {:code}) for more than a second, the oldest first:"
    " on PostgreSQL {on_postgresql:code}, on MariaDB {on_mariadb:code}"
)
def lock_holders(operator, on_postgresql, on_mariadb):
    return waiting_sessions(operator, by_product(operator, on_postgresql, on_mariadb))


@acts("Kill blocking sessions if safe and necessary: {command:code}", fills=("pid",), promises={"fault": False})
def kill_sessions(operator, command, pid):
    operator.sql(command, family=client(operator), each={"pid": pid})


@acts(
    "End each of these sessions, if its work may be lost: on PostgreSQL {on_postgresql:code},"
    " on MariaDB {on_mariadb:code}",
    fills=("pid",),
    promises={"fault": False},
)
def end_sessions(operator, on_postgresql, on_mariadb, pid):
    kill_sessions(operator, by_product(operator, on_postgresql, on_mariadb), pid)


@acts(
    "Retry migration during a maintenance window or low-traffic period.",
    promises={"goal": True},
    within_s=15.0,
)
@acts(
    "Start the migration again, when there is little traffic if that can be chosen.",
    promises={"goal": True},
    within_s=15.0,
)
def retry_migration(operator):
    """Under full traffic, which is the harder case."""
    deploy_again(operator)


# ---------------------------------------------------------------------------------------------------- symptoms


@signal("CI/CD pipeline failure during {:code} or {:code} steps.")
@signal("The pipeline's run ends red in the step {:code} or {:code}.")
def pipeline_failure():
    return PromQL('deploy_step_failed{step="alembic upgrade"} == 1')


@signal("Deployment stalls.")
@signal("The release does not move on, while the migration waits without a time limit.")
def deployment_stalls():
    """The migration runs for over five seconds of the pipeline's own, unscaled clock; a good one takes one."""
    return PromQL('deploy_step_running_seconds{step="alembic upgrade"} > 5')


@signal("Application may fail to start if schema is inconsistent with code.")
@signal(
    "A release whose code does not fit the schema may not come up,"
    " where the pipeline goes on although the migration failed."
)
def application_fails_to_start():
    return PromQL('deploy_step_failed{step="release"} == 1')


@signal("Potential data unavailability if locking persists.")
@signal("Data can be out of reach for as long as the migration waits for its lock.")
def data_unavailable():
    return UsersSay("not one request to some endpoint succeeded for 3 s", lambda users: users.blocked_s > 3.0)
