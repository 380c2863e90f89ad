"""Symptoms that Prometheus can show: each is a PromQL expression, and is seen while that gives any series."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from runlab import promql
from runlab.journal import Journal
from runlab.model import Observation, PromQL, Signal, Source, Stack
from runlab.timescale import scale_expression
from verifiers.prometheus import NoAnswerError, Prometheus, Sample
from verifiers.watching import Loop, Pulse, reset_at

_POLL_S: Final = 0.2
_SCRAPES: Final = 10
"""Series that missed this many scrapes in a row are old."""


@dataclass
class _Symptom:
    signal: Signal
    expression: str
    seen: bool = False
    visible: bool = False
    asked_s: float = 0.0
    """When the question was put that was answered last."""
    answers: Pulse = field(default_factory=Pulse)
    no_answer: str = "Prometheus was not asked yet"


class MetricWatcher:
    """Evaluates the PromQL symptoms again and again, their durations divided by `time_scale`. A `Watcher`.

    Silence counts only if no answer was missing for longer than `blind_s`, and every series that the expression names
    exists and is still scraped. Raises LabError for an expression that is no PromQL or does not scale.
    """

    name = "metrics"

    def __init__(
        self,
        stack: Stack,
        journal: Journal,
        signals: Sequence[Signal],
        *,
        time_scale: float,
        blind_s: float = 2.0,
    ) -> None:
        self._stack, self._journal, self._blind_s = stack, journal, blind_s
        self._symptoms = [
            _Symptom(signal, scale_expression(signal.probe.expression, time_scale, where=signal.claim))
            for signal in signals
            if isinstance(signal.probe, PromQL)
        ]
        self._arm: str | None = None
        self._began_s = time.monotonic()
        self._scraped_every_s = 0.0
        self._lock = threading.Lock()
        self._prometheus = Prometheus(f"http://{stack.host('prometheus')}:9090", time_limit_s=blind_s)
        self._loop = Loop("metrics", self._look, _POLL_S)

    def begin(self, arm: str) -> None:
        with self._lock:
            self._arm, self._began_s = arm, time.monotonic()
            for symptom in self._symptoms:
                symptom.seen = False
                symptom.answers.begin()
            self._loop.forget()

    def settled(self) -> Observation:
        since_s = reset_at(self._stack) + self._scraped_every_s
        with self._lock:
            trouble = [symptom.no_answer for symptom in self._symptoms if symptom.no_answer]
            trouble += [f"{symptom.signal.name} is visible" for symptom in self._symptoms if symptom.visible]
            if any(symptom.asked_s < since_s for symptom in self._symptoms):
                trouble.append("Prometheus may not have seen the reset yet")
            late_s = max((symptom.answers.since_s for symptom in self._symptoms), default=0.0)
        if late_s > self._blind_s:
            trouble.append(f"Prometheus has not answered for {late_s:.1f} s")
        detail = "; ".join(dict.fromkeys(trouble)) or f"none of {len(self._symptoms)} symptoms is visible"
        return Observation(not trouble, "Prometheus", detail)

    def end(self) -> Sequence[Source]:
        window_s = time.monotonic() - self._began_s
        with self._lock:
            self._arm = None
        return [self._source(symptom, window_s) for symptom in self._symptoms]

    def close(self) -> None:
        self._loop.close()
        self._prometheus.close()

    def _look(self) -> None:
        for symptom in self._symptoms:
            with self._lock:
                arm = self._arm
            asked_s = time.monotonic()
            try:
                self._scraped_every_s = self._scraped_every_s or self._prometheus.scrape_interval_s()
                samples = self._prometheus.query(symptom.expression)
            except NoAnswerError as error:
                symptom.no_answer = str(error)
                continue
            with self._lock:
                symptom.answers.beat()
                symptom.no_answer, symptom.visible, symptom.asked_s = "", bool(samples), asked_s
                # An answer to a question of the last arm says nothing about this one.
                if samples and arm is not None and arm == self._arm and not symptom.seen:
                    symptom.seen = True
                    self._write_signal(symptom, samples)

    def _write_signal(self, symptom: _Symptom, samples: Sequence[Sample]) -> None:
        first = samples[0]
        labels = ", ".join(f"{name}={value}" for name, value in sorted(first.labels.items()))
        more = f" and {len(samples) - 1} more" if len(samples) > 1 else ""
        self._journal.write(
            "signal",
            arm=self._arm,
            claim=symptom.signal.claim,
            name=symptom.signal.name,
            signal_kind=symptom.signal.kind,
            by="Prometheus",
            detail=f"`{symptom.expression}` gives {{{labels}}} {first.value:g}{more}",
        )

    def _source(self, symptom: _Symptom, window_s: float) -> Source:
        pause_s = symptom.answers.longest_pause_s
        silent = self._loop.crash or symptom.no_answer
        if not silent and pause_s > self._blind_s:
            silent = f"Prometheus did not answer for {pause_s:.1f} s"
        absent = old = [symptom.no_answer]
        if not symptom.no_answer:  # else asking would only take as long again
            try:
                absent, old = self._gaps(symptom.expression, window_s)
            except NoAnswerError as error:
                silent, absent, old = silent or str(error), [str(error)], [str(error)]
        return Source(
            symptom.signal.name,
            symptom.signal.claim,
            answers=not silent,
            exists=not absent,
            fresh=not old,
            detail="; ".join(dict.fromkeys(filter(None, (silent, *absent, *old)))),
        )

    def _gaps(self, expression: str, window_s: float) -> tuple[list[str], list[str]]:
        """Which series of the expression never existed in the window, and which are old. Raises NoAnswerError."""
        limit_s = max(_SCRAPES * self._prometheus.scrape_interval_s(), 1.0)
        absent, old = [], []
        for selector in promql.selectors(expression):
            age_s = self._prometheus.sample_age_s(selector)
            if not self._prometheus.exists(selector, window_s):
                absent.append(f"series {selector} does not exist")
            elif age_s is None:
                old.append(f"series {selector} has ended")
            elif age_s > limit_s:
                old.append(f"series {selector} is {age_s:.1f} s old")
        return absent, old or absent
