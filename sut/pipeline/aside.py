"""What an operator asks of the pipeline beside its deployment: a rehearsal, the SQL, a stamp."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any

from sut.pipeline.deployment import Pipeline
from sut.pipeline.order import FailedError, Order, RefusedError, Report
from sut.pipeline.plan import Plan
from sut.pipeline.step import Outcome, Step, run


class Aside:
    """Each is about the database, the revision and the edition of the pipeline's last order.

    All raise RefusedError when nothing has been ordered, and FailedError with a command's last words.
    """

    def __init__(self, pipeline: Pipeline, plan: Plan) -> None:
        self._pipeline, self._plan = pipeline, plan
        self._tasks: set[asyncio.Task[Outcome]] = set()

    async def rehearse(self) -> Report:
        """Copy production to staging and migrate the copy; returns when that is done."""
        order = self._order()
        step = self._plan.rehearsal(order, self._pipeline.report.edition, order.rehearse or "full")
        try:
            await self._run(step, self._pipeline.staging)
        except FailedError:
            self._pipeline.report.rehearsal = "failed"
            raise
        self._pipeline.report.rehearsal = "passed"
        return self._pipeline.report

    async def sql(self) -> str:
        """What the migration would execute, as text."""
        step = self._plan.sql(self._order(), self._pipeline.report.edition)
        return (await self._run(step)).output

    async def stamp(self, revision: str) -> None:
        """Note `revision` in alembic_version; the schema stays as it is. RefusedError while a deployment runs."""
        order = self._order()
        if self._pipeline.report.status == "running":
            raise RefusedError(f"the deployment of {order.revision} is running")
        await self._run(self._plan.stamp(order, self._pipeline.report.edition, revision))

    async def end(self) -> None:
        """End the commands of all that is still going on."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _order(self) -> Order:
        if self._pipeline.order is None:
            raise RefusedError("nothing has been ordered yet")
        return self._pipeline.order

    async def _run(self, step: Step, turn: AbstractAsyncContextManager[Any] | None = None) -> Outcome:
        async def in_turn() -> Outcome:
            async with turn or nullcontext():
                return await run(step)

        task = asyncio.create_task(in_turn())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            outcome = await asyncio.shield(task)
        except asyncio.CancelledError:
            if not task.cancelled():
                raise
            raise FailedError(f"{step.name}: ended by a reset") from None
        if outcome.error:
            raise FailedError(outcome.last_words)
        return outcome
