"""The deploy pipeline's states, with short real commands for steps."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from itertools import product
from typing import Any

import pytest
from prometheus_client import generate_latest

from sut.pipeline.deployment import MAX_ATTEMPTS, Pipeline
from sut.pipeline.order import LINT, MIGRATION, REHEARSAL, RELEASE, STEPS, Edition, Order, RefusedError
from sut.pipeline.results import Results, progress_metrics
from sut.pipeline.step import Step

FAILS = ("false",)
WORKS = ("true",)
HANGS = ("sleep", "60")


class Told(Results):
    """Keeps what would have been pushed."""

    def __init__(self) -> None:
        super().__init__("http://127.0.0.1:1", STEPS)
        self.pushed: list[str] = []

    async def push(self) -> bool:
        self.pushed.append(generate_latest(self._registry).decode())
        return True

    def failed(self, step: str = MIGRATION, database: str = "postgres") -> list[str]:
        """The pushed values of deploy_step_failed for one step, in order."""
        start = f'deploy_step_failed{{database="{database}",step="{step}"}} '
        return [
            line.removeprefix(start) for text in self.pushed for line in text.splitlines() if line.startswith(start)
        ]


def pipeline(*migrations: Sequence[str]) -> Pipeline:
    """A pipeline whose migration is each of these commands in turn, then the last one for ever."""

    def steps(order: Order, _: Edition) -> tuple[Step, Step]:
        attempt = max(subject.report.attempts, 1)
        argv = tuple(migrations[min(attempt, len(migrations)) - 1])
        return Step(MIGRATION, (argv,), order.deadline_s), Step(RELEASE, (WORKS,))

    subject = Pipeline(Told(), steps)
    return subject


def of_steps(**commands: Sequence[str]) -> Pipeline:
    """A pipeline of the named steps: LINT=WORKS and so on."""
    steps = tuple(Step(globals()[name], (tuple(argv),)) for name, argv in commands.items())
    return Pipeline(Told(), lambda *_: steps)


def told(subject: Pipeline, step: str = MIGRATION, database: str = "postgres") -> list[str]:
    assert isinstance(subject._results, Told)
    return subject._results.failed(step, database)


def order(**given: Any) -> Order:
    return Order.model_validate({"revision": "r", "deadline_s": 30.0, **given})


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
        results = Results("http://127.0.0.1:1", STEPS)
        subject = Pipeline(results, lambda *_: (Step(MIGRATION, (WORKS,)), Step(RELEASE, (WORKS,))))
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


def test_series_of_every_step_and_database_exist_from_the_start() -> None:
    async def check() -> None:
        subject = pipeline(WORKS)
        assert await subject.reset()
        assert all(told(subject, step, base) == ["0.0"] for step, base in product(STEPS, ("postgres", "mariadb")))

    during(check)


def test_a_failure_is_told_of_the_database_that_it_was_on() -> None:
    async def check() -> None:
        subject = pipeline(FAILS)
        subject.start(order(database="mariadb"))
        await reaches(subject, "failed")
        assert (told(subject, database="mariadb"), told(subject)) == (["1.0"], ["0.0"])
        assert subject.report.database == "mariadb"

    during(check)


@pytest.mark.parametrize(("lint", "rehearsal", "reached", "said"), [
    (FAILS, WORKS, LINT, None),
    (WORKS, FAILS, REHEARSAL, "failed"),
    (WORKS, WORKS, RELEASE, "passed"),
])  # fmt: skip
def test_what_fails_before_the_migration_keeps_it_from_production(
    lint: Sequence[str], rehearsal: Sequence[str], reached: str, said: str | None
) -> None:
    async def check() -> None:
        subject = of_steps(LINT=lint, REHEARSAL=rehearsal, MIGRATION=WORKS, RELEASE=WORKS)
        subject.start(order(release_regardless=True))
        await reaches(subject, "failed", "succeeded")
        report = subject.report
        assert (report.step, report.rehearsal, report.failed_on_production) == (reached, said, 0)
        assert (report.status == "succeeded") is (reached == RELEASE)

    during(check)


@pytest.mark.parametrize(("regardless", "reached"), [(False, MIGRATION), (True, RELEASE)])
def test_a_release_regardless_of_the_migration_does_not_save_the_deployment(*, regardless: bool, reached: str) -> None:
    async def check() -> None:
        subject = of_steps(MIGRATION=FAILS, RELEASE=WORKS)
        subject.start(order(release_regardless=regardless))
        await reaches(subject, "failed", "succeeded")
        report = subject.report
        assert (report.status, report.step, report.failed_on_production) == ("failed", reached, 1)
        assert report.error == "alembic upgrade: ended with status 1"
        assert told(subject, RELEASE)[-1] == "0.0"

    during(check)


def test_a_failed_release_is_no_failure_on_the_production_database() -> None:
    async def check() -> None:
        subject = of_steps(MIGRATION=WORKS, RELEASE=FAILS)
        subject.start(order())
        await reaches(subject, "failed")
        assert (subject.report.error, subject.report.failed_on_production) == ("release: ended with status 1", 0)

    during(check)


def test_the_mended_script_is_taken_from_the_fix_to_the_next_reset() -> None:
    async def check() -> None:
        editions: list[str] = []

        def steps(_: Order, edition: Edition) -> tuple[Step]:
            editions.append(edition)
            return (Step(MIGRATION, (WORKS if edition == "fixed" else FAILS,)),)

        subject = Pipeline(Told(), steps)
        subject.start(order())
        await reaches(subject, "failed")
        assert subject.fix().edition == "fixed"
        await subject.retry()
        await reaches(subject, "succeeded")
        assert subject.start(order()).edition == "fixed"
        await reaches(subject, "succeeded")
        await subject.reset()
        assert subject.start(order()).edition == "candidate"
        await reaches(subject, "failed")
        assert editions == ["candidate"] * 2 + ["fixed"] * 3 + ["candidate"] * 2

    during(check)


def test_an_order_with_no_place_to_go_to_starts_nothing() -> None:
    async def check() -> None:
        def steps(*_: object) -> tuple[Step]:
            raise RefusedError("no place")

        subject = Pipeline(Told(), steps)
        with pytest.raises(RefusedError, match="no place"):
            subject.start(order())
        assert (subject.report.status, subject.order) == ("idle", None)

    during(check)


def test_a_rehearsal_waits_for_staging() -> None:
    async def check() -> None:
        subject = of_steps(REHEARSAL=WORKS)
        async with subject.staging:
            subject.start(order())
            await asyncio.sleep(0.2)
            assert subject.report.status == "running"
        await reaches(subject, "succeeded")

    during(check)
