"""index.html: the whole run on one page that needs no network, no script and no other file.

The template escapes everything (a runbook and what servers print are untrusted), and the page's own policy forbids
scripts and requests, so that even a gap in the escaping could do nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from itertools import groupby
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from runlab.model import JsonObject
from runlab.reporting import digest
from runlab.reporting.evidence import Evidence
from runlab.reporting.schema import ClaimResult, Results, ScenarioResult
from runlab.reporting.timeline import timeline

KINDS = {
    "detect": "Symptom detection",
    "cause": "Root causes",
    "recover": "Recovery procedures",
    "prevent": "Prevention measures",
}


def page(results: Results, events: Sequence[JsonObject]) -> str:
    """The page as HTML text. `events` may be empty: then there is no evidence to unfold and no timeline."""
    environment = Environment(
        loader=PackageLoader("runlab.reporting", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_printable,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"seconds": digest.seconds, "times": digest.times, "moment": _moment}
    tried = digest.tried_runbooks(results)
    books = [_book(b, claims, events) for b, claims in digest.by_runbook(results["claims"]).items()]
    return environment.get_template("page.html.j2").render(
        run=results["run"],
        took=_took(results),
        outcome=digest.headline(results),
        executed=digest.executed_sentence(results),
        missing=[*digest.ran_on(results), *digest.missing(results)],
        counts=digest.counts(results["claims"]),
        symbols=digest.SYMBOLS,
        meanings=digest.MEANINGS,
        troubled=digest.troubled(results["claims"]),
        environment=[(name.replace("_", " "), _pairs(value)) for name, value in results["environment"].items()],
        tried=[book for book in books if book["id"] in tried],
        bare=[book for book in books if book["id"] not in tried],
        evidence=_evidence(results["claims"], Evidence(events)),
        expected=digest.expected,
        clauses=digest.clauses,
        where=digest.where,
        procedures=digest.by_procedure(results["procedures"]),
        scenarios=_scenarios(results["scenarios"], events),
    )


def _printable(value: object) -> object:
    """What a template's expression becomes; the output of a macro is markup already and passes."""
    return digest.plain(value) if type(value) is str else value


def _book(runbook: str, claims: Sequence[ClaimResult], events: Iterable[JsonObject]) -> dict[str, Any]:
    """A runbook in the order of its text: kinds, in them groups of claims that stand under the same labels."""
    titles = {b["id"]: b["title"] for event in events if event["kind"] == "claims" for b in event["runbooks"]}
    kinds = [
        (KINDS[kind], [(" › ".join(under), list(group)) for under, group in groupby(of_kind, lambda c: c["under"])])
        for kind, of_kind in groupby(claims, key=lambda claim: claim["kind"])
    ]
    file = claims[0]["file"]
    return {
        "id": runbook,
        "title": titles.get(runbook, ""),
        "file": file,
        "kinds": kinds,
        "counts": digest.counts(claims),
        "total": len(claims),
    }


def _evidence(claims: Iterable[ClaimResult], evidence: Evidence) -> dict[str, Any]:
    """What each claim may unfold, by its id; whatever its parts and arms name comes after its own."""
    found = {}
    for claim in claims:
        refs = [*claim["evidence"], *(ref for part in claim["parts"] for ref in part["evidence"])]
        refs += [ref for arm in claim["by_scenario"] for ref in arm.get("evidence", ())]
        groups, more = evidence.of(refs)
        found[claim["id"]] = {"groups": groups, "more": more}
    return found


def _scenarios(
    scenarios: Sequence[ScenarioResult], events: Sequence[JsonObject]
) -> list[tuple[str, digest.Summed, list[Any]]]:
    longest = max((digest.wall_s(s) or 0.0 for s in scenarios), default=0.0) or 1.0
    grouped = [(name, list(arms)) for name, arms in groupby(scenarios, key=digest.scenario_name)]
    return [(name, digest.summed(arms), [_arm(arm, events, longest) for arm in arms]) for name, arms in grouped]


def _arm(scenario: ScenarioResult, events: Sequence[JsonObject], longest: float) -> dict[str, Any]:
    wall, floor = digest.wall_s(scenario), scenario["floor_s"]
    return {
        **scenario,
        "message": scenario.get("message") or "",
        "wall_s": wall,
        "ratio": digest.wall_to_floor(wall, floor),
        "wall_percent": round(100 * (wall or 0.0) / longest, 1),
        "floor_percent": round(100 * min(floor or 0.0, wall or 0.0) / longest, 1),
        "timeline": timeline(events, scenario["id"]),
    }


def _pairs(value: object) -> list[tuple[str, str]]:
    """A setting as (name, value) pairs; the name is "" where there is none."""
    if isinstance(value, Mapping):
        return [(str(name), str(part)) for name, part in value.items()]
    return [("", str(part)) for part in value] if isinstance(value, list) else [("", str(value))]


def _took(results: Results) -> str:
    started, ended = results["run"]["started"], results["run"]["ended"]
    if not started or not ended:
        return "–"
    whole = (datetime.fromisoformat(ended) - datetime.fromisoformat(started)).total_seconds()
    return f"{whole:.0f} s" if whole < 120 else f"{whole // 60:.0f} min {whole % 60:.0f} s"


def _moment(time: str | None) -> str:
    """`2025-01-14 09:15:02 UTC`, or a dash for what never came."""
    return datetime.fromisoformat(time).strftime("%Y-%m-%d %H:%M:%S %Z") if time else "–"
