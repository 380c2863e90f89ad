"""The pytest plugin: scenarios are ordinary tests, and the verdicts stand at their end.

It does nothing in a session that collects no scenario. Verifiers join by the hook `pytest_runlab_watchers`.
"""

from __future__ import annotations

import inspect
import os
import shlex
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import pytest
from rich.console import Console

from runlab import settings
from runlab.arm import Arm, ArmSpec
from runlab.journal import Journal
from runlab.laboratory import Laboratory
from runlab.model import LabError, Signal, Stack, Watcher
from runlab.plan import ARMS, Plan, specs
from runlab.playground.keep import NoTerminalError, Terminal, hold
from runlab.reporting.digest import absence
from runlab.reporting.live import LiveLine, real_terminal
from runlab.reporting.terminal import before_tests, closing_tables
from runlab.run import Run
from runlab.runbook import display
from runlab.scenario import Experiment
from runlab.situation import Conduct

CONDUCT = ("arrange", "trigger", "goal", "state", "truth", "innocents", "premise", "measured")
"""What an experiment contributes as methods, each of which asks for pytest fixtures by name."""

UNUSABLE = 2
"""Exit status for bad input, missing means, and a run in which nothing was executed."""

RUN = pytest.StashKey[Run]()
TABLES = pytest.StashKey[list[Any]]()
OUTCOME = pytest.StashKey[tuple[str, str]]()
TERMINAL = pytest.StashKey[Terminal]()
"""Where --keep is to hold a failed test's stack; there until it has."""


class Hooks:
    """What this plugin asks of others."""

    @pytest.hookspec
    def pytest_runlab_watchers(  # type: ignore[empty-body]
        self, stack: Stack, journal: Journal, signals: Sequence[Signal], time_scale: float
    ) -> list[Watcher]:
        """Watchers that should watch these signals for the whole run."""


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    pluginmanager.add_hookspecs(Hooks)


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("runlab", "runbook lab")
    group.addoption("--lab", default="lab.toml", metavar="FILE", help="settings (lab.toml)")
    group.addoption("--runbooks", metavar="PATH", help="a file or folder of runbooks, instead of lab.toml's")
    group.addoption("--time-scale", metavar="N", help="divide the durations of alert rules by N")
    group.addoption("--runtime", metavar="NAME", help="embedded, sandbox or processes, instead of lab.toml's")
    group.addoption("--drill", action="store_true", help="only a quiet and a fault arm per runbook")
    group.addoption(
        "--keep",
        action="store_true",
        help="hold the stack of the first failed test, its fault in effect, until Ctrl-D; then go on with the tests "
        "that are left (with -x: to the report). Ctrl-C ends the run. Needs a terminal",
    )


# -------------------------------------------------------------------------------------------------- collection


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if metafunc.cls and issubclass(metafunc.cls, Experiment) and metafunc.function.__name__ in ARMS:
        arms = list(specs(metafunc.cls, metafunc.function.__name__))
        metafunc.parametrize("arm", arms, indirect=True, ids=[_id(spec) for spec in arms])


