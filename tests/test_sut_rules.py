"""The alert rules, tried in Prometheus' own rule tester at production scale."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from runlab.timescale import scale_rules

RULES = Path(__file__).parents[1] / "compose" / "prometheus" / "rules"

# Each digit is deploy_step_failed at one minute; the alert is expected at minute 6, not yet at 1, gone at 8.
MIGRATION = """
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


# The share of errors is 4 % for ten minutes, then 10 %; what another frontend answers does not count.
ERRORS = """
rule_files: [{rules}]
evaluation_interval: 10s
tests:
  - interval: 15s
    input_series:
      - series: 'haproxy_frontend_http_responses_total{{job="lb", proxy="platform", code="2xx"}}'
        values: '0+96x40 3840+90x80'
      - series: 'haproxy_frontend_http_responses_total{{job="lb", proxy="platform", code="5xx"}}'
        values: '0+4x40 160+10x80'
      - series: 'haproxy_frontend_http_responses_total{{job="lb", proxy="metrics", code="5xx"}}'
        values: '0+100x120'
    alert_rule_test:
      - {{eval_time: 10m, alertname: HighErrorRate, exp_alerts: []}}
      - {{eval_time: 15m, alertname: HighErrorRate, exp_alerts: []}}
      - eval_time: 20m
        alertname: HighErrorRate
        exp_alerts:
          - exp_labels: {{proxy: platform, runbook: RB-002, severity: critical, rule: ours}}
            exp_annotations:
              summary: More than one answer in twenty of the load balancer is an error (5xx).
              runbook_url: runbooks/RB-002-network-connectivity.md
"""

# The request fails from minute 2 to 7 and the ping never, then the other way round; one failure alone is none.
CANARIES = """
rule_files: [{rules}]
evaluation_interval: 10s
tests:
  - interval: 1m
    input_series:
      - series: 'probe_success{{job="canary", probe="http", instance="a:9115"}}'
        values: '1 1 0 0 0 0 0 0 1 1 1 1 1 1 1 1 1 0 1 1'
      - series: 'probe_success{{job="canary-ping", probe="ping", instance="b:9115"}}'
        values: '1 1 1 1 1 1 1 1 1 0 0 0 0 0 0 1 1 1 1 1'
      - series: 'probe_success{{job="somebody", probe="dns", instance="c:9115"}}'
        values: '0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0'
    alert_rule_test:
      - {{eval_time: 6m, alertname: ServiceUnreachable, exp_alerts: []}}
      - eval_time: 7m
        alertname: ServiceUnreachable
        exp_alerts:
          - exp_labels: {{probe: http, runbook: RB-002, severity: critical, rule: ours}}
            exp_annotations:
              summary: From outside the platform is not to be reached, says the canary (http).
              runbook_url: runbooks/RB-002-network-connectivity.md
      - eval_time: 14m
        alertname: ServiceUnreachable
        exp_alerts:
          - exp_labels: {{probe: ping, runbook: RB-002, severity: critical, rule: ours}}
            exp_annotations:
              summary: From outside the platform is not to be reached, says the canary (ping).
              runbook_url: runbooks/RB-002-network-connectivity.md
      - {{eval_time: 18m, alertname: ServiceUnreachable, exp_alerts: []}}
"""


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
@pytest.mark.parametrize(
    ("rules", "case"),
    [
        pytest.param("rb001.yml", MIGRATION, id="a failed migration fires until one succeeds"),
        pytest.param("rb002.yml", ERRORS, id="errors fire when they are more than one in twenty and stay"),
        pytest.param("rb002.yml", CANARIES, id="each canary fires for itself when it fails and stays so"),
    ],
)
def test_an_alert_fires_when_it_should(tmp_path: Path, rules: str, case: str) -> None:
    file = tmp_path / "case.yml"
    file.write_text(case.format(rules=RULES / rules))
    ended = subprocess.run(
        ["promtool", "test", "rules", str(file)], capture_output=True, text=True, timeout=30, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.mark.parametrize(("name", "scaled"), [("rb001.yml", "for: 100ms"), ("rb002.yml", "for: 500ms")])
def test_the_rules_can_be_scaled(name: str, scaled: str) -> None:
    assert scaled in scale_rules((RULES / name).read_text(), 600, name)
