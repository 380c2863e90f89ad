"""Sessions, which live in Redis, and suggestions, which the provider makes for those who have one."""

from __future__ import annotations

import logging
import os
import secrets
from typing import Annotated, Any

import redis
from fastapi import APIRouter, Header, HTTPException
from redis.backoff import NoBackoff
from redis.retry import Retry

from sut.api.provider import Provider, ProviderError

log = logging.getLogger("sut.api.sessions")

LIVES_S = 3600
WAITS_S = 2.0


def make_sessions() -> redis.Redis | None:
    """The store that SESSIONS_URL names, lazily connected; None without it.

    It waits 2 s for a connection and for an answer, and tries once. A client that was not told so tries eleven times:
    with a store that hangs that took 26.0 s (8.1.0).
    """
    if not (url := os.environ.get("SESSIONS_URL", "")):
        return None
    once = Retry(NoBackoff(), 0)
    return redis.Redis.from_url(
        url, socket_timeout=WAITS_S, socket_connect_timeout=WAITS_S, retry=once, decode_responses=True
    )


def make_router(sessions: redis.Redis, provider: Provider) -> APIRouter:
    """POST /sessions and GET /suggestions.

    The endpoints are plain functions: each takes a worker thread for as long as others take to answer, which is what a
    provider that hangs does to everybody else.
    """
    router = APIRouter()

    @router.post("/sessions", status_code=201)
    def open_session() -> dict[str, str]:
        token = secrets.token_urlsafe(16)
        try:
            sessions.set(f"session:{token}", "user", ex=LIVES_S)
        except redis.RedisError as error:
            raise unavailable(error) from error
        return {"session": token}

    @router.get("/suggestions")
    def suggestions(x_session: Annotated[str, Header()] = "") -> dict[str, Any]:
        try:
            known = sessions.get(f"session:{x_session}")
        except redis.RedisError as error:
            raise unavailable(error) from error
        if known is None:
            raise HTTPException(401, "no such session")
        try:
            return provider.suggestions()
        except ProviderError as error:
            raise HTTPException(504 if error.late else 502, "there are no suggestions now") from error

    def unavailable(error: redis.RedisError) -> HTTPException:
        log.error("sessions", extra={"error": str(error), "kind": type(error).__name__})
        return HTTPException(503, "sessions are unavailable")

    return router
