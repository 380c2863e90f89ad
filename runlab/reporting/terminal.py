"""What stands in the terminal: before the first test, in a failed test, and at the end. Made for 80 columns and more.

Everything is built from `rich` texts, never from markup, so that a runbook cannot colour or steer the terminal; colour
codes appear on a terminal only (rich sees to it), and each verdict has a sign that reads without colour.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Final

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from runlab.model import JsonObject
from runlab.reporting import digest
from runlab.reporting.schema import ClaimResult, ProcedureResult, Results, ScenarioResult, whole

STYLES: Final[dict[str, str]] = {
    "confirmed": "bold green",
    "observed": "green",
    "partly": "yellow",
    "refuted": "bold red",
    "inconclusive": "magenta",
    "manual": "blue",
    "untested": "bright_black",
    "passed": "green",
    "failed": "bold red",
    "error": "bold red",
    "skipped": "yellow",
}
SIGNS: Final[dict[str, str]] = {
    **{str(verdict): symbol for verdict, symbol in digest.SYMBOLS.items()},
    "passed": "✔",
    "failed": "✘",
    "error": "✘",
    "skipped": "–",
}
KINDS: Final[dict[str, str]] = {
    "detect": "Symptoms",
    "cause": "Causes",
    "recover": "Recovery",
    "prevent": "Prevention",
}
SENTENCE, REASON = 160, 220
"""Characters of a claim's text and of its reason that a table shows; the report has the whole of both."""


def before_tests(
    plan: JsonObject, *, claims: JsonObject | None = None, unplanned: Sequence[JsonObject] = ()
) -> RenderableType:
    """What will be executed and what can't be, and why: from the journal's `plan` and `claims` events.

    `unplanned`: the scenarios that can't run, as {"scenario", "needs": [capability]}.
    """
    scenarios = plan["scenarios"]
    total = sum(len(book["claims"]) for book in claims["runbooks"]) if claims else 0
    lines = [Text.assemble((f"{len(plan['arms'])} tests", "bold"), f" of {_many(len(scenarios), 'scenario')}", ":")]
    lines += [
        Text(
            f"  {s['runbook']}  {_last(s['scenario'])}: {digest.one_line(s.get('cause') or s.get('measure') or '', 60)}"
        )
        for s in scenarios
    ]
    lines += [
        Text(f"  – {_last(u['scenario'])} can't run: needs {', '.join(u['needs'])}", STYLES["skipped"])
        for u in unplanned
    ]
    if claims:
        covered = {s.get("runbook") for s in (*scenarios, *unplanned)}
        bare = [book for book in claims["runbooks"] if book["id"] not in covered]
        if bare:
            number = sum(len(book["claims"]) for book in bare)
            lines.append(Text(f"  – {_bare(bare, number)}, of {total} in all", STYLES["untested"]))
    return Group(*lines)


def _bare(books: Sequence[JsonObject], number: int) -> str:
    return f"{digest.span([book['id'] for book in books])}: {number} claims without a scenario yet"


def closing_tables(results: JsonObject, *, report: Path | str | None = None) -> list[RenderableType]:
    """What could be executed and what not, a table per tried runbook, procedures, tests, and where the report lies.

    `report` is the file or folder to point at; None leaves that line out.
    """
    r = whole(results)
    tried, books = digest.tried_runbooks(r), digest.by_runbook(r["claims"])
    blocks: list[RenderableType] = [Text(digest.executed_sentence(r), "bold"), Text()]
    blocks += [_runbook_table(book, claims) for book, claims in books.items() if book in tried]
    bare = [book for book in books if book not in tried]
    if bare:
        number = sum(len(books[book]) for book in bare)
        blocks += [Text(f"{digest.span(bare)}: {number} claims untested: no scenario yet", STYLES["untested"]), Text()]
    if r["procedures"]:
        blocks.append(_procedure_table(r["procedures"]))
    if r["scenarios"]:
        blocks.append(_scenario_table(r["scenarios"]))
    blocks += [Text(f"note: {digest.one_line(note)}", "yellow") for note in r["run"]["notes"]]
    blocks.append(_verdict_line(r))
    if report is not None:
        blocks.append(Text.assemble("report: ", (str(report), "bold")))
    return blocks


