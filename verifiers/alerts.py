"""Alerts as a timed chain: scraped, pending, firing in Prometheus, delivered to the webhook, resolved.

An alert is seen once it is *delivered*, with this run's label: only then would somebody have been told.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import httpx

from runlab import promql
from runlab.journal import Journal
from runlab.model import Observation, Signal, Source, Stack
from verifiers.prometheus import ActiveAlert, AlertRule, NoAnswerError, Prometheus
from verifiers.watching import Loop, Pulse, reset_at
from verifiers.webhook import Notification, Receiver

_POLL_S: Final = 0.08
_EVALUATIONS: Final = 5
"""A rule that missed this many evaluations in a row was blind meanwhile."""


@dataclass
class _Instance:
    """One alert of Prometheus, from pending to its end; `arm` is where it began, `old` when that is not this arm."""

    alert: ActiveAlert
    arm: str | None
    old: bool
    active: bool = True


class AlertWatcher:
    """Watches every alert there is; those of `signals` count. A `Watcher`.

    Prometheus is asked at its host, port 9090; Alertmanager at its own, port 9093; it must send its webhooks to
    http://<host of "runner">:<webhook_port>/alerts, resolved ones too, and Prometheus must set the label
    `run=<run id>`. Silence counts only if Prometheus was never out of reach for longer than `blind_s`.

    Raises LabError when the webhook's port can't be had.
    """

    name = "alerts"

    def __init__(
        self,
        stack: Stack,
        journal: Journal,
        signals: Sequence[Signal],
        *,
        webhook_port: int = 9099,
        blind_s: float = 2.0,
    ) -> None:
        self._stack, self._journal, self._blind_s = stack, journal, blind_s
        self._signals = [signal for signal in signals if signal.kind == "alert"]
        self._arm: str | None = None
        self._began = datetime.now(UTC)
        self._began_s = time.monotonic()
        self._lock, self._looking = threading.Lock(), threading.Lock()
        self._instances: dict[frozenset[tuple[str, str]], _Instance] = {}
        self._open: dict[str, str] = {}  # name by fingerprint: delivered, not yet resolved
        self._noted: set[tuple[str, datetime, bool]] = set()
        self._delivered: set[str] = set()
        self._answers, self._no_answer, self._asked_s = Pulse(), "Prometheus was not asked yet", 0.0
        self._evaluations: dict[tuple[str, str], Pulse] = {}
        self._rules: list[AlertRule] = []
        self._prometheus = Prometheus(f"http://{stack.host('prometheus')}:9090", time_limit_s=blind_s)
        self._receiver = Receiver(stack.listen("runner", webhook_port), self._receive)
        self._loop = Loop("alerts", self._look, _POLL_S)

    # ------------------------------------------------------------------------------------------------ a Watcher

    def begin(self, arm: str) -> None:
        with self._lock:
            self._arm, self._began, self._began_s = arm, datetime.now(UTC), time.monotonic()
            self._delivered.clear()
            for instance in self._instances.values():
                instance.old = True
            for pulse in (self._answers, *self._evaluations.values()):
                pulse.begin()
            self._loop.forget()
            self._receiver.forget()

    def settled(self) -> Observation:
        reset = reset_at(self._stack)
        with self._lock:
            # a scrape and an evaluation, about as often as each other, until what a reset did is in an answer
            since_reset = self._asked_s >= reset + 2 * max((rule.interval_s for rule in self._rules), default=0.0)
            active = [f"{i.alert.name} {i.alert.state}" for i in self._instances.values() if i.active]
            unresolved = [f"{name} delivered, not resolved" for name in self._open.values()]
            blind = self._no_answer or (
                f"Prometheus has not answered for {self._answers.since_s:.1f} s"
                if self._answers.since_s > self._blind_s
                else ""
            )
        blind = blind or ("" if since_reset else "Prometheus may not have seen the reset yet")
        trouble = [blind] if blind else sorted({*active, *unresolved})
        return Observation(not trouble, "Prometheus and Alertmanager's webhook", "; ".join(trouble) or "nothing fires")

    def end(self) -> Sequence[Source]:
        chain = self._chain_failure()
        with self._lock:
            rules, unasked = list(self._rules), self._no_answer
            stale = {rule.name: reason for rule in rules if (reason := self._stale(rule))}
            self._arm = None
        missing: dict[str, str] = {}
        for name in sorted({signal.name for signal in self._signals}):
            try:
                missing[name] = unasked or self._missing([rule for rule in rules if rule.name == name])
            except NoAnswerError as error:  # asking for the others would only take as long again
                missing[name] = unasked = str(error)
        chain, loaded = chain or unasked, {rule.name for rule in rules}
        return [
            Source(
                signal=signal.name,
                claim=signal.claim,
                answers=not chain,
                exists=not missing[signal.name],
                fresh=signal.name in loaded and signal.name not in stale,
                detail="; ".join(dict.fromkeys(filter(None, (chain, missing[signal.name], stale.get(signal.name))))),
            )
            for signal in self._signals
        ]

    def close(self) -> None:
        self._loop.close()
        self._receiver.close()
        self._prometheus.close()

    # ------------------------------------------------------------------------------------------ for the scenario

    def firing(self) -> dict[str, dict[str, str]]:
        """The labels of what fires in Prometheus now, by alert name; of several with one name, any."""
        with self._lock:
            found = [i.alert for i in self._instances.values() if i.active and i.alert.state == "firing"]
        return {alert.name: dict(alert.labels) for alert in found}

    def delivered(self, names: Collection[str]) -> set[str]:
        """Those of `names` that were delivered, with this run's label, since the arm began."""
        with self._lock:
            return self._delivered & set(names)

    # --------------------------------------------------------------------------------------- looking at Prometheus

    def _look(self) -> None:
        with self._looking:  # an older answer must not be taken for news after a younger one
            asked_s = time.monotonic()
            try:
                rules = self._prometheus.alert_rules()
            except NoAnswerError as error:
                self._no_answer = str(error)
                return
            samples = {
                alert.key: self._sample(rule, alert) for rule in rules for alert in rule.alerts if self._is_new(alert)
            }
            with self._lock:
                self._answers.beat()
                self._no_answer, self._asked_s = "", asked_s
                self._note_evaluations(rules)
                self._follow(rules, samples)

    def _is_new(self, alert: ActiveAlert) -> bool:
        known = self._instances.get(alert.key)
        return known is None or not known.active or known.alert.active_at != alert.active_at

    def _sample(self, rule: AlertRule, alert: ActiveAlert) -> str:
        """The sample that made the rule true: the newest that Prometheus had when the alert became active."""
        try:
            scraped = self._prometheus.newest_sample(promql.selectors(rule.query), alert.active_at)
        except NoAnswerError as error:
            return f"time of the sample unknown: {error}"
        return f"sample of {scraped.isoformat()}" if scraped else "no sample: the series is absent"

    def _note_evaluations(self, rules: list[AlertRule]) -> None:
        before = {rule.key: rule.last_evaluation for rule in self._rules}
        for rule in rules:
            pulse = self._evaluations.setdefault(rule.key, Pulse())
            if rule.last_evaluation != before.get(rule.key):
                pulse.beat()
        self._rules = rules

    def _follow(self, rules: list[AlertRule], samples: Mapping[frozenset[tuple[str, str]], str]) -> None:
        """Journal each change of state; `samples` has those alerts that are new."""
        present = {alert.key: alert for rule in rules for alert in rule.alerts}
        for key, alert in present.items():
            if key in samples:
                instance = self._instances[key] = _Instance(alert, self._arm, old=alert.active_at < self._began)
                self._write_hop(instance, "scraped", samples[key])
                self._write_hop(instance, alert.state, _became(alert))
            elif self._instances[key].alert.state != alert.state:
                self._instances[key].alert = alert
                self._write_hop(self._instances[key], alert.state, _became(alert))
        for key, instance in self._instances.items():
            instance.active = key in present

    def _write_hop(self, instance: _Instance, hop: str, detail: str) -> None:
        self._journal.write("hop", arm=instance.arm, alert=instance.alert.name, hop=hop, detail=detail)

    # ------------------------------------------------------------------------------------ what the webhook brings

    def _receive(self, notification: Notification) -> None:
        if notification.firing and not self._knows_it_fires(notification):
            self._look()  # it came within one poll; so its earlier hops stand before this one
        with self._lock:
            if notification.identity in self._noted:
                return
            self._noted.add(notification.identity)
            instance = self._instance(notification)
            reason = self._why_not(notification, instance)
            self._write_delivery(notification, instance, reason)
            ours = notification.labels.get("run") == self._stack.run_id
            if not notification.firing:
                self._open.pop(notification.fingerprint, None)
            elif ours:
                self._open[notification.fingerprint] = notification.name
            if notification.firing and not reason:
                self._write_signals(notification)

    def _knows_it_fires(self, notification: Notification) -> bool:
        with self._lock:
            instance = self._instance(notification)
            return instance is not None and instance.active and instance.alert.state == "firing"

    def _instance(self, notification: Notification) -> _Instance | None:
        """Prometheus' side of this notification; external labels are on the webhook's side only."""
        labels = frozenset(notification.labels.items())
        matching = [instance for key, instance in self._instances.items() if key <= labels]
        return max(matching, key=lambda instance: len(instance.alert.key), default=None)

    def _why_not(self, notification: Notification, instance: _Instance | None) -> str:
        """Why this delivery proves nothing about the present arm; "" when it does."""
        run = notification.labels.get("run")
        if run != self._stack.run_id:
            return f"its label run={run!r} is not this run's"
        if self._arm is None:
            return "no arm runs"
        return "it began before this arm" if self._is_old(notification, instance) else ""

    def _is_old(self, notification: Notification, instance: _Instance | None) -> bool:
        """Prometheus saw it pending before the arm, or says that it fired before."""
        pending_before = instance is not None and instance.active and instance.old
        return pending_before or notification.starts_at < self._began

    def _write_delivery(self, notification: Notification, instance: _Instance | None, reason: str) -> None:
        arm = instance.arm if instance and self._is_old(notification, instance) else self._arm
        detail = _told(notification) + (f"; does not count: {reason}" if reason and notification.firing else "")
        hop = "delivered" if notification.firing else "resolved"
        self._journal.write("hop", arm=arm, alert=notification.name, hop=hop, detail=detail)

    def _write_signals(self, notification: Notification) -> None:
        if notification.name in self._delivered:
            return
        self._delivered.add(notification.name)
        for signal in self._signals:
            if signal.name == notification.name:
                self._journal.write(
                    "signal",
                    arm=self._arm,
                    claim=signal.claim,
                    name=signal.name,
                    signal_kind=signal.kind,
                    by="Alertmanager webhook",
                    detail=_told(notification),
                    labels=dict(notification.labels),
                )

    # ------------------------------------------------------------------------------- whether silence would count

    def _chain_failure(self) -> str:
        """Where an alert would have got lost on its way, whatever its rule; "" when nowhere."""
        pause_s = self._answers.longest_pause_s
        broken = self._loop.crash or self._receiver.failure or self._no_answer
        if broken or pause_s > self._blind_s:
            return broken or f"Prometheus did not answer for {pause_s:.1f} s"
        try:
            if not self._prometheus.alertmanagers():
                return "Prometheus sends its alerts to no Alertmanager"
            url = f"http://{self._stack.host('alertmanager')}:9093/-/ready"
            httpx.get(url, timeout=self._blind_s, trust_env=False).raise_for_status()
        except NoAnswerError as error:
            return str(error)
        except httpx.HTTPError as error:
            return f"Alertmanager does not answer: {error or type(error).__name__}"
        return ""

    def _stale(self, rule: AlertRule) -> str:
        pause_s = self._evaluations[rule.key].longest_pause_s
        limit_s = max(_EVALUATIONS * rule.interval_s, self._blind_s)
        return f"the rule was not evaluated for {pause_s:.1f} s" if pause_s > limit_s else ""

    def _missing(self, rules: Sequence[AlertRule]) -> str:
        """What the rules of one name lack to be able to fire; "" when nothing. Raises NoAnswerError."""
        if not rules:
            return "no rule of this name"
        sick = [rule.last_error or "not evaluated yet" for rule in rules if rule.health != "ok"]
        if sick:
            return f"the rule is not healthy: {sick[0]}"
        wanted = {selector: None for rule in rules for selector in promql.selectors(rule.query)}
        window_s = time.monotonic() - self._began_s
        absent = [selector for selector in wanted if not self._prometheus.exists(selector, window_s)]
        return "; ".join(f"series {selector} does not exist" for selector in absent)


def _became(alert: ActiveAlert) -> str:
    return f"active at {alert.active_at.isoformat()}, value {alert.value}, {_labels(alert.labels)}"


def _told(notification: Notification) -> str:
    runbook = notification.annotations.get("runbook_url")
    link = f"runbook_url {runbook}" if runbook else "no runbook_url"
    ends = "" if notification.firing else f", ended {notification.ends_at}"
    return f"started {notification.starts_at.isoformat()}{ends}, {_labels(notification.labels)}, {link}"


def _labels(labels: Mapping[str, str]) -> str:
    return "{" + ", ".join(f"{name}={value}" for name, value in sorted(labels.items())) + "}"
