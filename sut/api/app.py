"""The API as an ASGI application."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from sut.api.database import make_engine
from sut.api.observed import Observed
from sut.api.projects import make_router

log = logging.getLogger("sut.api")


def create_app() -> FastAPI:
    """Make the application with an engine and a metrics registry of its own."""
    engine, registry = make_engine(), CollectorRegistry()
    router = make_router(engine)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        engine.dispose()

    app = FastAPI(title="projects", lifespan=lifespan)
    app.include_router(router)
    app.add_middleware(Observed, registry=registry, routes=tuple(router.routes))

    @app.exception_handler(OperationalError)
    @app.exception_handler(PoolTimeoutError)
    async def database_unavailable(_: Request, error: Exception) -> Response:
        log.error("database unavailable", extra={"error": str(error)})
        return JSONResponse({"detail": "the database is unavailable"}, status_code=503)

    # Both are coroutines and ask nobody: they answer while every worker thread waits for the database.
    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/metrics")
    async def metrics() -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return app
