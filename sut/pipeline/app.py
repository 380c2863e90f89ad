"""The pipeline's HTTP interface."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from sut.pipeline.deployment import STEPS, Order, Pipeline, RefusedError, Report, steps_of
from sut.pipeline.results import Results, progress_metrics

log = logging.getLogger("sut.pipeline")

FIRST_PUSH_EVERY_S = 0.2


def create_app(gateway_url: str, release_check_url: str) -> FastAPI:
    """Make the pipeline; it pushes to the Pushgateway at `gateway_url`."""
    results = Results(gateway_url, STEPS)
    pipeline = Pipeline(results, partial(steps_of, release_check_url=release_check_url))
    registry = progress_metrics(STEPS, pipeline.running_s)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        first = asyncio.create_task(_first_push(results))
        yield
        first.cancel()
        await pipeline.stop()

    app = FastAPI(title="deploy pipeline", lifespan=lifespan)

    @app.exception_handler(RefusedError)
    async def refused(_: Request, error: Exception) -> Response:
        return JSONResponse({"detail": str(error)}, status_code=409)

    @app.post("/deployments", status_code=202)
    async def deploy(order: Order) -> Report:
        return pipeline.start(order)

    @app.get("/deployment")
    async def deployment() -> Report:
        return pipeline.report

    @app.post("/deployment/stop")
    async def stop() -> Report:
        return await pipeline.stop()

    @app.post("/deployment/retry", status_code=202)
    async def retry() -> Report:
        return await pipeline.retry()

    @app.post("/reset")
    async def reset(response: Response) -> dict[str, bool]:
        pushed = await pipeline.reset()
        response.status_code = 200 if pushed else 502
        return {"pushed": pushed}

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/metrics")
    async def metrics() -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return app


async def _first_push(results: Results) -> None:
    """The gateway may start after the pipeline; the series must exist before the first deployment all the same."""
    while not await results.push():  # noqa: ASYNC110 - another server's state, which no event announces
        await asyncio.sleep(FIRST_PUSH_EVERY_S)
