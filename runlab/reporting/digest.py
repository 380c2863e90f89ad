"""What every report says alike: symbols, order, counts, few words. Pure functions of results.json; no layout."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from runlab.judge.expected import expected as of_kind
from runlab.model import Verdict
from runlab.reporting.schema import ClaimResult, Outcome, ProcedureResult, Results, ScenarioResult

SYMBOLS: Final[Mapping[Verdict, str]] = {
    "refuted": "✘",
    "inconclusive": "?",
    "partly": "◐",
    "observed": "○",
    "confirmed": "✔",
    "manual": "☞",
    "untested": "–",
}
"""Each verdict with a sign that can be told from the others without colour; worst first."""

MEANINGS: Final[Mapping[Verdict, str]] = {
    "refuted": "tried, and what the sentence says did not come about",
    "inconclusive": "tried, but the fault did not bite or a source was blind",
    "partly": "holds under some conditions and fails under others",
    "observed": "held, but its control has not run",
    "confirmed": "held, and its control could have contradicted it",
    "manual": "advice to people, which no experiment can judge",
    "untested": "not tried in this run",
}

SANDBOX: Final = "sandbox"
"""The capability that a runtime without hosts of its own lacks."""

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")

_DETAILS = re.compile(r"(?:: |; | \()")

_OF_A_PART = re.compile(r"^`[^`]*`: ")

_SIDE = re.compile(r"; (?=(?:[^;:]+: )?(?:holds|fails) for )")


def plain(text: str) -> str:
    """`text` without characters that steer a terminal or that XML forbids; tab and newline stay."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


def one_line(text: str, limit: int = 0) -> str:
    """`text` on one line, cut after `limit` characters (0: never) with an ellipsis."""
    line = " ".join(plain(text).split())
    return line if not limit or len(line) <= limit else line[: limit - 1].rstrip() + "…"


def where(claim: ClaimResult) -> str:
    return f"{claim['file']}:{claim['line']}"


def expected(claim: ClaimResult) -> str:
    """In words, what would have confirmed this claim."""
    return of_kind(claim["kind"], claim["role"])


def seen(claim: ClaimResult) -> str:
    """In words, what came instead: the reason, then each part and each arm that did not simply hold."""
    lines = [claim["reason"] or "nothing was recorded"]
    lines += [f"`{p['text']}`: {p['verdict']}: {p['reason']}" for p in claim["parts"] if p["verdict"] in _TROUBLE]
    lines += [
        f"{_joined(b['scenario'], b['arm'], b['case'])}: {b['verdict']}: {b['reason']}"
        for b in claim["by_scenario"]
        if b["verdict"] in _TROUBLE
    ]
    return "\n".join(dict.fromkeys(plain(line) for line in lines))


_TROUBLE = ("refuted", "inconclusive", "partly")


def troubled(claims: Iterable[ClaimResult]) -> list[ClaimResult]:
    """What people must look at, worst first: refuted, inconclusive, partly."""
    return sorted((c for c in claims if c["verdict"] in _TROUBLE), key=lambda c: _TROUBLE.index(c["verdict"]))


def counts(claims: Iterable[ClaimResult]) -> dict[Verdict, int]:
    """How many claims have each verdict, worst first; verdicts that nobody has are left out."""
    number = Counter(claim["verdict"] for claim in claims)
    return {verdict: number[verdict] for verdict in SYMBOLS if number[verdict]}


def by_runbook(claims: Iterable[ClaimResult]) -> dict[str, list[ClaimResult]]:
    """Claims in the order of the text, by runbook id."""
    grouped: dict[str, list[ClaimResult]] = {}
    for claim in claims:
        grouped.setdefault(claim["runbook"], []).append(claim)
    return grouped


def tried_runbooks(results: Results) -> set[str]:
    """Runbooks that have a scenario in this run, or a claim that was judged by passive watching."""
    judged = {claim["runbook"] for claim in results["claims"] if claim["verdict"] not in ("untested", "manual")}
    return judged | {scenario["runbook"] for scenario in results["scenarios"]}


def span(ids: Sequence[str]) -> str:
    """Runbook ids in few characters: "RB-002 … RB-008", or the list when there are only a few."""
    return ", ".join(ids) if len(ids) < 4 else f"{ids[0]} … {ids[-1]}"


def executed_sentence(results: Results) -> str:
    """`executed 31 of 47 claims; 16 need packet-filter`: what was tried and, for the rest, how many and why not."""
    run = results["run"]
    idle = Counter(_why_not(claim) for claim in results["claims"] if claim["verdict"] == "untested")
    head = f"executed {run['executed']} of {run['total']} claims"
    if run["executable"] not in (None, run["executed"], run["total"]):
        head += f" ({run['executable']} can be executed here)"
    reasons = [f"{number} {_agreed(reason, number)}" for reason, number in idle.most_common()]
    advice = run["total"] - run["executed"] - idle.total()
    reasons += [f"{advice} advice to people"] * (advice > 0)
    return "; ".join([head, *reasons])


def runtime(name: str, why_missing: Mapping[str, str]) -> str:
    """`runtime: processes (no network namespaces: …)`: what a run had, and why no sandbox where it could have none."""
    why = why_missing.get(SANDBOX)
    chosen = why in (None, f"the runtime is {name}")
    return f"runtime: {name}" if chosen else f"runtime: {name} ({why})"


def ran_on(results: Results) -> list[str]:
    """That line of a run; none where it was cut off before anything was started."""
    where = results["environment"]
    return [runtime(where["runtime"], where.get("missing", {}))] if "runtime" in where else []