def _id(spec: ArmSpec) -> str:
    fault = spec.fault.name if spec.fault and spec.name != "quiet" else ""
    return "-".join(filter(None, (fault, spec.case.replace(" ", "_"))))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """A LabError while a module is imported is for people, so it ends the session in one line."""
    report = yield
    call = getattr(report, "call", None)
    if call is not None and call.excinfo is not None and isinstance(call.excinfo.value, LabError):
        _give_up(call.excinfo.value)
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> Generator[None]:
    """Mark what was collected; once -k and -m have chosen, bind everything, before anything is started."""
    collected = [item for item in items if isinstance(item, pytest.Function) and _spec(item)]
    for item in collected:
        marker = item.cls.runbook.replace("-", "").lower()
        config.addinivalue_line("markers", f"{marker}: scenarios of {item.cls.runbook}")
        item.add_marker(marker)
    yield
    trials = {item: spec for item in items if (spec := _spec(item)) is not None}
    if not trials:
        return
    if config.getoption("drill"):
        kept = _drill(trials)
        config.hook.pytest_deselected(items=[item for item in items if item not in kept])
        items[:] = list(kept)
        trials = kept
    experiments = dict.fromkeys(item.cls for item in collected)  # also those that were not chosen: they stay planned
    try:
        for trial in trials:
            _check_fixtures(trial)
        lab = settings.load(Path(config.getoption("lab")))
        if (time_scale := config.getoption("time_scale")) is not None:
            lab = lab.scaled(time_scale)
        if (runtime := config.getoption("runtime")) is not None:
            lab = lab.on_runtime(runtime)
        runbooks = config.getoption("runbooks")
        config.stash[RUN] = Run(
            settings=lab,
            plan=Plan.make(Path(runbooks) if runbooks else lab.path(lab.runbooks), experiments, trials.values()),
            arms=[spec.id for spec in trials.values()],
            command=shlex.join(["pytest", *sys.argv[1:]]),
            live=LiveLine(real_terminal()),
            stop_at_once=bool(config.getoption("usepdb")),
        )
    except LabError as error:
        _give_up(error)


def _check_fixtures(item: pytest.Item) -> None:
    """Refuse what would only be missed once the stack runs: a fixture that a scenario's method asks for in vain."""
    assert isinstance(item, pytest.Function)
    manager = item.session._fixturemanager  # noqa: SLF001 -- pytest offers no public way to ask before it runs a test
    for method in (getattr(item.cls, name) for name in CONDUCT if hasattr(item.cls, name)):
        for name in list(inspect.signature(method).parameters)[1:]:
            if name != "request" and not manager.getfixturedefs(name, item):
                code = method.__code__
                raise LabError(
                    f"{method.__qualname__} asks for the fixture {name}, which nobody defines",
                    where=f"{display(Path(code.co_filename))}:{code.co_firstlineno}",
                    mend="mend its name, or define it in conftest.py",
                )


def _spec(item: pytest.Item) -> ArmSpec | None:
    found = getattr(item, "callspec", None)
    spec = found.params.get("arm") if found else None
    return spec if isinstance(spec, ArmSpec) else None


def _drill(trials: dict[pytest.Item, ArmSpec]) -> dict[pytest.Item, ArmSpec]:
    """The quiet and the fault arm of each runbook's first scenario, with its first fault and case."""
    first: dict[tuple[str, str], pytest.Item] = {}
    chosen: dict[str, str] = {}
    for item, spec in trials.items():
        if spec.name in ("quiet", "fault") and chosen.setdefault(spec.runbook, spec.experiment) == spec.experiment:
            first.setdefault((spec.runbook, spec.name), item)
    return {item: trials[item] for item in first.values()}


def _give_up(error: LabError) -> NoReturn:
    """End the whole session at once with one line."""
    pytest.exit(f"runlab: {error}", returncode=UNUSABLE)


# ------------------------------------------------------------------------------------------------- one arm


def pytest_runtestloop(session: pytest.Session) -> None:
    """Start the stack once, before the first test, and say what will be executed and what can't be."""
    config = session.config
    run = config.stash.get(RUN, None)
    if run is None or config.option.collectonly:
        return
    if not config.hook.pytest_runlab_watchers.get_hookimpls():
        _give_up(LabError("nobody watches", where="conftest.py", mend='write pytest_plugins = ["verifiers.plugin"]'))
    try:
        plan = run.open(lambda *stack_journal_signals: _watchers(config, run, *stack_journal_signals))
    except LabError as error:
        _give_up(error)
    assert run.laboratory is not None
    lab = run.laboratory
    _console(config).print(before_tests(plan, run.plan.claims_event(), lab.stack.runtime, lab.missing))
    if config.getoption("keep"):
        try:
            config.stash[TERMINAL] = Terminal()
        except NoTerminalError as error:
            _console(config).print(f"--keep: {error}, so nothing will be kept", markup=False)


