"""The pipeline's endpoints for those who deploy and for those who look after a deployment that failed."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import PlainTextResponse

from sut.pipeline.aside import Aside
from sut.pipeline.deployment import Pipeline
from sut.pipeline.order import Order, Report, Revision


def deployment_routes(pipeline: Pipeline) -> APIRouter:
    """Order, look, stop, go on, and put the developers' mended script in place of the first."""
    router = APIRouter()

    @router.post("/deployments", status_code=202)
    async def deploy(order: Order) -> Report:
        return pipeline.start(order)

    @router.get("/deployment")
    async def deployment() -> Report:
        return pipeline.report

    @router.post("/deployment/stop")
    async def stop() -> Report:
        return await pipeline.stop()

    @router.post("/deployment/retry", status_code=202)
    async def retry() -> Report:
        return await pipeline.retry()

    @router.post("/deployment/fix")
    async def fix() -> Report:
        return pipeline.fix()

    return router


def aside_routes(aside: Aside) -> APIRouter:
    """Each answers when it is done: 409 with the command's last words if it failed."""
    router = APIRouter()

    @router.post("/rehearsal")
    async def rehearse() -> Report:
        return await aside.rehearse()

    @router.get("/deployment/sql", response_class=PlainTextResponse)
    async def sql() -> str:
        return await aside.sql()

    @router.post("/deployment/stamp/{revision}")
    async def stamp(revision: Revision) -> dict[str, str]:
        await aside.stamp(revision)
        return {"stamped": revision}

    return router
