"""The API's calls to the provider, and what a deployment may set to bound them."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx
from circuitbreaker import CircuitBreaker, CircuitBreakerError  # type: ignore[import-untyped]
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential_jitter

log = logging.getLogger("sut.api.provider")

OPENS_AFTER = 5
STAYS_OPEN_S = 2


class ProviderError(Exception):
    """No suggestions were to be had; `late` when the provider took too long."""

    def __init__(self, message: str, *, late: bool = False) -> None:
        super().__init__(message)
        self.late = late


@dataclass(frozen=True)
class Bounds:
    """How long a call may take, how often it is tried, and whether a breaker stands before it.

    The defaults are an httpx client's that nobody thought about: ten seconds, no retry, no breaker, one region.
    """

    timeout_s: float = 10.0
    connect_timeout_s: float = 10.0
    retries: int = 0
    backoff_s: float = 0.1
    breaker: bool = False
    region: str = "east"
    fallback: bool = False

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Bounds:
        """PROVIDER_TIMEOUT_S, PROVIDER_CONNECT_TIMEOUT_S, PROVIDER_RETRIES, PROVIDER_BACKOFF_S, PROVIDER_BREAKER
        (on or off), PROVIDER_REGION and PROVIDER_FALLBACK (on or off).
        """
        timeout_s = float(environment.get("PROVIDER_TIMEOUT_S", "10"))
        return cls(
            timeout_s=timeout_s,
            connect_timeout_s=float(environment.get("PROVIDER_CONNECT_TIMEOUT_S", timeout_s)),
            retries=int(environment.get("PROVIDER_RETRIES", "0")),
            backoff_s=float(environment.get("PROVIDER_BACKOFF_S", "0.1")),
            breaker=environment.get("PROVIDER_BREAKER") == "on",
            region=environment.get("PROVIDER_REGION", "east"),
            fallback=environment.get("PROVIDER_FALLBACK") == "on",
        )


class Provider:
    """Asks a region of the provider, by threads, each call on a connection of a pool.

    The breaker is one for each region. `circuitbreaker` calls without holding a lock: eight threads whose calls take
    0.2 s are done in 0.2 s; with pybreaker 1.4.1, which holds one, in 1.6 s.
    """

    def __init__(self, urls: Mapping[str, str], bounds: Bounds) -> None:
        self._urls, self._bounds = urls, bounds
        timeout = httpx.Timeout(bounds.timeout_s, connect=bounds.connect_timeout_s)
        # as many connections as there are threads: a pool that is too small would be another fault
        self._http = httpx.Client(timeout=timeout, limits=httpx.Limits(max_connections=64), trust_env=False)
        self._asks: dict[str, Callable[[str], dict[str, Any]]] = {
            region: self._guarded(region) if bounds.breaker else self._ask for region in urls
        }

    def suggestions(self) -> dict[str, Any]:
        """What the provider suggests. ProviderError when no region that may be asked answers in its time."""
        other = [region for region in self._urls if region != self._bounds.region] if self._bounds.fallback else []
        error: ProviderError | None = None
        for region in (self._bounds.region, *other):
            try:
                return self._retried(region)
            except ProviderError as failure:
                error = error or failure
        assert error is not None
        raise error

    def close(self) -> None:
        self._http.close()

    def _retried(self, region: str) -> dict[str, Any]:
        attempts = Retrying(
            stop=stop_after_attempt(1 + self._bounds.retries),
            wait=wait_exponential_jitter(self._bounds.backoff_s, jitter=self._bounds.backoff_s),
            retry=retry_if_exception_type(httpx.HTTPError),
            reraise=True,
        )
        try:
            found: dict[str, Any] = attempts(self._asks[region], region)
        except httpx.HTTPError as error:
            raise ProviderError(str(error), late=isinstance(error, httpx.TimeoutException)) from error
        except CircuitBreakerError as error:
            raise ProviderError(f"{region} is not asked for {STAYS_OPEN_S} s") from error
        return found

    def _guarded(self, region: str) -> Callable[[str], dict[str, Any]]:
        breaker = CircuitBreaker(
            failure_threshold=OPENS_AFTER,
            recovery_timeout=STAYS_OPEN_S,
            expected_exception=httpx.HTTPError,
            name=f"provider {region}",
        )
        guarded: Callable[[str], dict[str, Any]] = breaker(self._ask)
        return guarded

    def _ask(self, region: str) -> dict[str, Any]:
        try:
            answer = self._http.get(f"{self._urls[region]}/v1/suggestions").raise_for_status()
        except httpx.HTTPError as error:
            log.warning("provider", extra={"region": region, "error": str(error), "kind": type(error).__name__})
            raise
        found: dict[str, Any] = answer.json()
        return found


def from_environment() -> Provider | None:
    """The provider whose regions PROVIDER_EAST_URL and PROVIDER_WEST_URL name; None without them."""
    urls = {region: os.environ.get(f"PROVIDER_{region.upper()}_URL", "") for region in ("east", "west")}
    return Provider(urls, Bounds.of(os.environ)) if all(urls.values()) else None
