"""When Prometheus may be believed: it has scraped every target, and it knows its Alertmanager.

It answers within 0.2 s of its start, but its discovery ticks every 5 s and no flag changes that, so that its first
scrape comes after 5 s; until then every query is empty, which would look like silence.
"""

from __future__ import annotations

from collections.abc import Collection

import httpx

from runlab.model import JsonObject
from runlab.stack.control import StackError
from runlab.waiting import DeadlineError, Progress, wait_until

PORT = 9090
_DEADLINE_S = 30.0


def wait_for_scrapes(host: str, started: Collection[str], *, alerting: bool, progress: Progress) -> None:
    """Return once `up` has a series for every target, is 1 for those at an address in `started`, and, if `alerting`,
    an Alertmanager is active. StackError, naming what is missing, after 30 s.
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
    targets = [target["labels"]["instance"] for target in _ask(client, "/targets?state=active")["activeTargets"]]
    up = {row["metric"]["instance"]: row["value"][1] for row in _ask(client, "/query?query=up")["result"]}
    lacks = [] if targets else ["targets"]
    lacks += [f"a scrape of {instance}" for instance in targets if instance not in up]
    lacks += [
        f"a successful scrape of {instance}"
        for instance in targets
        if up.get(instance) == "0" and instance.rpartition(":")[0] in started
    ]
    if alerting and not _ask(client, "/alertmanagers")["activeAlertmanagers"]:
        lacks.append("an active Alertmanager")
    return lacks


def _ask(client: httpx.Client, path: str) -> JsonObject:
    answer: JsonObject = client.get(path).raise_for_status().json()["data"]
    return answer
