"""runlab.timescale and runlab.promql: what is divided, what is refused, what a rule must wait for."""

from __future__ import annotations

import re

import promql_parser
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from runlab import promql
from runlab.model import LabError
from runlab.timescale import floor_s, scale_duration, scale_expression, scale_rules

RULES = """\
# comment
groups:
  - name: migrations
    interval: 30s
    rules:
      - alert: DeployFailed
        expr: |
          sum by (step) (rate(failed{job="a"}[5m]))
            / sum by (step) (rate(all[5m] offset 10m)) > 0.05
        for: 5m
        keep_firing_for: 10m
        labels: {runbook: RB-001}
        annotations: {summary: "{{ $labels.step }}: failed"}
      - alert: Down
        expr: up == 0
"""


@pytest.mark.parametrize(
    ("text", "scale", "scaled"),
    [("5m", 300, "1000ms"), ("1h30m", 60, "90000ms"), ("1s", 7, "143ms"), ("1ms", 100, "1ms"), ("0s", 300, "0s")],
)
def test_durations_are_divided_and_never_vanish(text: str, scale: float, scaled: str) -> None:
    assert scale_duration(text, scale) == scaled


def test_what_is_no_duration_is_refused() -> None:
    with pytest.raises(LabError, match=r"'soon' is no duration; write it as"):
        scale_duration("soon", 2)


@pytest.mark.parametrize("scale", [0, 0.5, -1, float("nan"), float("inf")])
def test_a_time_scale_below_one_is_refused(scale: float) -> None:
    with pytest.raises(LabError, match="time scale"):
        scale_expression("up", scale)


@pytest.mark.parametrize(
    ("written", "scaled"),
    [
        ("rate(x[5m])", "rate(x[1s])"),
        ("rate(x[1m])", "rate(x[400ms])"),
        ("x offset 5m", "x offset 1s"),
        ("rate(x[5m] offset 1h)", "rate(x[1s] offset 12s)"),
        ("rate(x[5m] offset -10m)", "rate(x[1s] offset -2s)"),
        ("x @ end() offset 5m", "x @ end() offset 1s"),
        ("x @ 1609746000 offset 5m", "x @ 1609746000.000 offset 1s"),
        ("max_over_time(rate(x[5m])[30m:1m])", "max_over_time((rate(x[1s]))[6s:200ms])"),
        ("max_over_time(x[30m:10s] offset 5m)", "max_over_time((x)[6s:100ms] offset 1s)"),
        ("max_over_time(x[30m:])", "max_over_time((x)[6s:])"),
        (
            'x{a="q\\"uo\\\\te\\n",b=~"c|\\\\d+",c!="",d!~"e.*"} > 1',
            'x{a="q\\"uo\\\\te\\n",b=~"c|\\\\d+",c!="",d!~"e.*"} > 1',
        ),
        ('{__name__="x"}', '{__name__="x"}'),
        ("sum by (a) (x) / on (a) group_left (b) y > bool 0.1", "sum by (a) (x) / on (a) group_left (b) y > bool 0.1"),
    ],
)
def test_every_duration_of_an_expression_is_divided(written: str, scaled: str) -> None:
    assert scale_expression(written, 300) == scaled
    promql_parser.parse(scaled)


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("increase(x[5m]) > 10", "does not scale"),
        ("10 < sum by (a) (increase(x[5m]))", "does not scale"),
        ("(count_over_time(x[5m])) >= bool 3", "does not scale"),
        ("sum_over_time(x[5m]) == 4", "does not scale"),
        ("delta(x[2h]) > 5", "does not scale"),
        ("changes(x[15m]) / 300 > 1", "does not scale"),
        ("avg_over_time(increase(x[5m])[1h:]) > 4", "does not scale"),
        ("sum_over_time(rate(x[5m])[1h:]) > 4", "does not scale"),
        ("absent(resets(x[5m]) > 2)", "does not scale"),
        ("up and increase(x[5m]) > 10", "does not scale"),
        ("increase(x[5m]) - 3 > 0", "does not scale"),
        ("increase(x[5m]) > rate(y[5m])", "does not scale"),
        ("predict_linear(x[1h], 3600) < 0", "predict_linear"),
        ("deriv(x[5m]) > 0", "deriv"),
        ("time() - x > 300", r"time\(\)"),
        ("timestamp(x) - timestamp(y) > 300", r"timestamp\(\)"),
    ],
)
def test_what_does_not_scale_is_refused_unless_the_scale_is_one(expression: str, why: str) -> None:
    with pytest.raises(LabError, match=rf"^rules\.yml:7: .*{why}.*; ") as refusal:
        scale_expression(expression, 300, where="rules.yml:7")
    assert "\n" not in str(refusal.value)
    assert scale_expression(expression, 1) == expression


