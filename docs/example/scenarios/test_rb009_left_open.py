"""RB-009 A change by hand is left open: what breaks, and what prevents it."""

from faults.tables import LeftOpen

from runlab.databases import ERRORS, connect, waited_for_lock
from runlab.model import Less
from runlab.scenario import Prevention, Scenario
from verifiers.users import Users

RUNBOOK = "RB-009"


class Projects:
    """What both look at."""

    def trigger(self):
        """Nothing has to happen: the platform's users come by all the time."""

    def goal(self, laboratory):
        """The table can be read again."""
        with connect(laboratory.stack) as database:
            database.execute("SET lock_timeout = '200ms'")
            try:
                return bool(database.execute("SELECT 1 FROM projects LIMIT 1").fetchall())
            except ERRORS as error:
                if waited_for_lock(error):
                    return False
                raise


class TestLeftOpen(Projects, Scenario):
    """A table stays locked until somebody ends the session that changed it."""

    cause = "Uncommitted change"
    faults = LeftOpen("projects")
    procedure = "Immediate Actions"


class TestTimeLimit(Projects, Prevention):
    """With a limit of one second nobody is kept waiting for much longer than that."""

    measure = "Time limit"
    fault = LeftOpen("projects")
    off, on = {}, {"idle_limit_s": 1.0}
    impact, margin = Users.blocked_s, Less(by=3.0, unit="s")
    observed_for_s = 6.0
