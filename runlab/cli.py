"""The command `runlab`. Scenarios themselves are run by pytest; this is what stands around them."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.table import Table

from runlab import capabilities, journal, settings
from runlab import heal as healing
from runlab.bench import overhead as overheads
from runlab.bench import stack as stacks
from runlab.model import LabError
from runlab.playground import access, stand
from runlab.playground.inject import Injection
from runlab.playground.spec import fault as fault_of
from runlab.reporting.live import LiveLine, real_terminal
from runlab.reporting.terminal import closing_tables
from runlab.run import fresh_id, report, start_stack
from runlab.setup.__main__ import CHECKOUT
from runlab.setup.__main__ import main as set_up
from runlab.setup.doctor import examine
from runlab.stack import compose, processes
from runlab.stack.namespaces import sandbox_obstacle
from runlab.stack.runtimes import PROCESSES, SANDBOX

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
bench = typer.Typer(help="Figures of the lab itself.", no_args_is_help=True)
app.add_typer(bench, name="bench")
Run = Annotated[Path, typer.Argument(help="a run's folder", show_default=True)]
Needs = Annotated[
    list[str] | None,
    typer.Option("--needs", metavar="CAPABILITY", help="only the optional services that have it; can be repeated"),
]
RuntimeName = Annotated[
    str | None, typer.Option("--runtime", metavar="NAME", help="embedded, sandbox or processes, instead of lab.toml's")
]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON instead of tables")]
LATEST = Path("reports/latest")
INTERRUPTED = 128 + signal.SIGINT


@app.command()
def setup() -> None:
    """Install what is missing: servers by apt, Python dependencies by uv."""
    raise typer.Exit(set_up(["setup"]))


@app.command()
def doctor() -> None:
    """Show each server, tool and capability: there or not, why, and how to get it."""
    table = Table(box=None, pad_edge=False)
    for title in ("", "what", "kind", "found", "how to get it"):
        table.add_column(title, overflow="fold")
    for row in examine(CHECKOUT):
        mark = "[green]✓[/]" if row.present else "[red]✗[/]"
        table.add_row(mark, row.name, row.kind, row.detail, "" if row.present else row.mend)
    Console().print(table)


@app.command(name="capabilities")
def show_capabilities(as_json: AsJson = False) -> None:
    """Show what each runtime can do on this machine, and why not the rest."""
    lab = _lab()
    found = capabilities.examine(compose.read(lab.path(lab.stack.compose)))
    if as_json:
        typer.echo(json.dumps([ability.as_data() for ability in found], indent=2))
        return
    console = Console(highlight=False)
    for part in capabilities.table(found):
        console.print(part)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def drill(context: typer.Context) -> NoReturn:
    """Run a quiet and a fault arm per runbook; further options are pytest's."""
    command = [sys.executable, "-m", "pytest", "scenarios", "--drill", "-q", *context.args]
    os.execv(sys.executable, command)  # noqa: S606 -- pytest in our place, so that signals and status are its own


@app.command(name="judge")
def judge_again(run: Run = LATEST) -> None:
    """Make the verdicts and all reports of a run again, from its journal alone."""
    try:
        results = report(run, _min_executed())
    except (KeyError, TypeError) as error:
        what = f"its journal is of another edition ({type(error).__name__}: {error})"
        raise LabError(what, where=str(run), mend="judge it with the edition of the lab that wrote it") from error
    console = Console()
    for part in closing_tables(results, report=run / "index.html"):
        console.print(part)
    raise typer.Exit(results["run"]["exit_status"])


@app.command()
def heal(run: Run = LATEST) -> None:
    """Revert every fault that a run injected and did not revert, from its journal alone. Can be repeated."""
    for line in healing.heal(run):
        typer.echo(line)


