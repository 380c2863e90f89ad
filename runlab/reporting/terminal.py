"""What stands in the terminal: before the first test, in a failed test, and at the end. Made for 80 columns and more.

Everything is built from `rich` texts, never from markup, so that a runbook cannot colour or steer the terminal; colour
codes appear on a terminal only (rich sees to it), and each verdict has a sign that reads without colour.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Final

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.padding import Padding
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
CLAUSES, CLAUSE = 8, 160
"""How many conditions of what holds only in part are shown, and characters of each."""


def before_tests(plan: JsonObject, claims: JsonObject, runtime: str, missing: Mapping[str, str]) -> RenderableType:
    """What will be executed and what can't be, and why: from the journal's `plan` and `claims` events.

    `runtime`, and `missing`, why a capability can't be had here, as the journal's environment has them.
    """
    selected = {arm.partition("/")[0] for arm in plan["arms"]}
    chosen = [scenario for scenario in plan["scenarios"] if scenario["scenario"] in selected]
    lines: list[RenderableType] = [
        Text.assemble((_many(len(plan["arms"]), "test"), "bold"), f" of {_many(len(chosen), 'scenario')}:"),
        Text(f"  {digest.runtime(runtime, missing)}"),
    ]
    lines += [
        Text(f"  {s['runbook']}  {s['scenario']}: {digest.one_line(s['cause'] or s['measure'], 60)}") for s in chosen
    ]
    for need, without in _lacking(chosen).items():
        lines.append(_indented(f"– lacks {digest.absence(need, missing)}", "skipped"))
        lines.append(_indented(f"  not executed: {', '.join(without)}", "untested"))
    covered = {scenario["runbook"] for scenario in plan["scenarios"]}
    bare = [book for book in claims["runbooks"] if book["id"] not in covered]
    if bare:
        number, total = (sum(len(book["claims"]) for book in books) for books in (bare, claims["runbooks"]))
        names = digest.span([book["id"] for book in bare])
        lines.append(_indented(f"– {names}: {number} claims without a scenario yet, of {total} in all", "untested"))
    return Group(*lines)


def _indented(line: str, style: str) -> RenderableType:
    """Below what stands before it, also where it takes several lines."""
    text = line.lstrip()
    return Padding(Text(text, STYLES[style]), (0, 0, 0, 2 + len(line) - len(text)), expand=False)


def _lacking(scenarios: Iterable[JsonObject]) -> dict[str, list[str]]:
    """By capability that is missing: scenarios that need it, and for how many of their incidents if not for all."""
    found: dict[str, list[str]] = {}
    for scenario in scenarios:
        every = len(scenario["incidents"])
        needs = Counter(need for lacks in scenario["lacking"].values() for need in lacks)
        for need, number in needs.items():
            part = f" ({number} of {every} incidents)" if number < every else ""
            found.setdefault(need, []).append(f"{scenario['scenario']}{part}")
    return found


def closing_tables(results: JsonObject, *, report: Path | str | None = None) -> list[RenderableType]:
    """What could be executed and what not, a table per tried runbook, procedures, tests, and where the report lies.

    `report` is the file or folder to point at; None leaves that line out.
    """
    r = whole(results)
    tried, books = digest.tried_runbooks(r), digest.by_runbook(r["claims"])
    blocks: list[RenderableType] = [Text(digest.executed_sentence(r), "bold")]
    blocks += [Text(line) for line in digest.ran_on(r)]
    blocks += [_indented(f"– {line}", "skipped") for line in digest.missing(r)]
    blocks.append(Text())
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
    table.columns[1].ratio, table.columns[1].no_wrap, table.columns[1].overflow = 1, False, "fold"
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
    for line in _reason(claim):
        sentence.append(f"\n→ {line}", _soft(claim["verdict"]))
    if idle:
        sentence.no_wrap, sentence.overflow = True, "ellipsis"
    return sentence


def _reason(claim: ClaimResult) -> list[str]:
    """The reason, cut; of what holds only in part each condition by itself."""
    if claim["verdict"] != "partly":
        return [digest.one_line(claim["reason"], REASON)] if claim["reason"] else []
    clauses = [digest.one_line(clause, CLAUSE) for clause in digest.clauses(claim["reason"])]
    return clauses if len(clauses) <= CLAUSES else [*clauses[: CLAUSES - 1], "…"]


def _procedure_table(procedures: Iterable[ProcedureResult]) -> Table:
    table = _table("Procedures", "verdict", "procedure, fault, case", "TTR", "withheld")
    _numbers(table)
    for name, trials in digest.by_procedure(procedures).items():
        table.add_row("", Text(digest.one_line(name, SENTENCE), "bold"), "", "")
        for trial in trials:
            what = Text(" / ".join(filter(None, (trial["fault"], trial["case"]))))
            if trial["verdict"] != "confirmed":
                what.append(f"\n→ {digest.one_line(trial['reason'], REASON)}", _soft(trial["verdict"]))
            times = digest.seconds(trial["ttr_s"]), digest.seconds(trial["watched_s"])
            table.add_row(badge(trial["verdict"]), what, *times)
    return table


def _scenario_table(scenarios: Iterable[ScenarioResult]) -> Table:
    """A row a scenario, and one for each of its tests that did not simply pass."""
    table = _table("Tests", "outcome", "scenario", "TTD", "TTR", "wall", "floor", "w/f")
    _numbers(table)
    for name, group in groupby(scenarios, key=digest.scenario_name):
        arms = list(group)
        whole = digest.summed(arms)
        tally = Text(f"{SIGNS[whole.outcome]} {whole.tally}", STYLES[whole.outcome])
        table.add_row(tally, Text(name, "bold"), whole.ttd, whole.ttr, *_clock(whole.wall_s, whole.floor_s))
        for arm in arms:
            if arm["outcome"] != "passed":
                times = digest.seconds(arm["ttd_s"]), digest.seconds(arm["ttr_s"])
                clock = _clock(digest.wall_s(arm), arm["floor_s"])
                table.add_row(badge(arm["outcome"]), Text(digest.arm_label(arm)), *times, *clock)
    return table


def _clock(wall: float | None, floor: float | None) -> tuple[str, str, str]:
    return digest.seconds(wall), digest.seconds(floor), digest.times(digest.wall_to_floor(wall, floor))


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
