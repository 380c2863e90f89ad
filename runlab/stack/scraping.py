"""When Prometheus may be believed: it has scraped every target, and it knows its Alertmanager.

It answers within 0.2 s of its start, but its first scrape comes after 5 s: what discovery finds, static targets
included, is handed on by a ticker of 5 s (discovery/legacymanager/manager.go, `updatert`), and scrape pools are made
by another (scrape/manager.go, `reloader`). Up to version 2.42 no flag, and no reload, makes either of them sooner.
Until then every query is empty, which would look like silence.
"""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import urlsplit

import httpx

from runlab.model import JsonObject
from runlab.stack.control import StackError
from runlab.waiting import DeadlineError, Progress, wait_until

PORT = 9090
_DEADLINE_S = 30.0


def wait_for_scrapes(host: str, started: Collection[str], *, alerting: bool, progress: Progress) -> None:
    """Return once `up` is 1 for every target at an address in `started` and, if `alerting`, an Alertmanager is active.

    Targets of services that were not started are not waited for. StackError, naming what is missing, after 30 s.
    """
    missing = ["an answer"]

    def ready() -> bool:
        try:
            missing[:] = _missing(client, started, alerting=alerting)
        except (httpx.HTTPError, ValueError, KeyError) as error:
            missing[:] = [f"an answer ({error})"]
        return not missing

    with httpx.Client(base_url=f"http://{host}:{PORT}/api/v1", timeout=2.0, trust_env=False) as client:
        try:
            wait_until("Prometheus' first scrape of every target", ready, deadline_s=_DEADLINE_S, progress=progress)
        except DeadlineError as late:
            message = f"service prometheus: after {late.waited_s:g} s it still lacks {', '.join(missing)}"
            raise StackError(message) from None


def _missing(client: httpx.Client, started: Collection[str], *, alerting: bool) -> list[str]:
    targets = [
        (target["labels"]["job"], target["labels"]["instance"])
        for target in _ask(client, "/targets?state=active")["activeTargets"]
        if urlsplit(target["scrapeUrl"]).hostname in started
    ]
    rows = _ask(client, "/query?query=up")["result"]
    up = {(row["metric"]["job"], row["metric"]["instance"]): row["value"][1] for row in rows}
    lacks = [] if targets else ["targets"]
    lacks += [f"a scrape of {job} at {instance}" for job, instance in targets if (job, instance) not in up]
    lacks += [
        f"a successful scrape of {job} at {instance}" for job, instance in targets if up.get((job, instance)) == "0"
    ]
    if alerting and not _ask(client, "/alertmanagers")["activeAlertmanagers"]:
        lacks.append("an active Alertmanager")
    return lacks


def _ask(client: httpx.Client, path: str) -> JsonObject:
    answer: JsonObject = client.get(path).raise_for_status().json()["data"]
    return answer