def _watchers(
    config: pytest.Config, run: Run, stack: Stack, journal: Journal, signals: Sequence[Signal]
) -> list[Watcher]:
    try:
        offered = config.hook.pytest_runlab_watchers(
            stack=stack, journal=journal, signals=signals, time_scale=run.settings.time_scale
        )
    except Exception as error:
        raise LabError(f"the watchers could not begin: {type(error).__name__}: {error}") from error
    watchers = [watcher for some in offered for watcher in some]
    if not watchers:
        raise LabError("no watcher was offered", mend="see pytest_runlab_watchers")
    return watchers


@pytest.fixture(scope="session")
def laboratory(request: pytest.FixtureRequest) -> Laboratory:
    """The running stack with all its watchers."""
    laboratory = request.config.stash[RUN].laboratory
    assert laboratory is not None
    return laboratory


@pytest.fixture
def arm(request: pytest.FixtureRequest, laboratory: Laboratory) -> Iterator[Arm]:
    """One arm of the test's experiment; its fault is undone here, after the test and after any debugger."""
    spec: ArmSpec = request.param
    lacks = sorted(spec.needs - laboratory.stack.capabilities)
    if lacks:
        pytest.skip("lacks " + "; lacks ".join(absence(need, laboratory.missing) for need in lacks))
    request.config.stash[RUN].live.arm = spec.id

    def fill(method: Callable[..., Any]) -> Callable[[], Any]:
        names = list(inspect.signature(method).parameters)
        return lambda: method(**{name: request.getfixturevalue(name) for name in names})

    experiment = request.instance
    conduct = Conduct(**{name: fill(getattr(experiment, name, lambda: True)) for name in CONDUCT})
    running = Arm(laboratory, spec, conduct)
    yield running
    try:
        _keep(request, running)
    finally:
        running.close(*request.node.stash.get(OUTCOME, ("error", "it was broken off")))


def _keep(request: pytest.FixtureRequest, running: Arm) -> None:
    """With --keep, hold the stack of the first failed test as the test left it."""
    outcome, message = request.node.stash.get(OUTCOME, ("", ""))
    terminal = request.config.stash.get(TERMINAL, None)
    if terminal is None or outcome != "failed":
        return
    del request.config.stash[TERMINAL]
    run = request.config.stash[RUN]
    if not hold(terminal, run, running, message):
        request.session.shouldstop = "--keep: it was Ctrl-C, or the stack has ended"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Keep the outcome for the arm's end; show the sentence and what was seen, not the method's own lines."""
    report = yield
    if _spec(item) is None:
        return report
    error = call.excinfo.value if call.excinfo else None
    if call.when == "call":
        item.stash[OUTCOME] = (report.outcome, str(error or ""))
    if isinstance(error, AssertionError | LabError | TimeoutError):
        report.longrepr = str(error)
    if isinstance(error, LabError):
        item.session.shouldfail = f"runlab: {error}"  # the stack is gone, or never fitted: nothing more can be tried
    return report


# --------------------------------------------------------------------------------------------------- the end


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """After all fixtures are torn down: end the stack, judge the journal, and let the verdicts decide the status."""
    run = session.config.stash.get(RUN, None)
    if run is None:
        return
    try:
        run.close(int(exitstatus))
        if run.laboratory is None:
            return
        results = run.report()
    except LabError as error:
        session.exitstatus = UNUSABLE
        if session.shouldfail != (said := f"runlab: {error}"):
            _console(session.config).print(f"\n{said}", markup=False)
        return
    session.config.stash[TABLES] = closing_tables(results, report=run.folder / "index.html")
    if int(exitstatus) in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        session.exitstatus = max(int(exitstatus), results["run"]["exit_status"])


def pytest_terminal_summary(config: pytest.Config) -> None:
    console = _console(config)
    for table in config.stash.get(TABLES, []):
        console.print(table)


def _console(config: pytest.Config) -> Console:
    """Writes where pytest writes; as wide as the terminal, or 100 columns where there is none."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    stream = reporter._tw._file if reporter else sys.stdout  # noqa: SLF001 -- pytest offers no public way to its stream
    width = None if stream.isatty() else int(os.environ.get("COLUMNS", "100"))
    return Console(file=stream, width=width, highlight=False)
