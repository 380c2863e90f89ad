"""The pytest plugin: scenarios are ordinary tests, and the verdicts stand at their end.

It does nothing in a session that collects no scenario. Verifiers join by the hook `pytest_runlab_watchers`.
"""

from __future__ import annotations

import inspect
import os
import shlex
import signal
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from runlab import journal, judge, settings
from runlab.arm import Arm, ArmSpec, Conduct
from runlab.journal import Journal
from runlab.laboratory import Laboratory, alert_floors, scaled_rules
from runlab.model import JsonObject, LabError, Signal, Stack, Watcher
from runlab.plan import ARMS, Plan, specs
from runlab.reporting.live import LiveLine, real_terminal
from runlab.reporting.terminal import before_tests, closing_tables
from runlab.reporting.write import point_latest, write_all
from runlab.scenario import Experiment
from runlab.stack import processes

pytest.register_assert_rewrite("runlab.scenario")

UNUSABLE = 2
"""Exit status for bad input, missing means, and a run in which nothing was executed."""


class Hooks:
    """What this plugin asks of others."""

    @pytest.hookspec
    def pytest_runlab_watchers(  # type: ignore[empty-body]
        self, stack: Stack, journal: Journal, signals: tuple[Signal, ...], time_scale: float
    ) -> list[Watcher]:
        """Watchers that should watch these signals for the whole run."""


@dataclass
class Run:
    """One run, from the plan to its report."""

    settings: settings.Settings
    time_scale: float
    id: str
    live: LiveLine
    plan: Plan | None = None
    arms: list[str] = field(default_factory=list)
    journal: Journal | None = None
    results: JsonObject | None = None

    @property
    def folder(self) -> Path:
        return self.settings.path(self.settings.stack.reports) / self.id


RUN = pytest.StashKey[Run]()
OUTCOME = pytest.StashKey[tuple[str, str]]()


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    pluginmanager.add_hookspecs(Hooks)


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("runlab", "runbook lab")
    group.addoption("--lab", default="lab.toml", metavar="FILE", help="settings (lab.toml)")
    group.addoption("--runbooks", metavar="PATH", help="a file or folder of runbooks, instead of lab.toml's")
    group.addoption("--time-scale", type=float, metavar="N", help="divide the durations of alert rules by N")
    group.addoption("--drill", action="store_true", help="only the quiet and the fault arm, first fault and case")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if metafunc.cls and issubclass(metafunc.cls, Experiment) and metafunc.function.__name__ in ARMS:
        arms = list(specs(metafunc.cls, metafunc.function.__name__))
        metafunc.parametrize("arm", arms, indirect=True, ids=[_id(spec) for spec in arms])


def _id(spec: ArmSpec) -> str:
    fault = spec.fault.name if spec.fault and spec.name != "quiet" else ""
    return "-".join(filter(None, (fault, spec.case.replace(" ", "_")))) or spec.name


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    trials = [item for item in items if _spec(item) is not None]
    if not trials:
        return
    if config.getoption("drill"):
        kept = _drill(trials)
        config.hook.pytest_deselected(items=[item for item in items if item not in kept])
        items[:] = trials = kept
    experiments = dict.fromkeys(item.cls for item in trials if isinstance(item, pytest.Function))
    try:
        run = _open(config)
        runbooks = config.getoption("runbooks")
        run.plan = Plan.make(Path(runbooks) if runbooks else run.settings.path(run.settings.runbooks), experiments)
    except LabError as error:
        _give_up(error)
    run.arms = [spec.id for item in trials if (spec := _spec(item))]
    config.stash[RUN] = run
    for item in trials:
        spec = _spec(item)
        assert spec is not None
        marker = spec.runbook.replace("-", "").lower()
        config.addinivalue_line("markers", f"{marker}: scenarios of {spec.runbook}")
        item.add_marker(marker)


def _spec(item: pytest.Item) -> ArmSpec | None:
    found = getattr(item, "callspec", None)
    spec = found.params.get("arm") if found else None
    return spec if isinstance(spec, ArmSpec) else None


def _drill(trials: list[pytest.Item]) -> list[pytest.Item]:
    """The quiet and the fault arm of every scenario, each with its first fault and case."""
    first: dict[tuple[str, str], pytest.Item] = {}
    for item in trials:
        spec = _spec(item)
        if spec and spec.name in ("quiet", "fault"):
            first.setdefault((spec.experiment, spec.name), item)
    return list(first.values())


def _open(config: pytest.Config) -> Run:
    """Settings, time scale and a fresh run id. Raises LabError."""
    lab = settings.load(Path(config.getoption("lab")))
    scale = config.getoption("time_scale") or lab.time_scale
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    return Run(lab, scale, f"{stamp}-{uuid.uuid4().hex[:4]}", LiveLine(real_terminal()))


def _give_up(error: Exception) -> None:
    """End the whole session at once with one line."""
    pytest.exit(f"runlab: {error}", returncode=UNUSABLE)


@pytest.hookimpl(hookwrapper=True)
def pytest_make_collect_report() -> Iterator[None]:
    """A LabError while a module is imported is for people, so it ends the session in one line."""
    outcome = yield
    report: pytest.CollectReport = outcome.get_result()  # type: ignore[attr-defined]
    call = getattr(report, "call", None)
    if call is not None and call.excinfo is not None and isinstance(call.excinfo.value, LabError):
        _give_up(call.excinfo.value)


# ---------------------------------------------------------------------------------------------------- fixtures


