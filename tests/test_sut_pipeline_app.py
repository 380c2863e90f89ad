"""The pipeline's HTTP interface, with short real commands in place of migrations and no gateway."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from sut.pipeline.app import create_app
from sut.pipeline.order import MIGRATION, REHEARSAL, Order
from sut.pipeline.plan import Plan
from sut.pipeline.step import Step

HANGS = "sleep 60"


@dataclass(frozen=True)
class Scripted(Plan):
    """What each thing runs, as a line of sh; `$MIGRATION_EDITION` and `$ARG` are set."""

    migration: str = "true"
    rehearses: str = "true"
    prints: str = "true"
    stamps: str = "true"

    def steps(self, order: Order, edition: str) -> tuple[Step, ...]:
        return (self._step(MIGRATION, self.migration, edition),)

    def rehearsal(self, order: Order, edition: str, copy: str) -> Step:
        return self._step(REHEARSAL, self.rehearses, edition, copy)

    def sql(self, order: Order, edition: str) -> Step:
        return self._step("sql", self.prints, edition)

    def stamp(self, order: Order, edition: str, revision: str) -> Step:
        return self._step("stamp", self.stamps, edition, revision)

    def _step(self, name: str, line: str, edition: str, argument: str = "") -> Step:
        return Step(name, (("sh", "-c", line),), 20.0, {"MIGRATION_EDITION": edition, "ARG": argument})


def asked(plan: Plan, check: Callable[[httpx.AsyncClient], Awaitable[None]]) -> None:
    app: FastAPI = create_app("http://127.0.0.1:1", plan)

    async def ask() -> None:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://pipeline") as client:
            await asyncio.wait_for(check(client), 20)

    asyncio.run(ask())


async def deployed(client: httpx.AsyncClient, **given: Any) -> dict[str, Any]:
    answer = await client.post("/deployments", json={"revision": "r", "deadline_s": 9, **given})
    assert answer.status_code == 202, answer.text
    return await over(client)


async def over(client: httpx.AsyncClient) -> dict[str, Any]:
    """Wait until the deployment is over."""
    while (report := (await client.get("/deployment")).json())["status"] == "running":  # noqa: ASYNC110 - announced to nobody
        await asyncio.sleep(0.01)
    return dict(report)


@pytest.mark.parametrize("path", ["/rehearsal", "/deployment/stamp/r", "/deployment/retry"])
def test_without_an_order_there_is_nothing_to_do(path: str) -> None:
    async def check(client: httpx.AsyncClient) -> None:
        assert (await client.post(path)).status_code == 409
        assert (await client.get("/deployment/sql")).status_code == 409

    asked(Scripted(), check)


def test_fix_then_rehearse_then_retry() -> None:
    only_fixed = "echo the table is full >&2; test $MIGRATION_EDITION = fixed"

    async def check(client: httpx.AsyncClient) -> None:
        assert (await deployed(client))["status"] == "failed"
        answer = await client.post("/rehearsal")
        assert (answer.status_code, answer.json()) == (409, {"detail": "the table is full"})
        assert (await client.get("/deployment")).json()["rehearsal"] == "failed"
        assert (await client.post("/deployment/fix")).json()["edition"] == "fixed"
        answer = await client.post("/rehearsal")
        assert (answer.status_code, answer.json()["rehearsal"]) == (200, "passed")
        assert (await client.post("/deployment/retry")).status_code == 202
        assert (await over(client))["status"] == "succeeded"

    asked(Scripted(migration=only_fixed, rehearses=only_fixed), check)


@pytest.mark.parametrize(("ordered", "copy"), [(None, "full"), ("sanitized", "sanitized")])
def test_a_rehearsal_takes_the_copy_that_was_ordered_else_a_full_one(ordered: str | None, copy: str) -> None:
    async def check(client: httpx.AsyncClient) -> None:
        await deployed(client, rehearse=ordered)
        assert (await client.post("/rehearsal")).json()["detail"] == copy

    asked(Scripted(rehearses="echo $ARG; false"), check)


def test_the_sql_is_plain_text_as_printed() -> None:
    async def check(client: httpx.AsyncClient) -> None:
        await deployed(client)
        answer = await client.get("/deployment/sql")
        assert answer.headers["content-type"].startswith("text/plain")
        assert answer.text == "BEGIN;\n\nCOMMIT;\n"

    asked(Scripted(prints=r"printf 'BEGIN;\n\nCOMMIT;\n'; echo INFO >&2"), check)


def test_a_stamp_says_what_it_noted_or_why_not() -> None:
    async def check(client: httpx.AsyncClient) -> None:
        await deployed(client)
        assert (await client.post("/deployment/stamp/known")).json() == {"stamped": "known"}
        answer = await client.post("/deployment/stamp/other")
        assert (answer.status_code, answer.json()) == (409, {"detail": "no other"})
        assert (await client.post("/deployment/stamp/--help")).status_code == 422

    asked(Scripted(stamps="test $ARG = known || { echo no $ARG >&2; false; }"), check)


def test_no_stamp_while_a_deployment_runs() -> None:
    async def check(client: httpx.AsyncClient) -> None:
        await client.post("/deployments", json={"revision": "r", "deadline_s": 9})
        assert "is running" in (await client.post("/deployment/stamp/r")).json()["detail"]
        await client.post("/deployment/stop")

    asked(Scripted(migration=HANGS), check)


def test_a_reset_ends_a_rehearsal_and_forgets_the_fix() -> None:
    async def check(client: httpx.AsyncClient) -> None:
        await deployed(client)
        await client.post("/deployment/fix")
        going_on = asyncio.create_task(client.post("/rehearsal"))
        await asyncio.sleep(0.3)
        assert not going_on.done()
        assert (await client.post("/reset")).status_code == 502  # there is no gateway
        assert (await going_on).json() == {"detail": "rehearsal: ended by a reset"}
        assert (await client.get("/deployment")).json()["edition"] == "candidate"

    asked(Scripted(rehearses=HANGS), check)
