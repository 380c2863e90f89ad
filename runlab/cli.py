"""The command `runlab`. Scenarios themselves are run by pytest; this is what stands around them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.table import Table

from runlab import heal as healing
from runlab import settings
from runlab.model import LabError
from runlab.reporting.terminal import closing_tables
from runlab.run import report
from runlab.setup.__main__ import CHECKOUT
from runlab.setup.__main__ import main as set_up
from runlab.setup.doctor import examine

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
Run = Annotated[Path, typer.Argument(help="a run's folder", show_default=True)]
LATEST = Path("reports/latest")


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


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def drill(context: typer.Context) -> NoReturn:
    """Run the quiet and the fault arm of every scenario, first fault and case; further options are pytest's."""
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
