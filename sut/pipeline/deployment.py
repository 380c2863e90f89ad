"""One deployment at a time: its steps in order, again after a failure, until it succeeds or somebody stops it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass

from sut.pipeline.order import MIGRATION, REHEARSAL, Edition, Order, RefusedError, Report, State
from sut.pipeline.results import Results
from sut.pipeline.step import Step, run

log = logging.getLogger("sut.pipeline.deployment")

MAX_ATTEMPTS = 20


@dataclass
class _Running:
    step: str
    since: float


class Pipeline:
    """The state of the pipeline; to be used from one event loop."""

    def __init__(self, results: Results, steps: Callable[[Order, Edition], Sequence[Step]]) -> None:
        self._results, self._steps = results, steps
        self.staging = asyncio.Lock()
        """Held by whoever rehearses: there is one staging."""
        self.order: Order | None = None
        self._task: asyncio.Task[None] | None = None
        self._running: _Running | None = None
        self.report = Report()

    def running_s(self, step: str) -> float | None:
        """For how many seconds `step` has been running; None when it is not."""
        if self._running is None or self._running.step != step:
            return None
        return time.monotonic() - self._running.since

    def start(self, order: Order) -> Report:
        """Begin a deployment. Raises RefusedError while one runs or waits, and for what has no place to go to."""
        if self.report.status in {"running", "waiting"}:
            raise RefusedError(f"a deployment of {self.report.revision} is {self.report.status}")
        edition = self.report.edition
        self._steps(order, edition)
        self.order = order
        self.report = Report(revision=order.revision, database=order.database, edition=edition, started=time.time())
        self._begin(order, automatic=True)
        return self.report

    async def retry(self) -> Report:
        """One more attempt now, in place of any automatic ones. Raises RefusedError without a deployment to retry."""
        if self.order is None:
            raise RefusedError("there is no deployment to retry")
        if self.report.status in {"running", "succeeded"}:
            raise RefusedError(f"the deployment of {self.report.revision} is {self.report.status}")
        await self._cancel()
        self._begin(self.order, automatic=False)
        return self.report

    async def stop(self) -> Report:
        """No further automatic attempt; a running client process is ended. An attempt cut short has no result."""
        await self._cancel()
        if self.report.status in {"running", "waiting", "failed"}:
            self._note("stopped")
        return self.report

    def fix(self) -> Report:
        """From now on the migration script is the one that its developers mended."""
        self.report.edition = "fixed"
        log.info("the developers' mended script is taken from now on", extra={"edition": self.report.edition})
        return self.report

    async def reset(self) -> bool:
        """Stop, forget, and push 0 for every step; whether that push succeeded."""
        await self._cancel()
        self.order, self.report = None, Report()
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
        error = None
        for step in self._steps(order, self.report.edition):
            failure = await self._carry_out(step, order)
            error = error or failure
            if failure and not (step.name == MIGRATION and order.release_regardless):
                break
        self.report.error = error
        return error is None

    async def _carry_out(self, step: Step, order: Order) -> str | None:
        log.info("step begins", extra={"step": step.name, "attempt": self.report.attempts})
        self.report.step, self._running = step.name, _Running(step.name, time.monotonic())
        try:
            async with self.staging if step.name == REHEARSAL else nullcontext():
                outcome = await run(step)
        finally:
            self._running = None
        failed = outcome.error is not None
        log.info("step ended", extra={"step": step.name, "seconds": round(outcome.seconds, 3), "error": outcome.error})
        if step.name == REHEARSAL:
            self.report.rehearsal = "failed" if failed else "passed"
        elif step.name == MIGRATION:
            self.report.failed_on_production += failed
        await self._results.tell(step.name, order.database, failed=failed, seconds=outcome.seconds)
        return outcome.error

    def _note(self, status: State) -> None:
        over = status in {"failed", "succeeded", "stopped"}
        self.report.status = status
        self.report.finished = time.time() if over else None
        log.info("deployment", extra=self.report.model_dump())
