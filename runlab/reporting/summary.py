"""summary.md: what a CI job shows of a run. GitHub-flavoured Markdown; a runbook's text cannot add to its structure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from runlab.model import Verdict
from runlab.reporting import digest
from runlab.reporting.schema import ProcedureResult, Results, ScenarioResult

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~!&@$])")


def summary(results: Results) -> str:
    """Verdicts by runbook, what needs a look, procedures, and the tests' times."""
    return "\n".join(_lines(results))


def text(value: object, limit: int = 300) -> str:
    """`value` as one line in which nothing is Markdown or HTML, fit for a table's cell."""
    return _SPECIAL.sub(r"\\\1", digest.one_line(str(value), limit)).replace("\\<", "&lt;").replace("\\&", "&amp;")


def _lines(results: Results) -> Iterator[str]:
    run = results["run"]
    yield f"# Runbook lab: {text(run['id'])}"
    yield ""
    yield f"**{digest.headline(results)[1]}**: {text(digest.executed_sentence(results), 0)}."
    yield from (f"\n> {text(note, 0)}" for note in (*digest.ran_on(results), *digest.missing(results), *run["notes"]))
    yield ""
    yield from _verdicts(results)
    yield from _look_at(results)
    if results["procedures"]:
        yield from _procedures(results["procedures"])
    if results["scenarios"]:
        yield from _tests(results["scenarios"])


def _verdicts(results: Results) -> Iterator[str]:
    every: Sequence[Verdict] = tuple(digest.counts(results["claims"]))
    yield from _head("Verdicts", "runbook", *(f"{digest.SYMBOLS[verdict]} {verdict}" for verdict in every), "claims")
    for runbook, claims in digest.by_runbook(results["claims"]).items():
        number = digest.counts(claims)
        yield _row(text(runbook), *(number.get(verdict, "") for verdict in every), len(claims))
    yield ""


def _look_at(results: Results) -> Iterator[str]:
    claims = digest.troubled(results["claims"])
    if not claims:
        return
    yield from _head("Refuted, inconclusive, partly", "verdict", "claim", "why", "where")
    for claim in claims:
        sentence = f"{text(claim['id'])}: {text(claim['text'])}"
        verdict = f"{digest.SYMBOLS[claim['verdict']]} {claim['verdict']}"
        yield _row(verdict, sentence, text(claim["reason"], 600), text(digest.where(claim)))
    yield ""


def _procedures(procedures: Iterable[ProcedureResult]) -> Iterator[str]:
    yield from _head("Procedures", "procedure", "fault", "case", "verdict", "TTR", "withheld", "why")
    for p in procedures:
        verdict = f"{digest.SYMBOLS[p['verdict']]} {p['verdict']}"
        name, times = text(f"{p['runbook']} {p['label']}"), (digest.seconds(p["ttr_s"]), digest.seconds(p["watched_s"]))
        yield _row(name, text(p["fault"] or ""), text(p["case"] or ""), verdict, *times, text(p["reason"]))
    yield ""


def _tests(scenarios: Iterable[ScenarioResult]) -> Iterator[str]:
    yield from _head("Tests", "scenario", "arm", "outcome", "TTD", "TTR", "wall", "floor", "wall / floor")
    for s in scenarios:
        measured = (s["ttd_s"], s["ttr_s"], digest.wall_s(s), s["floor_s"])
        ratio = digest.times(digest.wall_to_floor(digest.wall_s(s), s["floor_s"]))
        arm = text(digest.arm_label(s))
        yield _row(text(digest.scenario_name(s)), arm, s["outcome"], *(digest.seconds(v) for v in measured), ratio)
    yield ""


def _head(title: str, *columns: str) -> tuple[str, ...]:
    return f"## {title}", "", _row(*columns), _row(*["---"] * len(columns))


def _row(*cells: object) -> str:
    return f"| {' | '.join(str(cell) for cell in cells)} |"