@pytest.fixture(scope="session")
def laboratory(request: pytest.FixtureRequest) -> Iterator[Laboratory]:
    """The running stack with all its watchers, for the whole session."""
    config = request.config
    run = config.stash[RUN]
    assert run.plan is not None
    signal.signal(signal.SIGTERM, _terminated)
    try:
        run.folder.mkdir(parents=True)
        run.journal = Journal(run.folder / "journal", run.id)
    except OSError as error:
        _give_up(LabError(f"cannot be written: {error.strerror}", where=str(run.folder), mend="mend its rights"))
    assert run.journal is not None
    run.journal.write("run-start", schema=1, command=shlex.join(["pytest", *sys.argv[1:]]), seed=run.id)
    run.journal.write("claims", **run.plan.claims_event())
    try:
        stack = processes.start(
            run.settings.path(run.settings.stack.compose),
            reports=run.folder,
            run_id=run.id,
            time_scale=run.time_scale,
            rules=scaled_rules(run.time_scale),
            progress=run.live,
        )
    except LabError as error:
        _give_up(error)
    watchers: list[Watcher] = []
    try:
        run.journal.write("stack", control=str(stack.control), capabilities=sorted(stack.capabilities))
        run.journal.write("environment", environment=stack.environment())
        run.journal.write("plan", **run.plan.plan_event(run.arms, stack.capabilities))
        found = config.hook.pytest_runlab_watchers(
            stack=stack, journal=run.journal, signals=run.plan.signals(), time_scale=run.time_scale
        )
        watchers += [watcher for some in found for watcher in some]
        yield Laboratory(
            stack=stack,
            journal=run.journal,
            watchers=watchers,
            runbooks=run.plan.runbooks,
            steps=run.plan.steps,
            bindings=run.plan.bindings,
            not_signals=run.plan.not_signals,
            console=run.settings.console,
            progress=run.live,
            stop_at_once=bool(config.getoption("usepdb")),
            alert_floor_s=alert_floors(run.settings, run.plan.runbooks, run.time_scale),
        )
    finally:
        for watcher in watchers:
            watcher.close()
        stack.stop()


def _terminated(number: int, frame: object) -> None:  # noqa: ARG001 -- the signature that signal wants
    raise KeyboardInterrupt


@pytest.fixture
def arm(request: pytest.FixtureRequest, laboratory: Laboratory) -> Iterator[Arm]:
    """One arm of the test's experiment; its fault is undone here, after the test and after any debugger."""
    spec: ArmSpec = request.param
    lacks = sorted((spec.fault.needs if spec.fault else frozenset()) - laboratory.stack.capabilities)
    if lacks:
        laboratory.journal.write("unplanned", scenario=spec.experiment, needs=lacks)
        pytest.skip(f"needs {', '.join(lacks)}")
    _live(request.config).arm = spec.id

    def fill(method: Callable[..., Any]) -> Callable[[], Any]:
        names = list(inspect.signature(method).parameters)
        return lambda: method(**{name: request.getfixturevalue(name) for name in names})

    experiment = request.instance
    conduct = Conduct(
        trigger=fill(experiment.trigger),
        goal=fill(getattr(experiment, "goal", lambda: True)),
        state=fill(experiment.state),
        truth=fill(experiment.truth),
    )
    running = Arm(laboratory, spec, conduct)
    yield running
    running.close(*request.node.stash.get(OUTCOME, ("error", "the test did not run")))


def _live(config: pytest.Config) -> LiveLine:
    return config.stash[RUN].live


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    outcome = yield
    report: pytest.TestReport = outcome.get_result()  # type: ignore[attr-defined]
    if call.when == "call":
        message = str(call.excinfo.value) if call.excinfo else ""
        item.stash[OUTCOME] = (report.outcome, message)
    if _spec(item) is not None and call.excinfo is not None and isinstance(call.excinfo.value, AssertionError):
        report.longrepr = str(call.excinfo.value)  # the sentence and what was seen; the method's own lines say nothing


# ---------------------------------------------------------------------------------------------- before and after


def pytest_runtestloop(session: pytest.Session) -> None:
    run = session.config.stash.get(RUN, None)
    if run is None or run.plan is None or session.config.option.collectonly:
        return
    event = run.plan.plan_event(run.arms, frozenset())
    _console(session.config).print(before_tests(event, claims=run.plan.claims_event()))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    run = session.config.stash.get(RUN, None)
    if run is None or run.journal is None:
        return
    run.journal.write("run-end", exit_status=int(exitstatus))
    run.journal.close()
    events = journal.read(run.folder / "journal")
    run.results = judge.results(events)
    write_all(run.results, events, run.folder)
    point_latest(run.folder)
    judged = judge.exit_status(run.results, min_executed=run.settings.min_executed)
    if int(exitstatus) in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED) and judged > int(exitstatus):
        session.exitstatus = judged


def pytest_terminal_summary(config: pytest.Config) -> None:
    run = config.stash.get(RUN, None)
    if run is None or run.results is None:
        return
    console = _console(config)
    for table in closing_tables(run.results, report=run.folder / "index.html"):
        console.print(table)


def _console(config: pytest.Config) -> Console:
    """Writes where pytest writes; as wide as the terminal, or 100 columns where there is none."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    stream = reporter._tw._file if reporter else sys.stdout  # noqa: SLF001 -- pytest offers no public way to its stream
    width = None if stream.isatty() else int(os.environ.get("COLUMNS", "100"))
    return Console(file=stream, width=width, highlight=False)
