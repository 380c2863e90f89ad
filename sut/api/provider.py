"""The API's calls to the provider, and what a deployment may set to bound them."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx
from circuitbreaker import STATE_HALF_OPEN, CircuitBreaker, CircuitBreakerError  # type: ignore[import-untyped]
from prometheus_client import CollectorRegistry, Histogram
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential, wait_random

from sut.api.observed import BUCKETS_S

log = logging.getLogger("sut.api.provider")

OPENS_AFTER = 5
STAYS_OPEN_S = 2
REGIONS = ("east", "west")
OUTCOMES = ("ok", "timeout", "error", "not asked")


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
        (on or off), PROVIDER_REGION and PROVIDER_FALLBACK (on or off). ValueError for what is no number, or no region.
        """
        if (region := environment.get("PROVIDER_REGION", "east")) not in REGIONS:
            raise ValueError(f"PROVIDER_REGION: there is no {region}, only {', '.join(REGIONS)}")
        timeout_s = float(environment.get("PROVIDER_TIMEOUT_S", "10"))
        return cls(
            timeout_s=timeout_s,
            connect_timeout_s=float(environment.get("PROVIDER_CONNECT_TIMEOUT_S", timeout_s)),
            retries=int(environment.get("PROVIDER_RETRIES", "0")),
            backoff_s=float(environment.get("PROVIDER_BACKOFF_S", "0.1")),
            breaker=environment.get("PROVIDER_BREAKER") == "on",
            region=region,
            fallback=environment.get("PROVIDER_FALLBACK") == "on",
        )


class Breaker(CircuitBreaker):  # type: ignore[misc]
    """Half open, it lets one call through; the library lets everybody (2.1.3: 40 threads of 40), and a provider that
    still hangs would have them all again.

    Closed, it holds no lock during a call: 8 threads whose calls take 0.2 s are done in 0.22 s, and 40 in 0.27 s; by
    pybreaker 1.4.1, which holds one, in 1.60 s and 8.03 s.
    """

    def __init__(self, region: str) -> None:
        super().__init__(OPENS_AFTER, STAYS_OPEN_S, httpx.HTTPError, name=f"provider {region}")
        self._trial = threading.Lock()

    def call(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """CircuitBreakerError while another call is the trial."""
        if self.state != STATE_HALF_OPEN:
            return super().call(func, *args, **kwargs)
        if not self._trial.acquire(blocking=False):
            raise CircuitBreakerError(self)
        try:
            return super().call(func, *args, **kwargs)
        finally:
            self._trial.release()


class Provider:
    """Asks a region of the provider, by threads, each call on a connection of a pool. Each region has its breaker."""

    def __init__(self, urls: Mapping[str, str], bounds: Bounds, registry: CollectorRegistry) -> None:
        self._urls, self._bounds = urls, bounds
        timeout = httpx.Timeout(bounds.timeout_s, connect=bounds.connect_timeout_s)
        # as many connections as there are threads: a pool that is too small would be another fault
        self._http = httpx.Client(timeout=timeout, limits=httpx.Limits(max_connections=64), trust_env=False)
        self._asks: dict[str, Callable[[str], dict[str, Any]]] = {
            region: Breaker(region)(self._ask) if bounds.breaker else self._ask for region in urls
        }
        self._seconds = Histogram(
            "provider_call_duration_seconds",
            "From a call of the provider to what came of it.",
            ("region", "outcome"),
            registry=registry,
            buckets=BUCKETS_S,
        )
        for region in urls:
            for outcome in OUTCOMES:
                self._seconds.labels(region, outcome)

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

    def _retried(self, region: str) -> dict[str, Any]:
        attempts = Retrying(
            stop=stop_after_attempt(1 + self._bounds.retries),
            wait=wait_exponential(self._bounds.backoff_s) + wait_random(0, self._bounds.backoff_s),
            retry=retry_if_exception_type(httpx.HTTPError),
            reraise=True,
        )
        try:
            found: dict[str, Any] = attempts(self._timed, region)
        except httpx.HTTPError as error:
            raise ProviderError(str(error), late=isinstance(error, httpx.TimeoutException)) from error
        except CircuitBreakerError as error:
            raise ProviderError(f"{region} is not asked for {STAYS_OPEN_S} s") from error
        return found

    def _timed(self, region: str) -> dict[str, Any]:
        started, outcome = time.perf_counter(), "error"
        try:
            found = self._asks[region](region)
            outcome = "ok"
        except httpx.TimeoutException:
            outcome = "timeout"
            raise
        except CircuitBreakerError:
            outcome = "not asked"
            raise
        finally:
            self._seconds.labels(region, outcome).observe(time.perf_counter() - started)
        return found

    def _ask(self, region: str) -> dict[str, Any]:
        try:
            answer = self._http.get(f"{self._urls[region]}/v1/suggestions").raise_for_status()
        except httpx.HTTPError as error:
            log.warning("provider", extra={"region": region, "error": str(error), "kind": type(error).__name__})
            raise
        found: dict[str, Any] = answer.json()
        return found


def from_environment(registry: CollectorRegistry) -> Provider | None:
    """The provider whose regions PROVIDER_EAST_URL and PROVIDER_WEST_URL name; None without them."""
    urls = {region: os.environ.get(f"PROVIDER_{region.upper()}_URL", "") for region in REGIONS}
    return Provider(urls, Bounds.of(os.environ), registry) if all(urls.values()) else None
