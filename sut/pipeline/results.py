"""What the pipeline tells Prometheus: results through the Pushgateway, progress on its own /metrics."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.client import HTTPException
from itertools import product

from prometheus_client import CollectorRegistry, Gauge, push_to_gateway

from sut.migrate.names import DATABASES, Database

log = logging.getLogger("sut.pipeline.results")

JOB = "deploy"
PUSH_TIMEOUT_S = 2.0


class Results:
    """The last result of each step on each database, as the Pushgateway keeps it: until the next push."""

    def __init__(self, gateway_url: str, steps: Sequence[str]) -> None:
        self._url, self._steps = gateway_url, steps
        # One thread: a push whose deployment was stopped meanwhile cannot overtake the next one.
        self._pusher = ThreadPoolExecutor(max_workers=1)
        self._registry = CollectorRegistry()
        self._failed = self._gauge("deploy_step_failed", "1 if the step's last attempt failed.")
        self._seconds = self._gauge("deploy_step_duration_seconds", "How long the step's last attempt took.")
        self._finished = self._gauge("deploy_step_finished_timestamp_seconds", "When the step's last attempt ended.")
        self._clear()

    async def tell(self, step: str, database: Database, *, failed: bool, seconds: float) -> None:
        """Push the result of one attempt. A gateway that cannot be reached costs the metric, not the deployment."""
        self._failed.labels(step, database).set(float(failed))
        self._seconds.labels(step, database).set(seconds)
        self._finished.labels(step, database).set(time.time())
        await self.push()

    async def reset(self) -> bool:
        """Push 0 for every step and database, so that the series exist before a failure; whether that succeeded."""
        self._clear()
        return await self.push()

    async def push(self) -> bool:
        """Push everything as it stands; whether that succeeded."""
        try:
            await asyncio.get_running_loop().run_in_executor(self._pusher, self._push)
        except (OSError, HTTPException) as error:
            log.error("result not pushed", extra={"error": str(error)})  # noqa: TRY400 - the traceback tells no more
            return False
        return True

    def _push(self) -> None:
        push_to_gateway(self._url, job=JOB, registry=self._registry, timeout=PUSH_TIMEOUT_S)

    def _gauge(self, name: str, documentation: str) -> Gauge:
        return Gauge(name, documentation, ["step", "database"], registry=self._registry)

    def _clear(self) -> None:
        for gauge in (self._failed, self._seconds, self._finished):
            for step, database in product(self._steps, DATABASES):
                gauge.labels(step, database).set(0)


def progress_metrics(steps: Sequence[str], running_s: Callable[[str], float | None]) -> CollectorRegistry:
    """`deploy_running` and `deploy_step_running_seconds` of each step, read from `running_s` at each scrape."""
    registry = CollectorRegistry()
    running = Gauge("deploy_running", "1 while the step runs.", ["step"], registry=registry)
    seconds = Gauge(
        "deploy_step_running_seconds", "For how long the step has been running, else 0.", ["step"], registry=registry
    )
    for step in steps:
        running.labels(step).set_function(partial(_is_running, running_s, step))
        seconds.labels(step).set_function(partial(_for_seconds, running_s, step))
    return registry


def _is_running(running_s: Callable[[str], float | None], step: str) -> float:
    return float(running_s(step) is not None)


def _for_seconds(running_s: Callable[[str], float | None], step: str) -> float:
    return running_s(step) or 0.0
