"""One deployment at a time: its steps in order, again after a failure, until it succeeds or somebody stops it."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from sut.pipeline.results import Results
from sut.pipeline.step import Step, run

log = logging.getLogger("sut.pipeline.deployment")

MIGRATION, RELEASE = "alembic upgrade", "release"
STEPS = (MIGRATION, RELEASE)
MAX_ATTEMPTS = 20
RELEASE_DEADLINE_S = 15.0

State = Literal["idle", "running", "waiting", "failed", "succeeded", "stopped"]


class Order(BaseModel):
    """What to deploy. `deadline_s` bounds the migration step; `retry_every_s` null means no automatic retry."""

    revision: Annotated[str, Field(min_length=1)]
    lock_timeout: Annotated[str, Field(min_length=1)] | None = None
    deadline_s: Annotated[float, Field(gt=0)]
    retry_every_s: Annotated[float, Field(ge=0)] | None = None


class Report(BaseModel):
    """Where the deployment stands.

    `waiting` is between two automatic attempts; `attempts` counts those begun; `error` is that of the last to end.
    Times are Unix time in seconds.
    """

    status: State = "idle"
    revision: str | None = None
    attempts: int = 0
    step: str | None = None
    error: str | None = None
    started: float | None = None
    finished: float | None = None


def steps_of(order: Order, release_check_url: str) -> Sequence[Step]:
    """Migrate in a Python process of its own, then see whether the API serves on the new schema."""
    lock_timeout = {"MIGRATION_LOCK_TIMEOUT": order.lock_timeout} if order.lock_timeout else {}
    migrate = (sys.executable, "-m", "sut.migrate", "upgrade", order.revision)
    check = ("curl", "--silent", "--show-error", "--fail", "--output", "/dev/null", "--max-time", "4",
             "--retry", "3", "--retry-delay", "1", release_check_url)  # fmt: skip
    return Step(MIGRATION, migrate, order.deadline_s, lock_timeout), Step(RELEASE, check, RELEASE_DEADLINE_S)


class RefusedError(Exception):
    """The deployment's state does not allow what was asked."""


@dataclass
class _Running:
    step: str
    since: float


class Pipeline:
    """The state of the pipeline; to be used from one event loop."""

    def __init__(self, results: Results, steps: Callable[[Order], Sequence[Step]]) -> None:
        self._results, self._steps = results, steps
        self._order: Order | None = None
        self._task: asyncio.Task[None] | None = None
        self._running: _Running | None = None
        self.report = Report()

    def running_s(self, step: str) -> float | None:
        """For how many seconds `step` has been running; None when it is not."""
        if self._running is None or self._running.step != step:
            return None
        return time.monotonic() - self._running.since

    def start(self, order: Order) -> Report:
        """Begin a deployment. Raises RefusedError while one runs or waits for its next attempt."""
        if self.report.status in {"running", "waiting"}:
            raise RefusedError(f"a deployment of {self.report.revision} is {self.report.status}")
        self._order = order
        self.report = Report(revision=order.revision, started=time.time())
        self._begin(order, automatic=True)
        return self.report

    async def retry(self) -> Report:
        """One more attempt now, in place of any automatic ones. Raises RefusedError without a deployment to retry."""
        if self._order is None:
            raise RefusedError("there is no deployment to retry")
        if self.report.status in {"running", "succeeded"}:
            raise RefusedError(f"the deployment of {self.report.revision} is {self.report.status}")
        await self._cancel()
        self._begin(self._order, automatic=False)
        return self.report

    async def stop(self) -> Report:
        """No further automatic attempt; a running client process is ended. An attempt cut short has no result."""
        await self._cancel()
        if self.report.status in {"running", "waiting", "failed"}:
            self._note("stopped")
        return self.report

    async def reset(self) -> bool:
        """Stop, forget, and push 0 for every step; whether that push succeeded."""
        await self._cancel()
        self._order, self.report = None, Report()
        return await self._results.reset()

    async def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        self._task = self._running = None

    def _begin(self, order: Order, *, automatic: bool) -> None:
        self._count_attempt()
        self._task = asyncio.create_task(self._attempts(order, automatic=automatic))

    async def _attempts(self, order: Order, *, automatic: bool) -> None:
        while not await self._attempt(order):
            if not automatic or order.retry_every_s is None or self.report.attempts >= MAX_ATTEMPTS:
                self._note("failed")
                return
            self._note("waiting")
            await asyncio.sleep(order.retry_every_s)
            self._count_attempt()
        self._note("succeeded")

    def _count_attempt(self) -> None:
        self.report.attempts += 1
        self._note("running")

    async def _attempt(self, order: Order) -> bool:
        for step in self._steps(order):
            log.info("step begins", extra={"step": step.name, "attempt": self.report.attempts})
            self.report.step, self._running = step.name, _Running(step.name, time.monotonic())
            try:
                outcome = await run(step)
            finally:
                self._running = None
            log.info(
                "step ended", extra={"step": step.name, "seconds": round(outcome.seconds, 3), "error": outcome.error}
            )
            await self._results.tell(step.name, failed=outcome.error is not None, seconds=outcome.seconds)
            if outcome.error:
                self.report.error = outcome.error
                return False
        self.report.error = None
        return True

    def _note(self, status: State) -> None:
        over = status in {"failed", "succeeded", "stopped"}
        self.report.status = status
        self.report.finished = time.time() if over else None
        log.info("deployment", extra=self.report.model_dump())
