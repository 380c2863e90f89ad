"""The alert rules of RB-001, tried in Prometheus' own rule tester at production scale."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from runlab.timescale import scale_rules

RULES = Path(__file__).parents[1] / "compose" / "prometheus" / "rules" / "rb001.yml"

# Each digit is deploy_step_failed at one minute; the alert is expected at minute 6, not yet at 1, gone at 8.
CASE = """
rule_files: [{rules}]
evaluation_interval: 10s
tests:
  - interval: 1m
    input_series:
      - series: 'deploy_step_failed{{job="deploy", step="alembic upgrade", database="postgres"}}'
        values: '0 1 1 1 1 1 1 0 0'
      - series: 'deploy_step_failed{{job="deploy", step="alembic upgrade", database="mariadb"}}'
        values: '0 0 0 0 0 0 0 0 0'
      - series: 'deploy_step_failed{{job="deploy", step="release", database="postgres"}}'
        values: '1 1 1 1 1 1 1 1 1'
    alert_rule_test:
      - {{eval_time: 1m, alertname: DatabaseMigrationFailed, exp_alerts: []}}
      - eval_time: 6m
        alertname: DatabaseMigrationFailed
        exp_alerts:
          - exp_labels: {{step: alembic upgrade, database: postgres, runbook: RB-001, severity: high, rule: ours}}
            exp_annotations:
              summary: The deployment's step "alembic upgrade" failed on postgres and has not succeeded since.
              runbook_url: runbooks/RB-001-database-migration.md
      - {{eval_time: 8m, alertname: DatabaseMigrationFailed, exp_alerts: []}}
"""


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_a_failed_migration_fires_until_one_succeeds(tmp_path: Path) -> None:
    case = tmp_path / "case.yml"
    case.write_text(CASE.format(rules=RULES))
    ended = subprocess.run(
        ["promtool", "test", "rules", str(case)], capture_output=True, text=True, timeout=30, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_the_rules_can_be_scaled() -> None:
    assert "for: 100ms" in scale_rules(RULES.read_text(), 600, str(RULES))
