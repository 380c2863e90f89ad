"""RB-001 Database migration failures: what breaks, and what prevents it."""

from faults.database import HeavyTraffic, IdleInTransaction, LongQuery
from faults.drift import ColumnAddedByHand, TableLeftBehind
from faults.migrations import AbandonedMigration, UpgradeByHand
from faults.rows import NullValues, OrphanRows, RowsInTable
from runlab.model import Impact, Less
from runlab.scenario import Prevention, Scenario
from verifiers.platform import PIPELINE_DEADLINE_S
from verifiers.users import Users

RUNBOOK = "RB-001"

NOT_SIGNALS = {
    "db:migrate": "the name of a pipeline's step, not something that is seen by itself",
    "alembic upgrade": "the name of a pipeline's step, not something that is seen by itself",
}

ON_BOTH = {"PostgreSQL": {}, "MariaDB": {"database": "mariadb"}}
ON_MARIADB = {"MariaDB": {"database": "mariadb"}}


class Deployment:
    """What every scenario here looks at: the deploy pipeline, and the database that it migrates."""

    def goal(self, platform):
        return platform.deployed()

    def state(self, platform):
        report = platform.report()
        return {
            "deployment": report["status"],
            "edition": report["edition"],
            "rehearsal": report["rehearsal"],
            "schema": "as before" if platform.schema_is_as_before() else "changed",
            "revision": platform.revision(),
        }

    def truth(self, platform):
        return {"revision": [platform.revision()], "structure": platform.columns()}


# ------------------------------------------------------------------------------- A: failed, and was rolled back


class RolledBack(Deployment):
    """The migration fails before it has changed anything; the release that was there serves on."""

    procedure = "Immediate Actions", "Scenario A"

    def premise(self, platform):
        return {
            "schema and constraints are as before": platform.schema_is_as_before(),
            "alembic_version has not moved": platform.revision_is_as_before(),
            "the old release serves": platform.serves(),
        }


class TestNewColumnMayNotBeNull(RolledBack, Scenario):
    """A NOT NULL column without a default, for a table that was thought to be empty."""

    cause = "Data Integrity Violation"
    faults = RowsInTable("milestones")

    def trigger(self, platform):
        platform.deploy("require_milestone_due")


class TestColumnBecomesNotNull(RolledBack, Scenario):
    """A column becomes NOT NULL while some rows have nothing in it."""

    cause = "Data Integrity Violation"
    faults = NullValues("tasks", "assignee")
    cases = ON_BOTH

    def trigger(self, platform):
        platform.deploy("require_task_assignee")


class TestForeignKeyOverOrphans(RolledBack, Scenario):
    """A foreign key over rows whose parents are gone."""

    cause = "Data Integrity Violation"
    faults = OrphanRows("comments", "task_id", parent="tasks")
    cases = ON_BOTH

    def trigger(self, platform):
        platform.deploy("link_comments")


class TestColumnIsThere(RolledBack, Scenario):
    """The column that the script adds was added by hand before."""

    cause = "Schema Mismatch"
    faults = ColumnAddedByHand("projects", "owner")
    cases = ON_BOTH

    def trigger(self, platform):
        platform.deploy("add_project_owner")


class TestRelationIsThere(RolledBack, Scenario):
    """The table that the script makes was left behind by something else."""

    cause = "Schema Mismatch"
    faults = TableLeftBehind("milestone_archive")
    cases = ON_BOTH

    def trigger(self, platform):
        platform.deploy("add_milestone_archive")


# ----------------------------------------------------------------------------------------- B: applied in part


class TestAppliedInPart(Deployment, Scenario):
    """MariaDB commits each change of the schema by itself: the first half stays when the second fails."""

    cause = "Data Integrity Violation"
    faults = OrphanRows("comments", "task_id", parent="tasks")
    cases = ON_MARIADB
    procedure = "Immediate Actions", "Scenario B"

    def trigger(self, platform):
        platform.deploy("own_and_link")

    def premise(self, platform):
        return {
            "a part of the changes has stayed": not platform.schema_is_as_before(),
            "alembic_version has not moved": platform.revision_is_as_before(),
            "the old release serves": platform.serves(),
        }


