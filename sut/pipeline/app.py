"""The pipeline as an ASGI application."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from sut.pipeline.aside import Aside
from sut.pipeline.deployment import Pipeline
from sut.pipeline.order import STEPS, FailedError, RefusedError
from sut.pipeline.plan import Plan
from sut.pipeline.results import Results, progress_metrics
from sut.pipeline.routes import aside_routes, deployment_routes

FIRST_PUSH_EVERY_S = 0.2


def create_app(gateway_url: str, plan: Plan) -> FastAPI:
    """Make the pipeline; it pushes to the Pushgateway at `gateway_url`."""
    results = Results(gateway_url, STEPS)
    pipeline = Pipeline(results, plan.steps)
    aside = Aside(pipeline, plan)
    registry = progress_metrics(STEPS, pipeline.running_s)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        first = asyncio.create_task(_first_push(results))
        yield
        first.cancel()
        await aside.end()
        await pipeline.stop()

    app = FastAPI(title="deploy pipeline", lifespan=lifespan)
    app.include_router(deployment_routes(pipeline))
    app.include_router(aside_routes(aside))

    @app.exception_handler(RefusedError)
    @app.exception_handler(FailedError)
    async def not_done(_: Request, error: Exception) -> Response:
        return JSONResponse({"detail": str(error)}, status_code=409)

    @app.post("/reset")
    async def reset(response: Response) -> dict[str, bool]:
        await aside.end()
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
