"""junit.xml: a case per test and a case per claim, so that a signal nobody's test asked for can turn CI red too."""

from __future__ import annotations

from io import BytesIO

from junitparser import Error, Failure, JUnitXml, Skipped, TestCase, TestSuite

from runlab.reporting import digest
from runlab.reporting.schema import ClaimResult, Results, ScenarioResult


def junit(results: Results) -> bytes:
    """The file's bytes: one suite of tests, and one of claims for each runbook; UTF-8."""
    xml = JUnitXml("runlab")
    tests = TestSuite("tests")
    tests.timestamp = results["run"]["started"] or ""
    for scenario in results["scenarios"]:
        tests.add_testcase(_test(scenario))
    xml.add_testsuite(tests)
    for runbook, claims in digest.by_runbook(results["claims"]).items():
        suite = TestSuite(f"{runbook} claims")
        for claim in claims:
            suite.add_testcase(_claim(claim))
        xml.add_testsuite(suite)
    file = BytesIO()
    xml.write(file)
    return file.getvalue()


def _test(scenario: ScenarioResult) -> TestCase:
    case = TestCase(
        digest.one_line(digest.arm_label(scenario)),
        classname=f"{scenario['runbook']}.{digest.plain(digest.scenario_name(scenario))}",
        time=digest.wall_s(scenario) or 0.0,
    )
    kinds = {"failed": Failure, "error": Error, "skipped": Skipped}
    if kind := kinds.get(scenario["outcome"]):
        message = digest.plain(scenario.get("message") or "")
        result = kind(message.partition("\n")[0] or scenario["outcome"])
        result.text = message
        case.result = [result]
    return case


def _claim(claim: ClaimResult) -> TestCase:
    """A claim takes no time of its own: what it cost is the tests' time."""
    name = f"{claim['id']} {digest.one_line(claim['text'], 200)}"
    case = TestCase(name, classname=f"{claim['runbook']}.{claim['kind']}", time=0.0)
    reason = f"{claim['verdict']}: {digest.one_line(claim['reason']) or 'no reason was given'} ({digest.where(claim)})"
    if claim["verdict"] in ("refuted", "inconclusive"):
        failure = Failure(reason, claim["verdict"])
        failure.text = f"expected: {digest.expected(claim)}\nseen: {digest.seen(claim)}\nat: {digest.where(claim)}"
        case.result = [failure]
    elif claim["verdict"] in ("untested", "manual"):
        case.result = [Skipped(reason)]
    elif claim["verdict"] == "partly":
        case.system_out = f"{reason}\n{digest.seen(claim)}"
    return case