# --------------------------------------------------------------------------------------------- C: lock time-out


class LockTimeout(Deployment):
    """A migration waits for a table lock that someone else holds."""

    cause = "Locking Issues"
    procedure = "Immediate Actions", "Scenario C"
    waits = {"the pipeline's own deadline": PIPELINE_DEADLINE_S}
    times_out = {"lock_timeout": 2.0}

    def trigger(self, platform):
        platform.deploy("add_project_owner")


class TestLockTimeout(LockTimeout, Scenario):
    """One session holds the lock, without and with a lock_timeout."""

    faults = IdleInTransaction("projects"), LongQuery("projects")
    cases = {"waiting": {}, "timed out": {"lock_timeout": "2s"}}
    floor = {"waiting": LockTimeout.waits, "timed out": LockTimeout.times_out}


class TestLockTimeoutOnMariaDB(LockTimeout, Scenario):
    """The same on MariaDB, where the lock is one on the table's metadata."""

    faults = IdleInTransaction("projects"), LongQuery("projects")
    cases = {"MariaDB": {"database": "mariadb", "lock_timeout": "2s"}}
    floor = {"MariaDB": LockTimeout.times_out}


class TestLockTimeoutInHeavyTraffic(LockTimeout, Scenario):
    """Many sessions hold the lock at once."""

    faults = HeavyTraffic("projects")
    cases = {"timed out": {"lock_timeout": "2s"}}
    floor = {"timed out": LockTimeout.times_out}


class TestLockTimeoutBehindAnAbandonedMigration(LockTimeout, Scenario):
    """A migration whose client is gone, killed or cut off, holds the lock."""

    faults = AbandonedMigration("projects", client="killed"), AbandonedMigration("projects", client="cut off")
    cases = {"timed out": {"lock_timeout": "2s"}}
    floor = {"timed out": LockTimeout.times_out}


class TestReleasedAllTheSame(LockTimeout, Scenario):
    """The pipeline goes on to the release although its migration failed."""

    faults = IdleInTransaction("projects")
    cases = {"released all the same": {"lock_timeout": "2s", "release": "2", "release_regardless": True}}
    floor = {"released all the same": LockTimeout.times_out}


# -------------------------------------------------------------------------------------------- two at the same time


class TestTwoAtOnce(Deployment, Scenario):
    """The pipeline's upgrades take turns by an advisory lock; someone who applies the same by hand does not."""

    cause = "Version Skew"
    faults = UpgradeByHand()
    cases = {"two runners": {"runners": 2, "retry_every_s": None}}
    procedure = "Immediate Actions", "Scenario A"

    def trigger(self, platform):
        platform.deploy("add_project_owner")
        platform.read_until_others_wait("projects", others=2)  # by chance one is often done before the other looks


# ------------------------------------------------------------------------------------------------------ prevention


class Deployed:
    """What a deployment is for: the schema is migrated, and the pipeline says so."""

    def goal(self, platform):
        return platform.deployed()


class AddsAnOwner(Deployed):
    """The migration is the one that gives projects an owner."""

    def trigger(self, platform):
        platform.deploy("add_project_owner")


class TestLockTimeoutBoundsTheWait(AddsAnOwner, Prevention):
    """With a short lock_timeout a blocked migration gives up before users queue up behind it for long."""

    measure = "Timeout Configuration"
    case = "PostgreSQL"
    fault = IdleInTransaction("projects")
    off, on = {}, {"lock_timeout": "500ms"}
    impact, margin = Users.blocked_s, Less(by=5.0, unit="s")
    observed_for_s = 8.0


