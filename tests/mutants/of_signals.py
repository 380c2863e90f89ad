"""What should be seen is not seen, or seen when nothing is wrong: rules, metrics, Prometheus, the users' record."""

from __future__ import annotations

from tests.mutants.mutant import QUIET_AND_FAULT, SCENARIO, Edit, Loses, Mutant

RULES = "compose/prometheus/rules/rb001.yml"
EXPRESSION = 'max by (step, database) (deploy_step_failed{step="alembic upgrade"}) == 1'
ALERT, CAUSE = "Prometheus raises", "Beside transactions that stay open"
CAUSES_MISSING = (
    r"^causes not injected: Schema Mismatch, Data Integrity Violation, Locking Issues \(1 of 4 incidents\),"
    " Version Skew$"
)
NIGHTLY = 'blind: series deploy_step_failed{.*job="nightly".*} does not exist'
TRIGGER_BEFORE_CLASS = '        platform.deploy("add_project_owner")\n\n\nclass TestLockTimeout(LockTimeout, Scenario):'
STANDSTILL = """

import signal
import pytest

@pytest.fixture
def standstill(laboratory):
    laboratory.stack.signal("prometheus", signal.SIGSTOP)
    yield
    laboratory.stack.signal("prometheus", signal.SIGCONT)
"""

MUTANTS = (
    Mutant(
        "alert-rule-deleted",
        "the rules file has no rule of the alert's name",
        (Edit(RULES, "- alert: DatabaseMigrationFailed", "- alert: SomethingElse"),),
        red="DatabaseMigrationFailed was silent, but blind: no rule of this name",
        loses=(Loses(ALERT, "inconclusive", "no rule of this name"),),
        selection=QUIET_AND_FAULT,
    ),
    Mutant(
        "promql-never-true",
        "the alert's expression is valid, and true of nothing",
        (Edit(RULES, EXPRESSION, EXPRESSION.replace("== 1", "== 2")),),
        red="alert DatabaseMigrationFailed was not delivered within 8",
        loses=(Loses(ALERT, "untested", CAUSES_MISSING),),
        selection=QUIET_AND_FAULT,
    ),
    Mutant(
        "alert-on-another-job",
        "the alert's expression looks at a job that pushes nothing",
        (Edit(RULES, EXPRESSION, EXPRESSION.replace("{step", '{job="nightly",step')),),
        red=f"DatabaseMigrationFailed was silent, but {NIGHTLY}",
        loses=(Loses(ALERT, "inconclusive", NIGHTLY),),
        selection=QUIET_AND_FAULT,
    ),
    Mutant(
        "promql-refused",
        "the alert's expression is no PromQL",
        (Edit(RULES, EXPRESSION, EXPRESSION.replace("max by (step, database) (", "max by (step, database) ((")),),
        red=r"^.*runlab: .*rules/rb001\.yml:\d+: ",
        exit_status=2,
        refused=True,
    ),
    Mutant(
        "alert-on-any-deployment",
        "the alert fires when a deployment has ended, well or badly",
        (
            Edit(
                RULES,
                EXPRESSION,
                'max by (step, database) (deploy_step_finished_timestamp_seconds{step="alembic upgrade"}) > 0',
            ),
        ),
        red="without the fault there was: DatabaseMigrationFailed",
        loses=(Loses(ALERT, "refuted", "also appears without a fault"),),
        selection=QUIET_AND_FAULT,
    ),
    Mutant(
        "metric-renamed",
        "the pipeline pushes its result by another name",
        (Edit("sut/pipeline/results.py", '"deploy_step_failed"', '"deploy_step_failure"'),),
        red="DatabaseMigrationFailed was silent, but blind: series deploy_step_failed{.*} does not exist",
        loses=(
            Loses(ALERT, "inconclusive", "series deploy_step_failed{.*} does not exist"),
            Loses("run ends red in the step", "inconclusive", "series deploy_step_failed{.*} does not exist"),
        ),
        selection=QUIET_AND_FAULT,
    ),
    Mutant(
        "prometheus-stopped",
        "Prometheus stands still in the quiet arm, and goes on after it",
        (
            Edit(
                SCENARIO,
                "    def trigger(self, platform):\n" + TRIGGER_BEFORE_CLASS,
                "    def trigger(self, platform, request):\n"
                "        if 'quiet' in request.node.name:\n"
                "            request.getfixturevalue('standstill')\n" + TRIGGER_BEFORE_CLASS,
            ),
            Edit(SCENARIO, "\n\nclass LockTimeout(Deployment):", STANDSTILL + "\n\nclass LockTimeout(Deployment):"),
        ),
        red="DatabaseMigrationFailed was silent, but blind: Prometheus (does|did) not answer",
        loses=(Loses(ALERT, "inconclusive", "silent without the fault, but blind: Prometheus (does|did) not answer"),),
        selection=QUIET_AND_FAULT,
    ),
    Mutant(
        "users-record-empty",
        "the users write nothing down",
        (
            Edit(
                "compose/compose.yaml",
                "USERS_RECORD: ${DATA_users:-/var/lib/users}/users.jsonl",
                "USERS_RECORD: /dev/null",
            ),
        ),
        red="inconclusive: no steady state in 15 s: users: the users' record can't be read",
        loses=(
            Loses(ALERT, "inconclusive", "no steady state: users: the users' record can't be read"),
            Loses(CAUSE, "inconclusive", "no steady state: users: the users' record can't be read"),
        ),
    ),
)