def badge(verdict: str) -> Text:
    """A verdict or an outcome with its sign and colour."""
    return Text(f"{SIGNS[verdict]} {verdict}", STYLES[verdict], no_wrap=True)


def _table(title: str, *columns: str) -> Table:
    """A table whose second column takes the room that the others leave."""
    table = Table(title=Text(title, "bold"), title_justify="left", box=SIMPLE_HEAD, pad_edge=False, expand=True)
    for column in columns:
        table.add_column(column, no_wrap=True)
    table.columns[1].ratio, table.columns[1].no_wrap = 1, False
    return table


def _runbook_table(runbook: str, claims: Sequence[ClaimResult]) -> Table:
    table = _table(runbook, "verdict", "sentence, and why", "claim")
    table.columns[2].no_wrap, table.columns[2].overflow, table.columns[2].max_width = False, "fold", 19
    for kind, group in groupby(claims, key=lambda claim: claim["kind"]):
        table.add_row(Text(KINDS[kind], "bold"), "", "")
        for claim in group:
            table.add_row(badge(claim["verdict"]), _sentence(claim), _short_id(claim))
        table.add_section()
    return table


def _short_id(claim: ClaimResult) -> Text:
    """Without what the table says already, `RB-001/recover/scenario-c/1` is `scenario-c/1`; and the claim's role."""
    short = claim["id"].removeprefix(f"{claim['runbook']}/").removeprefix(f"{claim['kind']}/")
    return Text("\n".join(filter(None, (short, claim["role"]))), "dim")


def _sentence(claim: ClaimResult) -> Text:
    """The wording and, below it, the reason; a line each for what nobody has to look at."""
    idle = claim["verdict"] in ("untested", "manual")
    sentence = Text(digest.one_line(claim["text"], SENTENCE), "dim" if idle else "")
    if claim["reason"]:
        sentence.append(f"\n→ {digest.one_line(claim['reason'], REASON)}", _soft(claim["verdict"]))
    if idle:
        sentence.no_wrap, sentence.overflow = True, "ellipsis"
    return sentence


def _procedure_table(procedures: Iterable[ProcedureResult]) -> Table:
    table = _table("Procedures", "verdict", "procedure, fault, case", "TTR", "withheld")
    _numbers(table)
    for p in procedures:
        name = Text(f"{p['runbook']} {digest.one_line(p['label'], SENTENCE)}")
        name.append(f"\n{' / '.join(filter(None, (p['fault'], p['case'])))}", "dim")
        if p["reason"]:
            name.append(f"\n→ {digest.one_line(p['reason'], REASON)}", _soft(p["verdict"]))
        table.add_row(badge(p["verdict"]), name, digest.seconds(p["ttr_s"]), digest.seconds(p["watched_s"]))
    return table


def _scenario_table(scenarios: Iterable[ScenarioResult]) -> Table:
    table = _table("Tests", "outcome", "scenario, arm", "TTD", "TTR", "wall", "floor", "w/f")
    _numbers(table)
    for name, arms in groupby(scenarios, key=digest.scenario_name):
        table.add_row("", Text(name, "bold"), *[""] * 5)
        for s in arms:
            measured = (s["ttd_s"], s["ttr_s"], digest.wall_s(s), s["floor_s"])
            ratio = digest.times(digest.wall_to_floor(s))
            label = Text.assemble("  ".join(filter(None, (s["arm"], s["case"]))), ("\n" + (s["fault"] or ""), "dim"))
            label.rstrip()
            table.add_row(badge(s["outcome"]), label, *(digest.seconds(value) for value in measured), ratio)
    return table


def _numbers(table: Table) -> None:
    for column in table.columns[2:]:
        column.justify = "right"


def _soft(verdict: str) -> str:
    """A verdict's colour for a whole line of text."""
    return STYLES[verdict].removeprefix("bold ")


def _verdict_line(results: Results) -> Text:
    run = results["run"]
    tally = ", ".join(f"{number} {verdict}" for verdict, number in digest.counts(results["claims"]).items())
    status = "" if run["exit_status"] is None else f"; exit status {run['exit_status']}"
    return Text.assemble(f"{run['id']}: ", (tally, "bold"), status)


def _many(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


def _last(name: str) -> str:
    return name.rpartition("::")[2] or name