class TestLockTimeoutBoundsTheWaitOnMariaDB(AddsAnOwner, Prevention):
    """MariaDB counts whole seconds."""

    measure = "Timeout Configuration"
    case = "MariaDB"
    fault = IdleInTransaction("projects")
    off, on = {"database": "mariadb"}, {"database": "mariadb", "lock_timeout": "1s"}
    impact, margin = Users.blocked_s, Less(by=4.0, unit="s")
    observed_for_s = 8.0


class TestExpandBeforeContract(Deployed, Prevention):
    """While a roll-out goes on, both releases serve: a schema that fits only one of them fails the other's users."""

    measure = "Backwards Compatibility"
    case = "a column gets another name"
    off = {"revision": "rename_project_status", "release": "3"}
    on = {"revision": "expand_project_status", "release": "3"}
    impact, margin = Users.failures, Less(by=10, unit="")
    observed_for_s = 6.0

    def trigger(self, platform):
        platform.deploy()


class TestContractComesLast(Deployed, Prevention):
    """First expand, then release, then contract; contracting before the release fails whoever still has the old one."""

    measure = "Backwards Compatibility"
    case = "the order of its steps"
    off = {"order": ["expand", "contract", "release"]}
    on = {"order": ["expand", "release", "contract"]}
    impact, margin = Users.failures, Less(by=10, unit="")
    observed_for_s = 6.0

    def trigger(self, platform, arm):
        steps = {
            "expand": {"revision": "expand_project_status"},
            "release": {"revision": "expand_project_status", "release": "3"},
            "contract": {"revision": "contract_project_status"},
        }
        platform.deploy_in_turn(*(steps[name] for name in arm.settings["order"]))

    def goal(self, platform):
        return platform.revision() == "contract_project_status" and platform.deployment() == "succeeded"


ONCE = {"retry_every_s": None}
"""Where failed attempts are counted: a measure that only takes time makes fewer of them, too."""


class FailedAttempts:
    """What is to be bounded are the attempts that fail on production, whether or not users feel them."""

    impact = Impact("attempts that failed on production", "attempts", "the pipeline")
    margin = Less(by=1, unit="attempts")
    observed_for_s = 6.0

    def measured(self, platform):
        return platform.failed_on_production()


class TestLinterStopsWhatWouldBlock(AddsAnOwner, Prevention):
    """A linter in the pipeline stops a migration that would make users wait."""

    measure = "CI Checks"
    case = "a migration without a time-out"
    fault = IdleInTransaction("projects")
    off, on, harmless = {}, {"lint": "squawk"}, {"lock_timeout": "2s"}
    impact, margin = Users.blocked_s, Less(by=5.0, unit="s")
    observed_for_s = 8.0


class TestLinterDoesNotSeeProduction(FailedAttempts, AddsAnOwner, Prevention):
    """A linter reads the script alone: not that production already has what the script adds."""

    measure = "CI Checks"
    case = "a schema that drifted"
    fault = ColumnAddedByHand("projects", "owner")
    off, on = {"lock_timeout": "2s", **ONCE}, {"lock_timeout": "2s", "lint": "squawk", **ONCE}


class Rehearsal(FailedAttempts, Deployed):
    """A foreign key over orphans is tried on a copy of production's data first."""

    measure = "Testing"
    fault = OrphanRows("comments", "task_id", parent="tasks")
    off = ONCE

    def trigger(self, platform):
        platform.deploy("link_comments")


class TestRehearsalOnACopy(Rehearsal, Prevention):
    """A rehearsal on a copy of production's data meets the bad rows before production does."""

    case = "a whole copy"
    on = {"rehearse": "full", **ONCE}


class TestRehearsalOnASanitizedCopy(Rehearsal, Prevention):
    """A copy that was sanitized by leaving out what does not fit has lost just the rows that matter."""

    case = "a sanitized copy without the orphans"
    on = {"rehearse": "sanitized", **ONCE}
