"""How the sentences of RB-001 are carried out, in each edition's own wording."""

from runlab.console import Facts
from runlab.model import PromQL, UsersSay
from runlab.steps import acts, finds, signal

PIPELINE = "http://pipeline:8080/deployment"


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
    operator.run(f"curl -fsS -X POST {PIPELINE}/stop")


@finds("Check the {:code} or {table:code} table to see which migration applied last.")
@finds("See in {table:code} (with Prisma: {:code}) which migration went through last.")
def last_migration(operator, table):
    return Facts(revision=operator.sql(f"SELECT version_num FROM {table}").column("version_num"))


@finds("Use database CLI ({:code}, {:code}) to inspect the actual table structure.", lists=True)
@finds("Look with the server's own client, {:code} or {:code}, at what the table is really made of.", lists=True)
def table_structure(operator):
    columns = operator.sql("SELECT column_name FROM information_schema.columns WHERE table_name = 'projects'")
    return Facts(column=columns.column("column_name"))


@finds("Identify blocking queries: {query:code}")
@finds(
    "List who holds a lock on the migration's table (here {:code}) and has done so for more than a second,"
    " the oldest first: {query:code}"
)
def blocking_sessions(operator, query):
    return Facts(pid=operator.sql(query).column("pid"))


@acts("Kill blocking sessions if safe and necessary: {command:code}", fills=("pid",), promises={"fault": False})
@acts("End each of these sessions, if its work may be lost: {command:code}", fills=("pid",), promises={"fault": False})
def kill_sessions(operator, command, pid):
    operator.sql(command, each={"pid": pid})


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
    operator.run(f"curl -fsS -X POST {PIPELINE}/retry")


# ---------------------------------------------------------------------------------------------------- symptoms


@signal("CI/CD pipeline failure during {:code} or {:code} steps.")
@signal("The pipeline's run ends red in the step {:code} or {:code}.")
def pipeline_failure():
    return PromQL('deploy_step_failed{step="alembic upgrade"} == 1')


@signal("Deployment stalls.")
@signal("The release does not move on.")
def deployment_stalls():
    """One step runs for over five seconds of the pipeline's own, unscaled clock; a good migration takes two."""
    return PromQL("deploy_step_running_seconds > 5")


@signal("Application may fail to start if schema is inconsistent with code.")
@signal("A release whose code does not fit the schema may not come up.")
def application_fails_to_start():
    return PromQL('max_over_time(up{job="api"}[5m]) == 0')


@signal("Potential data unavailability if locking persists.")
@signal("Data can be out of reach for as long as the lock is held.")
def data_unavailable():
    return UsersSay("not one request to some endpoint succeeded for 3 s", lambda users: users.blocked_s > 3.0)