def missing(results: Results) -> list[str]:
    """Each capability that some scenario needed in vain: how many, why it cannot be had here, and the mend."""
    why = results["environment"].get("missing", {})
    return [
        f"{number} {'scenario lacks' if number == 1 else 'scenarios lack'} {absence(need, why)}"
        for need, number in results["run"]["lacks"].items()
    ]


def absence(need: str, why: Mapping[str, str]) -> str:
    """`mariadb: service mariadb: mariadbd is not installed; run make setup`; `why` is the environment's `missing`."""
    return f"{need}: {why.get(need, 'no service of this stack has it')}"


def clauses(reason: str) -> list[str]:
    """The reason of what holds only in part, taken apart: what it holds for, and what it fails for and why."""
    return _SIDE.split(reason)


def by_procedure(procedures: Iterable[ProcedureResult]) -> dict[str, list[ProcedureResult]]:
    """The trials of each procedure, by runbook and label."""
    grouped: dict[str, list[ProcedureResult]] = {}
    for trial in procedures:
        grouped.setdefault(f"{trial['runbook']} {trial['label']}", []).append(trial)
    return grouped


def _agreed(reason: str, number: int) -> str:
    return re.sub(r"^(need|depend)s ", r"\1 ", reason) if number > 1 else reason


def _why_not(claim: ClaimResult) -> str:
    """The reason without its part and details, to count by: "`X`: causes not injected: Y" is "causes not injected"."""
    reason = _OF_A_PART.sub("", one_line(claim["reason"]).removeprefix("untested: ")) or "not tried"
    return _DETAILS.split(reason, maxsplit=1)[0]


def headline(results: Results) -> tuple[Verdict, str]:
    """How the run went, in a sentence, with the verdict whose colour suits it."""
    run = results["run"]
    if not run["complete"]:
        return "inconclusive", "The run was cut off; this is what its journal holds"
    if not run["executed"]:
        return "inconclusive", "Nothing was executed"
    judged = {claim["verdict"] for claim in results["claims"]} | {p["verdict"] for p in results["procedures"]}
    failed = any(scenario["outcome"] in ("failed", "error") for scenario in results["scenarios"])
    if "refuted" in judged or failed:
        return "refuted", "Something that was tried did not hold"
    if "inconclusive" in judged:
        return "inconclusive", "Something that was tried could not be decided"
    if run["exit_status"]:
        return "inconclusive", f"What was tried held, but the run ended with exit status {run['exit_status']}"
    if "partly" in judged:
        return "partly", "Nothing that was tried failed, but some of it holds only under conditions"
    return "confirmed", "Nothing that was tried failed"


def wall_s(scenario: ScenarioResult) -> float | None:
    """Seconds that the arm took; None when it did not end."""
    if (measured := scenario.get("wall_s")) is not None:
        return measured
    if not scenario["started"] or not scenario["ended"]:
        return None
    return (datetime.fromisoformat(scenario["ended"]) - datetime.fromisoformat(scenario["started"])).total_seconds()


def wall_to_floor(wall: float | None, floor: float | None) -> float | None:
    """How many times longer something took than what had to be waited for; None when either is unknown or zero."""
    return wall / floor if wall is not None and floor else None


def seconds(value: float | None, digits: int = 1) -> str:
    """`3.2 s`, or a dash for what was not measured."""
    return "–" if value is None else f"{value:.{digits}f} s"


def times(value: float | None) -> str:
    """`1.4×`, or a dash."""
    return "–" if value is None else f"{value:.1f}×"


@dataclass(frozen=True)
class Summed:
    """The tests of one scenario together: the worst outcome, how many had it, and their times."""

    outcome: Outcome
    tally: str
    ttd: str
    ttr: str
    wall_s: float
    floor_s: float


def summed(arms: Sequence[ScenarioResult]) -> Summed:
    """`3 passed` or `1 of 3 failed`, the range of the times to detect and to recover, and the sum of what they took."""
    number = Counter(arm["outcome"] for arm in arms)
    worst = next(outcome for outcome in _WORST_FIRST if number[outcome])
    return Summed(
        outcome=worst,
        tally=f"{number[worst]} {f'of {len(arms)} ' * (len(number) > 1)}{worst}",
        ttd=_range(arm["ttd_s"] for arm in arms),
        ttr=_range(arm["ttr_s"] for arm in arms),
        wall_s=sum(wall_s(arm) or 0.0 for arm in arms),
        floor_s=sum(arm["floor_s"] or 0.0 for arm in arms),
    )


_WORST_FIRST: Final[tuple[Outcome, ...]] = ("error", "failed", "skipped", "passed")


def _range(values: Iterable[float | None]) -> str:
    """`0.7–2.9 s`, or a dash where nothing was measured."""
    known = [value for value in values if value is not None]
    if not known:
        return "–"
    return f"{'–'.join(dict.fromkeys((f'{min(known):.1f}', f'{max(known):.1f}')))} s"


def scenario_name(scenario: ScenarioResult) -> str:
    """The scenario's class, from an arm's id such as `TestLockTimeout/fault/waiting` or a pytest node id."""
    if own := scenario.get("scenario"):
        return own.rpartition("::")[2]
    name = scenario["id"]
    return name.split("::")[1] if "::" in name else name.partition("/")[0]


def arm_label(scenario: ScenarioResult) -> str:
    """Which of a scenario's arms: `fault  IdleInTransaction-projects  waiting`."""
    return "  ".join(filter(None, (scenario["arm"], scenario["fault"], scenario["case"])))


def _joined(*names: str | None) -> str:
    return "/".join(name for name in names if name)
