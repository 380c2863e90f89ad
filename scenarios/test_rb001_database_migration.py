"""RB-001 Database migration failures: what breaks, and what prevents it."""

from faults.database import IdleInTransaction, LongQuery
from runlab.model import Less
from runlab.scenario import Prevention, Scenario
from verifiers.platform import PIPELINE_DEADLINE_S
from verifiers.users import Users

RUNBOOK = "RB-001"

NOT_SIGNALS = {
    "db:migrate": "the name of a pipeline's step, not something that is seen by itself",
    "alembic upgrade": "the name of a pipeline's step, not something that is seen by itself",
}

LOCK_TIMEOUT_S = 2.0


class TestLockTimeout(Scenario):
    """A migration waits for a table lock that someone else holds."""

    cause = "Locking Issues"
    faults = IdleInTransaction("projects"), LongQuery("projects")
    cases = {"waiting": {}, "timed out": {"lock_timeout": f"{LOCK_TIMEOUT_S:g}s"}}
    procedure = "Immediate Actions", "Scenario C"
    floor = {
        "waiting": {"the pipeline's own deadline": PIPELINE_DEADLINE_S},
        "timed out": {"lock_timeout": LOCK_TIMEOUT_S},
    }

    def trigger(self, platform):
        platform.deploy("add_project_owner")

    def goal(self, platform):
        return platform.revision() == "add_project_owner" and platform.deployment() == "succeeded"

    def state(self, platform):
        return {"deployment": platform.deployment()}

    def truth(self, platform):
        return {"revision": [platform.revision()], "column": platform.columns("projects")}


class TestLockTimeoutBoundsTheWait(Prevention):
    """With a short lock_timeout a blocked migration gives up before users queue up behind it for long."""

    measure = "Timeout Configuration"
    fault = IdleInTransaction("projects")
    off, on = {}, {"lock_timeout": "500ms"}
    impact, margin = Users.blocked_s, Less(by=5.0, unit="s")
    observed_for_s = 8.0

    def trigger(self, platform):
        platform.deploy("add_project_owner")