@app.command()
def up(
    needs: Needs = None,
    time_scale: Annotated[
        str | None, typer.Option(metavar="N", help="divide the durations of alert rules by N")
    ] = None,
    runtime: RuntimeName = None,
) -> None:
    """Start the stack alone, show how to reach each server, and end it on Ctrl-C. `runlab inject` acts on it."""
    lab = _lab(runtime)
    lab = lab if time_scale is None else lab.scaled(time_scale)
    _terminate_like_ctrl_c()
    described = compose.read(lab.path(lab.stack.compose))
    console, started = Console(highlight=False), False
    try:
        with stand.standing(lab, needs=needs or (), progress=LiveLine(real_terminal())) as (stack, folder):
            started = True
            access.write(console, stack, described, lab.console.families)
            typer.echo(f"\nlogs: {folder}/logs/    up in {stack.start_s:.1f} s; Ctrl-C ends it")
            stand.stay(stack, typer.echo)
    except KeyboardInterrupt:
        typer.echo("\nthe stack has ended, and nothing of it is left")
        raise typer.Exit(0 if started else INTERRUPTED) from None


@app.command()
def inject(
    fault: Annotated[str, typer.Argument(help="module:Class, e.g. faults.database:IdleInTransaction")],
    fields: Annotated[list[str] | None, typer.Argument(help="the fault's fields, e.g. table=projects")] = None,
    run: Annotated[
        Path | None, typer.Option("--run", metavar="FOLDER", help="the stack's folder in reports/; else the newest")
    ] = None,
) -> None:
    """Inject a fault into the stack of `runlab up`, show what its witness sees, and revert it on Ctrl-C."""
    wanted = fault_of(fault, fields or ())
    lab = _lab()
    _terminate_like_ctrl_c()
    stack, folder = stand.find(lab.path(lab.stack.reports), run)
    Injection(wanted, stack, folder, typer.echo).run()


@bench.command(name="stack")
def bench_stack(
    runs: Annotated[int, typer.Option(min=1, help="how many times")] = 5,
    needs: Needs = None,
    runtime: Annotated[str | None, typer.Option(metavar="NAME", help="only this one; else all that can be had")] = None,
    as_json: AsJson = False,
) -> None:
    """Measure how long the stack takes to start, reset and stop, and the memory that each service holds."""
    obstacle = None if runtime else sandbox_obstacle()
    kinds = [runtime] if runtime else [PROCESSES] if obstacle else [SANDBOX, PROCESSES]
    labs = {kind: _lab(kind) for kind in kinds}
    _terminate_like_ctrl_c()
    for lab in labs.values():
        stand.check_needs(lab, needs or ())
    live = LiveLine(real_terminal() if not as_json else sys.stderr)

    def start(lab: settings.Settings, logs: Path) -> processes.ProcessStack:
        return start_stack(lab, run_id=fresh_id(), folder=logs, needs=needs, progress=live)

    def say(what: str) -> None:
        live.arm = what

    figures = stacks.measure({kind: partial(start, lab) for kind, lab in labs.items()}, runs, say)
    if as_json:
        typer.echo(json.dumps({kind: one.as_data() for kind, one in figures.items()}, indent=2))
        return
    console = Console(highlight=False)
    for table in stacks.tables(figures):
        console.print(table)
    if obstacle:
        console.print(f"no sandbox here: {obstacle}", markup=False)


@bench.command(name="overhead")
def bench_overhead(run: Run = LATEST, as_json: AsJson = False) -> None:
    """Show where the time of a run went: what had to be waited for, and what is the lab's own."""
    found = overheads.measure(journal.read(run / "journal"))
    if as_json:
        typer.echo(json.dumps(found.as_data(), indent=2))
    else:
        Console(highlight=False).print(overheads.table(found))


def _lab(runtime: str | None = None) -> settings.Settings:
    lab = settings.load(Path("lab.toml"))
    return lab if runtime is None else lab.on_runtime(runtime)


def _terminate_like_ctrl_c() -> None:
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def _min_executed() -> int:
    file = Path("lab.toml")
    return settings.load(file).min_executed if file.exists() else 0


def main() -> None:
    """Run the command; a LabError is one line on standard error and exit status 2."""
    sys.path.insert(0, str(Path.cwd()))  # a team's own faults/ lie where it works
    _guarded(app)


def _guarded(command: Callable[[], None]) -> None:
    try:
        command()
    except LabError as error:
        print(f"runlab: {error}", file=sys.stderr)
        sys.exit(2)
