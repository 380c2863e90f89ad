"""A typed reader of Prometheus' HTTP API: what rules say, what a query gives, whom it sends alerts to."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

import httpx
from promql_parser import parse_duration

AlertState = Literal["pending", "firing"]


class NoAnswerError(Exception):
    """Prometheus could not be asked, or refused the question; the text says which, on one line."""


@dataclass(frozen=True)
class Sample:
    """One series of an instant query's result."""

    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True)
class ActiveAlert:
    """An alert that Prometheus holds pending or firing. Labels are those of its rule: no external ones."""

    name: str
    labels: Mapping[str, str]
    state: AlertState
    active_at: datetime
    value: str

    @property
    def key(self) -> frozenset[tuple[str, str]]:
        """What tells it from other alerts, of other rules too."""
        return frozenset(self.labels.items())


@dataclass(frozen=True)
class AlertRule:
    """A loaded rule. `last_evaluation` is Prometheus' own clock; None before the first one."""

    name: str
    query: str
    interval_s: float
    health: str
    last_error: str
    last_evaluation: datetime | None
    alerts: Sequence[ActiveAlert] = field(default=())

    @property
    def key(self) -> tuple[str, str]:
        """What tells it from other rules; several may share a name."""
        return self.name, self.query


class Prometheus:
    """Asks one server. Every method raises NoAnswerError when it gets no answer within `time_limit_s`."""

    def __init__(self, url: str, *, time_limit_s: float = 2.0) -> None:
        self._url = url
        self._client = httpx.Client(base_url=url, timeout=time_limit_s, trust_env=False)

    def alert_rules(self) -> list[AlertRule]:
        groups = self._get("/api/v1/rules", type="alert")["groups"]
        return [_rule(rule, float(group["interval"])) for group in groups for rule in group["rules"]]

    def query(self, expression: str, *, at: datetime | None = None) -> list[Sample]:
        """The instant vector that `expression` gives now, or `at` that time."""
        when = {} if at is None else {"time": at.isoformat()}
        data = self._get("/api/v1/query", query=expression, **when)
        if data["resultType"] != "vector":
            raise NoAnswerError(f"`{expression}` gives a {data['resultType']}, not series")
        return [Sample(item["metric"], float(item["value"][1])) for item in data["result"]]

    def exists(self, selector: str, within_s: float) -> bool:
        """Whether any series of this selector had a sample in the last `within_s` seconds."""
        window = max(1, math.ceil(within_s * 1000))
        return bool(self.query(f"count(last_over_time({selector}[{window}ms]))"))

    def sample_age_s(self, selector: str) -> float | None:
        """Seconds since the newest sample of the selector's series; None when all of them have ended."""
        ages = self.query(f"time() - max(timestamp({selector}))")
        return ages[0].value if ages else None

    def newest_sample(self, selectors: Sequence[str], at: datetime) -> datetime | None:
        """When the newest sample that an evaluation `at` that time could see was scraped; None without any."""
        stamps = [sample.value for name in selectors for sample in self.query(f"max(timestamp({name}))", at=at)]
        return datetime.fromtimestamp(max(stamps), UTC) if stamps else None

    def alertmanagers(self) -> list[str]:
        """URLs of the Alertmanagers to which alerts are sent now."""
        return [str(item["url"]) for item in self._get("/api/v1/alertmanagers")["activeAlertmanagers"]]

    def scrape_interval_s(self) -> float:
        """The longest of all targets; 0 without a target."""
        targets = self._get("/api/v1/targets", state="active")["activeTargets"]
        return max((parse_duration(target["scrapeInterval"]).total_seconds() for target in targets), default=0.0)

    def close(self) -> None:
        self._client.close()

    def _get(self, path: str, **parameters: str) -> dict[str, Any]:
        try:
            answer = self._client.get(path, params=parameters)
            body = answer.json()
            if body["status"] != "success":
                raise NoAnswerError(f"Prometheus refuses: {body.get('error', answer.status_code)}")
            data: dict[str, Any] = body["data"]
        except httpx.HTTPError as error:
            raise NoAnswerError(f"Prometheus does not answer: {error or type(error).__name__}") from None
        except (ValueError, KeyError, TypeError):
            raise NoAnswerError(f"Prometheus answers {path} with something else than its API") from None
        return data


def parse_time(text: str) -> datetime | None:
    """A Go server's time stamp; None for its zero time, which means never."""
    moment = datetime.fromisoformat(text)
    return None if moment.year == 1 else moment


def _rule(data: Mapping[str, Any], interval_s: float) -> AlertRule:
    return AlertRule(
        name=data["name"],
        query=data["query"],
        interval_s=interval_s,
        health=data["health"],
        last_error=data.get("lastError", ""),
        last_evaluation=parse_time(data["lastEvaluation"]),
        alerts=tuple(
            ActiveAlert(
                name=data["name"],
                labels=alert["labels"],
                state=alert["state"],
                active_at=datetime.fromisoformat(alert["activeAt"]),
                value=str(alert["value"]),
            )
            for alert in data.get("alerts") or ()
        ),
    )