@pytest.mark.parametrize(
    "expression",
    [
        "increase(x[5m]) > 0",
        "0 < increase(x[5m])",
        "increase(x[5m]) / increase(y[5m]) > 0.05",
        "increase(x[5m]) > 0.05 * increase(y[5m])",
        "rate(x[5m]) * 300 > 10",
        "count(increase(x[5m]) > 0) > 3",
        "histogram_quantile(0.9, sum by (le) (increase(x[5m]))) > 2",
        "absent(x)",
        "avg_over_time(x[5m]) > 3",
    ],
)
def test_ratios_rates_and_zero_are_fine(expression: str) -> None:
    scale_expression(expression, 300)


def test_what_is_no_promql_is_refused_at_every_scale() -> None:
    for scale in (1, 300):
        with pytest.raises(LabError, match=r"^r:3: no PromQL: .*; correct `rate\(x\[5m`$"):
            scale_expression("rate(x[5m", scale, where="r:3")


DURATIONS = st.integers(1, 20_000).map(lambda seconds: f"{seconds}s")


@given(length=DURATIONS, back=DURATIONS, step=DURATIONS, scale=st.integers(1, 1000))
def test_whatever_the_durations_the_result_parses_and_keeps_its_floors(
    length: str, back: str, step: str, scale: int
) -> None:
    scaled = scale_expression(f"max_over_time(rate(x[{length}] offset {back})[{length}:{step}])", scale)
    outer = promql_parser.parse(scaled).args[0]
    inner = outer.expr.expr.args[0] if scale != 1 else outer.expr.args[0]
    wanted = float(length[:-1]) / scale
    for found in (outer.range, inner.range):
        assert found.total_seconds() == pytest.approx(max(wanted, 0.4 if scale != 1 else 0), abs=0.0011)
    assert inner.vector_selector.offset.total_seconds() == pytest.approx(float(back[:-1]) / scale, abs=0.0011)


def test_a_rules_file_is_scaled_and_stays_a_rules_file() -> None:
    group = yaml.safe_load(scale_rules(RULES, 300, "r.yml"))["groups"][0]
    failed, down = group["rules"]
    assert group["interval"] == "100ms"
    assert (failed["for"], failed["keep_firing_for"]) == ("1000ms", "2000ms")
    assert set(re.findall(r"\[.*?\]|offset \w+", failed["expr"])) == {"[1s]", "offset 2s"}
    assert failed["labels"] == {"runbook": "RB-001"}
    assert failed["annotations"] == {"summary": "{{ $labels.step }}: failed"}
    assert down == {"alert": "Down", "expr": "up == 0"}


def test_scale_one_changes_nothing() -> None:
    assert scale_rules(RULES, 1, "r.yml") == RULES


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("up == 0", "increase(x[5m]) > 3", r"^r\.yml:14: .*does not scale"),
        ("up == 0", "up ==", r"^r\.yml:14: no PromQL"),
        ("for: 5m", "for: soon", r"^r\.yml:10: 'soon' is no duration"),
        ("        expr: up == 0\n", "", r"^r\.yml:14: a rule without `expr`"),
        ("alert: Down\n        expr: up == 0", "record: a:b\n        expr: increase(x[5m])", r"^r\.yml:14: a recorded"),
        ("groups:", "group:", r"^r\.yml:1: no list of groups"),
        ("for: 5m", "for: &f 5m\n        keep: *f", r"^r\.yml:11: a YAML alias"),
        ("labels: {runbook: RB-001}", "labels: {runbook", r"^r\.yml:\d+: no YAML"),
    ],
)
def test_a_bad_rules_file_names_its_line(old: str, new: str, message: str) -> None:
    assert old in RULES
    with pytest.raises(LabError, match=message):
        scale_rules(RULES.replace(old, new), 300, "r.yml")


def test_the_floor_of_an_alert_is_its_for_and_how_far_it_looks_back() -> None:
    assert floor_s(RULES, "DeployFailed") == 300 + 300 + 600
    assert floor_s(scale_rules(RULES, 300, "r.yml"), "DeployFailed") == 4.0
    assert floor_s(RULES, "Down") == 0
    with pytest.raises(LabError, match="no alert rule named Nobody"):
        floor_s(RULES, "Nobody")


def test_an_expression_looks_back_over_enclosing_subqueries() -> None:
    assert promql.reach_s("max_over_time(rate(x[5m] offset 1m)[30m:1m] offset 2m) > y") == 60 * (5 + 1 + 30 + 2)
    assert promql.reach_s("x") == 0


def test_selectors_lose_range_offset_and_comparison_but_no_matcher() -> None:
    found = promql.selectors(
        'rate(a{b="c"}[5m] offset 1m) > 0.1 and on () max_over_time(d[5m:]) unless absent(e @ end())'
    )
    assert found == ('a{b="c"}', "d", "e")
    assert promql.selectors("x / x") == ("x",)
