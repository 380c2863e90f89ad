"""The API as an ASGI application."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from sut.api.observed import Observed
from sut.api.projects import make_router
from sut.api.releases import Release

log = logging.getLogger("sut.api")


@dataclass
class Readiness:
    """Whether a load balancer may send requests. An API that is about to end still answers those that come."""

    ready: bool = True


def create_app(
    release: Release,
    engine: Engine,
    readiness: Readiness,
    more: Sequence[APIRouter] = (),
    registry: CollectorRegistry | None = None,
) -> FastAPI:
    """Make the application, which disposes of `engine` at its end, and shows `registry` (a new one unless given)."""
    registry = registry or CollectorRegistry()
    routers = (make_router(engine, release), *more)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        engine.dispose()

    app = FastAPI(title="projects", version=release.number, lifespan=lifespan)
    for router in routers:
        app.include_router(router)
    routes = tuple(route for router in routers for route in router.routes)
    app.add_middleware(Observed, registry=registry, routes=routes)

    @app.exception_handler(OperationalError)
    @app.exception_handler(PoolTimeoutError)
    async def database_unavailable(_: Request, error: Exception) -> Response:
        log.error("database unavailable", extra={"error": str(error)})
        return JSONResponse({"detail": "the database is unavailable"}, status_code=503)

    # Both are coroutines and ask nobody: they answer while every worker thread waits for the database.
    @app.get("/health")
    async def health(response: Response) -> dict[str, str]:
        response.status_code = 200 if readiness.ready else 503
        return {"status": "ok" if readiness.ready else "ending", "release": release.number}

    @app.get("/metrics")
    async def metrics() -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return app
