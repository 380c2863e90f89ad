"""The deploy pipeline's states, with short real commands for steps."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import pytest
from prometheus_client import generate_latest

from sut.pipeline.deployment import MAX_ATTEMPTS, MIGRATION, RELEASE, Order, Pipeline, RefusedError, steps_of
from sut.pipeline.results import Results, progress_metrics
from sut.pipeline.step import Step

FAILS = ("false",)
WORKS = ("true",)
HANGS = ("sleep", "60")


class Told(Results):
    """Keeps what would have been pushed."""

    def __init__(self) -> None:
        super().__init__("http://127.0.0.1:1", (MIGRATION, RELEASE))
        self.pushed: list[str] = []

    async def push(self) -> bool:
        self.pushed.append(generate_latest(self._registry).decode())
        return True

    def failed(self) -> list[str]:
        """The pushed values of deploy_step_failed for the migration, in order."""
        start = f'deploy_step_failed{{step="{MIGRATION}"}} '
        return [
            line.removeprefix(start) for text in self.pushed for line in text.splitlines() if line.startswith(start)
        ]


def pipeline(*migrations: Sequence[str]) -> Pipeline:
    """A pipeline whose migration is each of these commands in turn, then the last one for ever."""
    left = list(migrations)

    def steps(order: Order) -> tuple[Step, Step]:
        argv = left.pop(0) if len(left) > 1 else left[0]
        return Step(MIGRATION, tuple(argv), order.deadline_s), Step(RELEASE, WORKS)

    return Pipeline(Told(), steps)


def told(subject: Pipeline) -> list[str]:
    assert isinstance(subject._results, Told)
    return subject._results.failed()


def order(retry_every_s: float | None = None, deadline_s: float = 30.0) -> Order:
    return Order(revision="r", deadline_s=deadline_s, retry_every_s=retry_every_s)


async def reaches(subject: Pipeline, *states: str) -> None:
    async with asyncio.timeout(10):
        while subject.report.status not in states:  # noqa: ASYNC110 - the pipeline announces no state
            await asyncio.sleep(0.005)


def during(check: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(check(), 20))


def test_success_is_told_step_by_step() -> None:
    async def check() -> None:
        subject = pipeline(WORKS)
        assert subject.start(order()).status == "running"
        await reaches(subject, "succeeded")
        assert (subject.report.attempts, subject.report.error) == (1, None)
        assert told(subject) == ["0.0", "0.0"]

    during(check)


def test_without_automatic_retry_one_failure_is_the_end() -> None:
    async def check() -> None:
        subject = pipeline(FAILS)
        subject.start(order())
        await reaches(subject, "failed")
        assert subject.report.error == "alembic upgrade: ended with status 1"
        assert told(subject) == ["1.0"]

    during(check)


def test_it_tries_again_by_itself_until_it_succeeds() -> None:
    async def check() -> None:
        subject = pipeline(FAILS, FAILS, WORKS)
        subject.start(order(retry_every_s=0.0))
        await reaches(subject, "succeeded", "failed")
        assert (subject.report.status, subject.report.attempts) == ("succeeded", 3)
        assert told(subject) == ["1.0", "1.0", "0.0", "0.0"]

    during(check)


def test_automatic_attempts_are_bounded() -> None:
    async def check() -> None:
        subject = pipeline(FAILS)
        subject.start(order(retry_every_s=0.0))
        await reaches(subject, "failed")
        assert subject.report.attempts == MAX_ATTEMPTS

    during(check)


def test_an_attempt_past_its_deadline_has_failed() -> None:
    async def check() -> None:
        subject = pipeline(HANGS)
        subject.start(order(deadline_s=0.1))
        await reaches(subject, "failed")
        assert told(subject) == ["1.0"]

    during(check)


@pytest.mark.parametrize(("command", "when"), [(FAILS, "waiting"), (HANGS, "running")])
def test_stopped_means_no_further_attempt_and_no_result(command: Sequence[str], when: str) -> None:
    async def check() -> None:
        subject = pipeline(command)
        subject.start(order(retry_every_s=0.2))
        await reaches(subject, when)
        before = told(subject)
        assert (await subject.stop()).status == "stopped"
        await asyncio.sleep(0.4)
        assert (subject.report.status, subject.report.attempts) == ("stopped", 1)
        assert told(subject) == before

    during(check)


def test_retry_is_one_attempt_and_no_more() -> None:
    async def check() -> None:
        subject = pipeline(FAILS)
        subject.start(order(retry_every_s=30))
        await reaches(subject, "waiting")
        await subject.stop()
        assert (await subject.retry()).status == "running"
        await reaches(subject, "failed", "waiting")
        assert (subject.report.status, subject.report.attempts) == ("failed", 2)

    during(check)


def test_what_makes_no_sense_now_is_refused() -> None:
    async def check() -> None:
        subject = pipeline(HANGS)
        with pytest.raises(RefusedError, match="no deployment to retry"):
            await subject.retry()
        subject.start(order())
        with pytest.raises(RefusedError, match="is running"):
            subject.start(order())
        with pytest.raises(RefusedError, match="is running"):
            await subject.retry()
        await subject.reset()

    during(check)


def test_stopping_what_has_succeeded_or_not_begun_changes_nothing() -> None:
    async def check() -> None:
        subject = pipeline(WORKS)
        assert (await subject.stop()).status == "idle"
        subject.start(order())
        await reaches(subject, "succeeded")
        assert (await subject.stop()).status == "succeeded"

    during(check)


def test_reset_forgets_and_tells_0() -> None:
    async def check() -> None:
        subject = pipeline(FAILS)
        subject.start(order(retry_every_s=0.1))
        await reaches(subject, "waiting")
        assert await subject.reset()
        await asyncio.sleep(0.3)
        assert (subject.report.status, subject.report.attempts) == ("idle", 0)
        assert told(subject) == ["1.0", "0.0"]

    during(check)


def test_a_gateway_that_cannot_be_reached_costs_the_metric_and_not_the_deployment() -> None:
    async def check() -> None:
        results = Results("http://127.0.0.1:1", (MIGRATION, RELEASE))
        subject = Pipeline(results, lambda _: (Step(MIGRATION, WORKS), Step(RELEASE, WORKS)))
        subject.start(order())
        await reaches(subject, "succeeded")
        assert not await subject.reset()

    during(check)


def test_its_own_metrics_show_a_step_that_runs() -> None:
    async def check() -> None:
        subject = pipeline(HANGS)
        registry = progress_metrics((MIGRATION, RELEASE), subject.running_s)

        def value(name: str, step: str) -> float | None:
            return registry.get_sample_value(name, {"step": step})

        assert value("deploy_running", MIGRATION) == value("deploy_step_running_seconds", MIGRATION) == 0
        subject.start(order())
        await asyncio.sleep(0.2)
        assert (value("deploy_running", MIGRATION), value("deploy_running", RELEASE)) == (1, 0)
        assert 0.1 < (value("deploy_step_running_seconds", MIGRATION) or 0) < 10
        await subject.stop()
        assert value("deploy_running", MIGRATION) == value("deploy_step_running_seconds", MIGRATION) == 0

    during(check)


def test_the_migration_is_a_client_process_bounded_as_ordered() -> None:
    migration, release = steps_of(Order(revision="r", lock_timeout="2s", deadline_s=7), "http://api/projects")
    assert migration == Step(
        MIGRATION, (sys.executable, "-m", "sut.migrate", "upgrade", "r"), 7, {"MIGRATION_LOCK_TIMEOUT": "2s"}
    )
    assert Path(migration.argv[0]).is_absolute()
    assert release.argv[-1] == "http://api/projects"
    assert steps_of(Order(revision="r", deadline_s=7), "")[0].environment == {}
